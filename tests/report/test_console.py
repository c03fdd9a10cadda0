"""The terminal report and Markdown: tables, reasons and notes of passing, failing, empty and unmeasured results."""

from __future__ import annotations

import io
import re

import pytest
from msgspec.structs import replace
from results import BOUNDED, FAILED, QUADRATIC, RAISED, SUITES, UNDECIDED, case, measured, note, suite, trial
from rich.console import Console

from ttprof.codes import NoteCode
from ttprof.report import console, sentences, tensorboard
from ttprof.report.markdown import markdown
from ttprof.result import SuiteResult
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
    assert [noted.text for noted in sentences.notes(case("ffn", Status.PASS, *trials))] == [
        "every size",
        "at seq_len=128 and seq_len=256: large sizes",
    ]


def test_a_note_on_many_cases_is_printed_once_with_their_names_and_number():
    shortened = "seq_len 64, the most that the model takes"
    result = suite(*(case(f"layers.{i}", Status.PASS, trial()) for i in range(24)), case("norm", Status.PASS, trial()))
    shown = text(result)
    assert f"note layers.0, layers.1, layers.2, … (25 cases): {shortened}\n" in shown.replace("  ", "")
    assert shown.count(shortened) == 1
    two = suite(case("a", Status.PASS, trial()), case("b", Status.PASS, trial()))
    assert f"note a, b (2 cases): {shortened}" in text(two)


def test_of_notes_that_differ_in_numbers_only_the_first_stands_for_all():
    waits = [note(f"latency_ms is {factor} times cpu_time_ms", NoteCode.WAITED) for factor in (2, 3, 4)]
    cases = [case(name, Status.PASS, trial(notes=[wait])) for name, wait in zip("abc", waits, strict=True)]
    assert "note a, b, c (3 cases), for example the first: latency_ms is 2 times cpu_time_ms" in text(suite(*cases))
    sizes = [trial(point={"seq_len": 2**i}, notes=[wait]) for i, wait in enumerate(waits)]
    swept = text(suite(case("ffn", Status.PASS, *sizes)))
    assert "note ffn: at seq_len=1: latency_ms is 2 times cpu_time_ms (and 2 more like it)" in swept
    assert swept.count("times cpu_time_ms") == 1


def test_notes_that_differ_in_more_than_numbers_are_all_printed():
    laws = [replace(QUADRATIC, reason=f"cpu_time_ms is exactly {i} seq_len² ns") for i in (1, 2)]
    shown = text(
        suite(*(case(name, Status.PASS, trial(), verdicts=[law]) for name, law in zip("ab", laws, strict=True)))
    )
    assert "note a: cpu_time_ms is exactly 1" in shown and "note b: cpu_time_ms is exactly 2" in shown


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


def test_the_reason_of_a_slow_case_with_long_kernel_names_stays_short():
    bounded = "latency_ms is 151.8 ms, 40 % over the limit of 108 ms (95 % bounds 151.1 … 152.9 ms, 100 iterations)"
    kernels = [
        (f"void at::native::vectorized_elementwise_kernel<{i}, at::native::CUDAFunctor>(int)", 0.3) for i in "abc"
    ]
    slow = trial(measured("latency_ms", 7.0), top_ops=kernels)
    ((_, reason),) = sentences.problems(case("ffn", Status.FAIL, slow, verdicts=[replace(FAILED, reason=bounded)]))
    assert len(reason) <= 300
    assert all(f"vectorized_elementwise_kernel<{name}, " in reason for name in "abc")
