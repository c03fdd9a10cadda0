"""Handmade results: functions that build them, and results of every kind for the reports to render."""

from __future__ import annotations

from typing import Any

from machines import MACHINE

from ttprof.codes import Kind, Note, NoteCode, VerdictCode
from ttprof.result import CaseResult, Measurement, SuiteResult, TrialResult
from ttprof.scaling_fit import LawFit, ScalingFit
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict


def measured(name: str, value: float, unit: str = "ms", better: str = "lower", **fields: Any) -> Measurement:
    fields = {"label": name.split("_")[0], "statistic": "median", **fields}
    return Measurement(name=name, unit=unit, better=better, value=value, **fields)


def note(text: str, code: NoteCode = NoteCode.SEQ_LEN_SHORTENED) -> Note:
    return Note(code, text)


def trial(*measurements: Measurement, point: dict[str, int] | None = None, **fields: Any) -> TrialResult:
    defaults = {
        "inputs": "2x8 float32",
        "inputs_source": "captured",
        "notes": [note("seq_len 64, the most that the model takes")],
        "top_ops": [("aten::addmm", 0.61), ("aten::gelu", 0.2)],
    }
    return TrialResult(point=Point(point or {}), measurements=list(measurements), **{**defaults, **fields})


def case(name: str, status: Status, *trials: TrialResult, verdicts=(), **fields: Any) -> CaseResult:
    fields = {"module_type": "M", "source": "gate.py:7", **fields}
    return CaseResult(module_name=name, status=status, trials=list(trials), verdicts=list(verdicts), **fields)


def suite(*cases: CaseResult, **fields: Any) -> SuiteResult:
    fields = {"name": "gate", "started": "now", "environment": MACHINE, "run_dir": "traces/gate", **fields}
    return SuiteResult(cases=list(cases), **fields)


def verdict(status: Status, code: VerdictCode, reason: str, *, kind: Kind = Kind.LIMIT, **fields: Any) -> Verdict:
    fields = {"expectation": "latency_ms <= 5 ms", **fields}
    if "point" in fields:
        fields["point"] = Point(fields["point"])
    return Verdict(kind=kind, code=code, status=status, reason=reason, **fields)


FAILED = verdict(
    Status.FAIL,
    VerdictCode.OUTSIDE_LIMIT,
    "latency_ms is 7 ms, 40 % over the limit of 5 ms",
    metric="latency_ms",
    measured=7.0,
    bound=(None, 5.0),
)
TOO_FAST = verdict(
    Status.FAIL,
    VerdictCode.OUTSIDE_LIMIT,
    "latency_ms is 3.2 ms, 36 % under the limit of 5 ms",
    expectation="latency_ms >= 5 ms",
    metric="latency_ms",
    measured=3.2,
    bound=(5.0, None),
)
EXACT = verdict(
    Status.FAIL,
    VerdictCode.OUTSIDE_LIMIT,
    "memory_mb is 12 MB, expected 10 MB (over 4 iterations)",
    expectation="memory_mb == 10 MB",
    metric="memory_mb",
    measured=12.0,
    bound=(10.0, 10.0),
)
WITHIN = verdict(
    Status.PASS,
    VerdictCode.WITHIN_LIMIT,
    "memory_mb is 500 MB, within 490 … 522 MB",
    expectation="memory_mb within 490 … 522 MB",
    metric="memory_mb",
    measured=500.0,
    bound=(490.0, 522.0),
)
UNMEASURED = verdict(
    Status.ERROR,
    VerdictCode.NOT_MEASURED,
    "kernel_time_ms was not measured on cpu: it needs kernels",
    expectation="kernel_time_ms <= 5 ms",
    metric="kernel_time_ms",
    bound=(None, 5.0),
)
UNDECIDED = verdict(
    Status.INCONCLUSIVE,
    VerdictCode.LIMIT_UNDECIDED,
    "latency_ms lies on both sides of 5 ms",
    metric="latency_ms",
    measured=5.0,
    bound=(None, 5.0),
)
RAISED = verdict(
    Status.PASS,
    VerdictCode.WITHIN_RAISED_TOLERANCE,
    "relative error 0.1 (limit 0.2); tolerance raised from 0.001 to the floor of bfloat16",
    kind=Kind.TOLERANCE,
    expectation="tolerance 0.001",
    metric="rel_error",
    measured=0.1,
    bound=(None, 0.2),
)
QUADRATIC = verdict(
    Status.PASS,
    VerdictCode.FOLLOWS_LAW,
    "cpu_time_ms is exactly 32 seq_len² ns at 4 sizes from 1 to 8: quadratic, expected quadratic",
    kind=Kind.SCALING,
    expectation="cpu_time_ms quadratic in seq_len",
)
REGRESSED = verdict(
    Status.FAIL,
    VerdictCode.REGRESSED,
    "latency_ms is 9 ms, 3 ms in the baseline: +200.0 %",
    kind=Kind.BASELINE,
    expectation="no worse than before",
    metric="latency_ms",
)
INTERRUPTED = verdict(
    Status.ERROR,
    VerdictCode.INTERRUPTED,
    "it was stopped by the user",
    kind=Kind.RUN,
    expectation="the case runs to its end",
)
SKIPPED = verdict(Status.SKIP, VerdictCode.SKIPPED, "needs flash-attn", kind=Kind.RUN, expectation="the test is run")

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
    "hostile": suite(
        case("<script>[red]|x", Status.ERROR, verdicts=[UNMEASURED]),
        case("skipped", Status.SKIP),
    ),
}
BOUNDED = suite(
    case("fast", Status.FAIL, trial(measured("latency_ms", 3.2)), verdicts=[TOO_FAST]),
    case("exact", Status.FAIL, trial(measured("memory_mb", 12.0, "MB")), verdicts=[EXACT]),
    case("range", Status.PASS, trial(measured("memory_mb", 500.0, "MB")), verdicts=[WITHIN]),
)
"""A limit of every kind."""

EVERYTHING = suite(
    *BOUNDED,
    *(
        case(name, SUITES[name].cases[0].status, *SUITES[name].cases[0].trials, verdicts=SUITES[name].cases[0].verdicts)
        for name in ("failing", "unmeasured")
    ),
    case("open", Status.INCONCLUSIVE, trial(measured("latency_ms", 5.0)), verdicts=[UNDECIDED]),
    case("raised", Status.PASS, trial(measured("rel_error", 0.1, "")), verdicts=[RAISED]),
    case(
        "swept",
        Status.FAIL,
        trial(measured("latency_ms", 7.0), point={"seq_len": 64}),
        trial(measured("latency_ms", 9.0), point={"seq_len": 128}),
        verdicts=[
            QUADRATIC,
            verdict(
                Status.FAIL,
                VerdictCode.OUTSIDE_LIMIT,
                "at seq_len=64: latency_ms is 7 ms, over",
                metric="latency_ms",
                measured=7.0,
                bound=(None, 5.0),
                point={"seq_len": 64},
            ),
        ],
        scaling=FIT,
    ),
    case("slower", Status.FAIL, trial(measured("latency_ms", 9.0)), verdicts=[REGRESSED]),
    case("stopped", Status.ERROR, trial(measured("latency_ms", 4.0)), verdicts=[WITHIN, INTERRUPTED]),
    case("left out", Status.SKIP, verdicts=[SKIPPED]),
    interrupted=True,
)
"""A verdict of every status and of most kinds."""
