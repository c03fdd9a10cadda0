"""The cases on terminals of any width: in one table, with the inputs apart, or as blocks of lines."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace
from results import BOUNDED, EVERYTHING, FAILED, SUITES, UNDECIDED, case, measured, suite, trial
from rich.console import Console, Group

from ttprof.report import case_table
from ttprof.result import SuiteResult
from ttprof.verdict import Status

QUERY = "model.encoder.layers.11.attention.self.query"
LATENCY, MEMORY = measured("latency_ms", 7.0), measured("memory_mb", 0.25, "MB")
ERROR, SPEEDUP = measured("rel_error", 3.45e-07, "", label="relative error"), measured("speedup", 1.5, "", "higher")
METRICS = [LATENCY, MEMORY, ERROR, SPEEDUP]


def lines(result: SuiteResult, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(Group(*case_table.cases(result, width)))
    return [line.rstrip() for line in out.getvalue().rstrip().splitlines()]


def two(name: str) -> SuiteResult:
    """A FAIL with a limit and an INCONCLUSIVE, with four metrics."""
    return suite(
        case(name, Status.FAIL, trial(*METRICS), verdicts=[FAILED]),
        case("norm", Status.INCONCLUSIVE, trial(*METRICS), verdicts=[UNDECIDED]),
    )


def test_a_wide_terminal_shows_everything_in_one_table_inputs_last():
    result = suite(case("ffn", Status.FAIL, trial(LATENCY, MEMORY), verdicts=[FAILED]))
    assert lines(result, 80) == [
        "case  status  latency (ms)  memory (MB)  inputs       from",
        "ffn   FAIL         7 (≤ 5)         0.25  2x8 float32  captured",
    ]


def test_where_they_do_not_fit_the_inputs_are_in_a_table_below():
    assert lines(two("attention.key_proj"), 68) == [
        "                                  latency  memory  relative",
        "case                status           (ms)    (MB)     error  speedup",
        "attention.key_proj  FAIL          7 (≤ 5)    0.25  3.45e-07      1.5",
        "norm                INCONCLUSIVE  7 (≤ 5)    0.25  3.45e-07      1.5",
        "",
        "case                inputs       from",
        "attention.key_proj  2x8 float32  captured",
        "norm                2x8 float32  captured",
    ]


def test_a_bound_that_does_not_fit_beside_its_value_is_on_the_next_line():
    loose = replace(FAILED, bound=(None, 123456.0))
    result = suite(case("attention.key_proj", Status.INCONCLUSIVE, trial(*METRICS), verdicts=[loose]))
    assert lines(result, 72)[2:4] == [
        "attention.key_proj  INCONCLUSIVE            7    0.25  3.45e-07      1.5",
        "                                  (≤ 123,456)",
    ]


def test_a_name_that_leaves_no_room_for_metrics_heads_a_block_of_lines():
    assert lines(two(QUERY), 60) == [
        f"FAIL         {QUERY}",
        "  latency 7 ms (≤ 5) · memory 0.25 MB",
        "  relative error 3.45e-07 · speedup 1.5",
        "  inputs 2x8 float32, captured",
        "INCONCLUSIVE norm",
        "  latency 7 ms (≤ 5) · memory 0.25 MB",
        "  relative error 3.45e-07 · speedup 1.5",
        "  inputs 2x8 float32, captured",
    ]


def test_a_block_has_lines_for_each_point_and_a_dash_only_for_a_limit():
    points = [trial(*measurements, point={"seq_len": n}) for n, measurements in ((64, METRICS), (128, [MEMORY]))]
    (_, *shown) = lines(suite(case(QUERY, Status.FAIL, *points, verdicts=[FAILED])), 60)
    assert shown == [
        "  seq_len=64 · latency 7 ms (≤ 5) · memory 0.25 MB",
        "  relative error 3.45e-07 · speedup 1.5",
        "  inputs 2x8 float32, captured",
        "  seq_len=128 · latency - (≤ 5) · memory 0.25 MB",
        "  inputs 2x8 float32, captured",
    ]


@pytest.mark.parametrize("width", [58, 60, 72, 80, 100, 120, 150, 200])
@pytest.mark.parametrize(
    "result", [*SUITES.values(), BOUNDED, EVERYTHING, two(QUERY), two("漢" * 20)], ids=lambda x: None
)
def test_no_name_and_no_status_is_broken_at_any_width(result, width):
    shown = lines(result, width)
    assert all(len(line) <= width for line in shown)
    for one in result:
        name = case_table.sentences.case_name(one)
        assert any(name in line and str(one.status) in line for line in shown), name
