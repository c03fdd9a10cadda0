"""The terminal report and Markdown: tables, reasons and notes of passing, failing, empty and unmeasured results."""

from __future__ import annotations

import io
import re

import pytest
from results import BOUNDED, FAILED, QUADRATIC, RAISED, SUITES, UNDECIDED, case, measured, note, suite, trial
from rich.console import Console

from ttprof.report import console, sentences, tensorboard
from ttprof.report.markdown import markdown
from ttprof.result import ALWAYS_SHOWN, SuiteResult
from ttprof.verdict import Status


def text(result: SuiteResult, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(console.render(result, width))
    return out.getvalue()


@pytest.mark.parametrize("name", SUITES)
def test_every_report_renders_every_kind_of_result(name, tmp_path):
    result = SUITES[name]
    assert sentences.totals(result) in text(result)
    assert sentences.totals(result) in markdown(result)
    assert console.failure_text(result).startswith(f"{len(result.failures)} of {len(result)} cases")
    tensorboard.write(result, tmp_path)
    assert len(list(tmp_path.glob("events.*"))) == 1


def test_a_failure_says_by_how_much_and_what_dominated():
    shown = text(SUITES["failing"])
    assert "7 (≤ 5)" in shown
    reason = "FAIL ffn: latency_ms is 7 ms, 40 % over the limit of 5 ms; dominated by aten::addmm 61 %, aten::gelu 20 %"
    assert reason in shown
    plain = console.failure_text(SUITES["failing"])
    assert "FAIL         ffn (gate.py:7)" in plain and "40 % over" in plain


def test_nothing_dominates_a_limit_that_is_undecided():
    shown = text(suite(case("ffn", Status.INCONCLUSIVE, trial(measured("latency_ms", 5.0)), verdicts=[UNDECIDED])))
    assert UNDECIDED.reason in shown and "dominated" not in shown


def test_an_unmeasured_metric_is_a_dash_and_an_error():
    shown = text(suite(SUITES["unmeasured"][0], case("x", Status.PASS, trial(measured("kernel_time_ms", 1.0)))))
    assert "- (≤ 5)" in shown
    assert "ERROR ffn: kernel_time_ms was not measured on cpu" in shown


def test_a_sweep_has_a_row_for_each_point_and_notes_are_shown():
    shown = text(SUITES["swept"])
    assert "seq_len=64" in shown and "seq_len=128" in shown
    assert "note ffn: seq_len 64, the most that the model takes" in shown


def test_a_note_on_some_points_of_a_sweep_names_them():
    trials = [
        trial(point={"seq_len": size}, notes=[note("every size"), *([note("large sizes")] if size > 64 else [])])
        for size in (64, 128, 256)
    ]
    assert list(sentences.notes(case("ffn", Status.PASS, *trials))) == [
        "every size",
        "at seq_len=128 and seq_len=256: large sizes",
    ]


def test_a_narrow_terminal_gets_the_inputs_in_a_separate_table():
    lines = text(SUITES["swept"], width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.strip().startswith("seq_len=64") for line in lines) == 2
    assert any(line.split() == ["case", "inputs", "from"] for line in lines)
    assert any(line.split() == ["case", "status", "(ms)"] for line in lines), "headings of metrics are stacked"


def test_a_dotted_name_is_not_split_on_a_narrow_terminal():
    metrics = [measured(name, 0.25) for name in (*ALWAYS_SHOWN, "leak_mb")]
    lines = text(suite(case("model.layers.0.attention", Status.PASS, trial(*metrics))), width=80).splitlines()
    assert sum(line.startswith("model.layers.0.attention ") for line in lines) == 2
    assert max(map(len, lines)) <= 80


def test_names_are_never_markup():
    assert "<script>[red]|x" in text(SUITES["hostile"])
    shown = markdown(SUITES["hostile"])
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "\\|x" in shown


def test_verbose_shows_passing_reasons_without_repeating_notes():
    result = suite(case("ffn", Status.PASS, trial(), verdicts=[RAISED]))
    out = io.StringIO()
    Console(file=out, width=160).print(console.render(result, 160, sentences.all_reasons))
    assert f"PASS ffn: {RAISED.reason}" in out.getvalue()
    assert out.getvalue().count(RAISED.reason) == 1
    assert f"note ffn: {RAISED.reason}" in text(result) and "PASS ffn:" not in text(result)


@pytest.mark.parametrize("render", [text, markdown, SuiteResult._repr_html_])
def test_a_cell_shows_the_bound_of_its_verdict(render):
    shown = render(BOUNDED).replace("\\", "")
    for cell in ("3.2 (≥ 5)", "12 (= 10)", "500 (490 … 522)"):
        assert cell in shown


@pytest.mark.parametrize(("value", "still"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_nothing_moves_in_ci_even_on_a_terminal(monkeypatch, value, still):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("TTY_INTERACTIVE", raising=False)
    out = console.console({"CI": value})
    assert out.is_terminal and out.is_interactive is not still


def test_a_child_of_a_sequential_is_named_with_its_type():
    children = suite(case("0.1", Status.FAIL, trial(), verdicts=[FAILED]), case("layers.0", Status.PASS, trial()))
    shown = text(children)
    assert "FAIL 0.1 (M): latency_ms" in shown and "layers.0 (M)" not in shown
    assert console.case_text(children[0]).startswith("FAIL         0.1 (M) (gate.py:7)")


def test_a_passing_polynomial_is_shown_as_a_note():
    assert f"note ffn: {QUADRATIC.reason}" in text(suite(case("ffn", Status.PASS, trial(), verdicts=[QUADRATIC])))


def test_brief_has_failures_and_totals():
    assert console.brief(SUITES["passing"]) == "gate: 1 case: 1 PASS"
    first, *rest = console.brief(SUITES["failing"]).splitlines()
    assert first == "1 of 1 cases failed or could not be judged" and "latency_ms is 7 ms" in rest[1]
    assert rest[-1] == "gate: 1 case: 1 FAIL"


def test_no_color_leaves_no_colours(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=True).print(console.render(SUITES["failing"], 160))
    assert "FAIL" in out.getvalue() and not re.search(r"\x1b\[[\d;]*3\dm", out.getvalue())
