"""What a person sees: tables and sentences over passing, failing, empty and unmeasured results."""

from __future__ import annotations

import io
import re

import pytest
from machines import MACHINE
from rich.console import Console

from ttprof.report import console, sentences, tensorboard
from ttprof.report.markdown import markdown
from ttprof.result import CaseResult, LawFit, Measurement, ScalingFit, Status, SuiteResult, TrialResult, Verdict


def measured(name: str, value: float, unit: str = "ms", better: str = "lower") -> Measurement:
    return Measurement(name=name, label=name.split("_")[0], unit=unit, better=better, statistic="median", value=value)


def trial(*measurements: Measurement, point=None) -> TrialResult:
    return TrialResult(
        point=point or {},
        inputs="2x8 float32",
        inputs_source="captured",
        measurements=list(measurements),
        top_ops=[("aten::addmm", 0.61), ("aten::gelu", 0.2)],
        notes=["seq_len 64, the most that the model takes"],
    )


def case(name: str, status: Status, *trials: TrialResult, verdicts=(), scaling=None) -> CaseResult:
    return CaseResult(
        module_name=name,
        module_type="M",
        status=status,
        source="gate.py:7",
        trials=list(trials),
        verdicts=list(verdicts),
        scaling=scaling,
    )


def suite(*cases: CaseResult) -> SuiteResult:
    return SuiteResult(name="gate", started="now", environment=MACHINE, cases=list(cases), run_dir="traces/gate")


FAILED = Verdict(
    expectation="latency_ms <= 5 ms",
    status=Status.FAIL,
    reason="latency_ms is 7 ms, 40 % over the limit of 5 ms",
    metric="latency_ms",
    measured=7.0,
    limit=5.0,
)
UNMEASURED = Verdict(
    expectation="kernel_time_ms <= 5 ms",
    status=Status.ERROR,
    reason="kernel_time_ms was not measured on cpu: it needs kernels",
    metric="kernel_time_ms",
    limit=5.0,
)
FIT = ScalingFit(
    metric="cpu_time_ms",
    axis="seq_len",
    law="linear",
    sizes=[1, 2, 4],
    values=[1.0, 2.0, 4.0],
    exponent=1.0,
    interval=(0.9, 1.1),
    laws=[LawFit(law="linear", intercept=0.0, factor=1.0, r2=1.0)],
    threads=1,
)
SUITES = {
    "empty": suite(),
    "passing": suite(case("ffn", Status.PASS, trial(measured("latency_ms", 3.0)))),
    "failing": suite(case("ffn", Status.FAIL, trial(measured("latency_ms", 7.0)), verdicts=[FAILED])),
    "unmeasured": suite(case("ffn", Status.ERROR, trial(), verdicts=[UNMEASURED])),
    "swept": suite(
        case(
            "ffn",
            Status.PASS,
            trial(measured("latency_ms", 1.0), point={"seq_len": 64}),
            trial(measured("latency_ms", 2.0), point={"seq_len": 128}),
            scaling=FIT,
        )
    ),
    "hostile": suite(case("<script>[red]|x", Status.ERROR, verdicts=[UNMEASURED]), case("skipped", Status.SKIP)),
}


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
    assert "7 <= 5" in shown
    sentence = (
        "FAIL ffn: latency_ms is 7 ms, 40 % over the limit of 5 ms; dominated by aten::addmm 61 %, aten::gelu 20 %"
    )
    assert sentence in shown
    plain = console.failure_text(SUITES["failing"])
    assert "FAIL         ffn (gate.py:7)" in plain and "40 % over" in plain


def test_what_was_not_measured_is_a_dash_and_an_error():
    shown = text(suite(SUITES["unmeasured"][0], case("x", Status.PASS, trial(measured("kernel_time_ms", 1.0)))))
    assert "- <= 5" in shown
    assert "ERROR ffn: kernel_time_ms was not measured on cpu" in shown


def test_a_sweep_has_a_row_for_each_point_and_notes_are_shown():
    shown = text(SUITES["swept"])
    assert "seq_len=64" in shown and "seq_len=128" in shown
    assert "note ffn: seq_len 64, the most that the model takes" in shown


def test_a_narrow_terminal_gets_the_inputs_in_a_table_of_their_own():
    lines = text(SUITES["swept"], width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.strip().startswith("seq_len=64") for line in lines) == 2
    assert any(line.split() == ["case", "inputs", "from"] for line in lines)
    assert any(line.split() == ["case", "status", "latency", "(ms)"] for line in lines)


def test_names_are_never_markup():
    assert "<script>[red]|x" in text(SUITES["hostile"])
    shown = markdown(SUITES["hostile"])
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "\\|x" in shown


def test_verbose_says_why_each_case_passes_and_says_nothing_twice():
    raised = Verdict(expectation="tolerance", status=Status.PASS, reason="rel is 0.1, T was raised to 0.2")
    result = suite(case("ffn", Status.PASS, trial(), verdicts=[raised]))
    out = io.StringIO()
    Console(file=out, width=160).print(console.render(result, 160, sentences.everything))
    assert "PASS ffn: rel is 0.1, T was raised to 0.2" in out.getvalue()
    assert out.getvalue().count("was raised") == 1
    assert "note ffn: rel is 0.1, T was raised to 0.2" in text(result) and "PASS ffn:" not in text(result)


@pytest.mark.parametrize(("value", "still"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_nothing_moves_in_ci_even_on_a_terminal(monkeypatch, value, still):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("TTY_INTERACTIVE", raising=False)
    found = console.console({"CI": value})
    assert found.is_terminal and found.is_interactive is not still


def test_a_child_of_a_sequential_is_called_by_its_type_too():
    children = suite(case("0.1", Status.FAIL, trial(), verdicts=[FAILED]), case("layers.0", Status.PASS, trial()))
    told = text(children)
    assert "FAIL 0.1 (M): latency_ms" in told and "layers.0 (M)" not in told
    assert console.case_text(children[0]).startswith("FAIL         0.1 (M) (gate.py:7)")


def test_a_passing_polynomial_is_told_as_a_note():
    reason = "memory_mb is exactly 32 seq_len² bytes at 4 sizes from 1 to 8: quadratic, quadratic expected"
    found = Verdict(expectation="memory_mb grows as quadratic in seq_len", status=Status.PASS, reason=reason)
    assert f"note ffn: {reason}" in text(suite(case("ffn", Status.PASS, trial(), verdicts=[found])))


def test_in_brief_there_are_failures_and_totals():
    assert console.brief(SUITES["passing"]) == "gate: 1 case: 1 PASS"
    first, *rest = console.brief(SUITES["failing"]).splitlines()
    assert first == "1 of 1 cases failed or could not be judged" and "latency_ms is 7 ms" in rest[1]
    assert rest[-1] == "gate: 1 case: 1 FAIL"


def test_no_color_leaves_no_colours(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=True).print(console.render(SUITES["failing"], 160))
    assert "FAIL" in out.getvalue() and not re.search(r"\x1b\[[\d;]*3\dm", out.getvalue())
