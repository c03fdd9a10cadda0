"""What the front end shows of results: the list of runs, the cases of a run, one case with its samples.

Runs enter; frozen structs leave, whose JSON is what the front end fetches. Numbers are in the public unit of their
metric, and everything that is computed is computed here, never in the browser.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.dashboard.numerics import Numerics, numerics
from ttprof.dashboard.runs import Run
from ttprof.judge.limits import bootstrap_interval
from ttprof.metrics.metric import SAMPLED, STATISTICS
from ttprof.result import (
    ALWAYS_SHOWN,
    SEVERITY,
    CaseResult,
    Environment,
    Measurement,
    Status,
    SuiteResult,
    TrialResult,
    Verdict,
    with_samples,
)
from ttprof.units import BY_SYMBOL, COUNT

MOST_SAMPLES = 2000


class RunRow(msgspec.Struct, frozen=True):
    """A run in the list of runs; ``counts`` are the cases by status, ``backend`` is what recorded its traces.

    With an ``error`` it could not be read.
    """

    id: str
    folder: str
    name: str = ""
    started: str = ""
    device: str = ""
    backend: str = ""
    passed: bool = False
    counts: dict[str, int] = {}
    error: str | None = None


class Runs(msgspec.Struct, frozen=True):
    """All runs; the one to show first is the first that could be read."""

    log_directory: str
    runs: list[RunRow]


class Column(msgspec.Struct, frozen=True):
    """A metric of a run. ``shown`` marks those that a table of all cases begins with."""

    name: str
    label: str
    unit: str
    better: str
    shown: bool


class Cell(msgspec.Struct, frozen=True):
    """A metric of one trial, beside its limit (``≤ 5``) and the verdict's status, each null if there is none."""

    value: float | None
    limit: str | None = None
    status: Status | None = None


class TrialRow(msgspec.Struct, frozen=True):
    """A trial of a case in the table of cases: its point (``seq_len=64``), and whether it has a trace."""

    label: str
    traced: bool


class CaseRow(msgspec.Struct, frozen=True):
    """A case in the table of cases; ``reason`` is the sentence of its worst verdict, ``further`` counts those as bad.

    A cell is that of the trial with the worst verdict on the metric, of the largest where they are alike.
    """

    index: int
    name: str
    type: str
    status: Status
    severity: int
    reason: str
    further: int
    scaling: bool
    trials: list[TrialRow]
    cells: dict[str, Cell]


class RunDocument(msgspec.Struct, frozen=True):
    """A run with its cases, without samples."""

    row: RunRow
    strict: bool
    interrupted: bool
    environment: Environment
    seconds: dict[str, float]
    columns: list[Column]
    cases: list[CaseRow]


class Quantiles(msgspec.Struct, frozen=True):
    """How samples are distributed, in the public unit."""

    min: float
    p10: float
    median: float
    p90: float
    p99: float
    max: float


class Measured(msgspec.Struct, frozen=True):
    """A measurement: its value with the 95 % bootstrap interval where it varies, and the samples in order.

    Of more than 2000 samples every so manieth is kept; ``count`` is how many there were.
    """

    name: str
    label: str
    unit: str
    better: str
    statistic: str
    value: float
    interval: tuple[float, float] | None
    spread: Quantiles | None
    count: int
    samples: list[float]


class TrialDocument(msgspec.Struct, frozen=True):
    """All about one trial; ``shares`` are the ops or kernels that took most of the recorded time."""

    label: str
    inputs: str
    inputs_source: str
    warmup: int
    iterations: int
    recorded: int
    threads: int
    interleaved: int
    steady: bool
    stopped: str
    traced: bool
    notes: list[str]
    shares: list[tuple[str, float]]
    numerics: Numerics | None
    measurements: list[Measured]
    reference: list[Measured]


class CaseDocument(msgspec.Struct, frozen=True):
    """All about one case but its traces and its scaling."""

    index: int
    name: str
    type: str
    status: Status
    source: str
    verdicts: list[Verdict]
    trials: list[TrialDocument]


def runs(log_directory: str, found: list[Run]) -> Runs:
    """The list of runs."""
    return Runs(log_directory, [run_row(run) for run in found])


def run_row(run: Run) -> RunRow:
    """A run in that list."""
    result = run.result
    if result is None:
        return RunRow(run.id, run.name, error=run.error)
    env = result.environment
    counts = {str(status): n for status in Status if (n := result.count(status))}
    device = f"{env.device} · {env.device_name}"
    return RunRow(run.id, run.name, result.name, result.started, device, result.backend, result.passed, counts)


def run(run: Run) -> RunDocument:
    """A run with its cases. Raises ResultFileError where it could not be read."""
    result = run.read
    return RunDocument(
        row=run_row(run),
        strict=result.strict,
        interrupted=result.interrupted,
        environment=result.environment,
        seconds=result.seconds,
        columns=columns(result),
        cases=[_case_row(i, case) for i, case in enumerate(result)],
    )


def case(index: int, found: CaseResult) -> CaseDocument:
    """A case, which stands at an index of its run."""
    return CaseDocument(
        index=index,
        name=found.module_name,
        type=found.module_type,
        status=found.status,
        source=found.source,
        verdicts=sorted(found.verdicts, key=lambda verdict: severity(verdict.status)),
        trials=[_trial(found, trial) for trial in found.trials],
    )


def columns(result: SuiteResult) -> list[Column]:
    """Every metric that was measured or has a limit; shown first are the usual ones and those with a limit."""
    limited = {verdict.metric for case in result for verdict in case.verdicts if verdict.metric}
    known = {m.name: m for case in result for trial in case.trials for m in trial.measurements}
    order = [*(name for name in ALWAYS_SHOWN if name in known), *known, *sorted(limited - known.keys())]
    found = []
    for name in dict.fromkeys(order):
        shown = name in ALWAYS_SHOWN or name in limited
        m = known.get(name)
        found.append(Column(name, m.label, m.unit, m.better, shown) if m else Column(name, name, "", "lower", shown))
    return found


def label(trial: TrialResult) -> str:
    """The point of a trial as text; empty without a sweep."""
    return str(trial.point)


def severity(status: Status) -> int:
    """The place of a status among all, the worst first."""
    return SEVERITY.index(status)


def public(unit: str, base: float) -> float:
    """A quantity in base units, in the public unit of that symbol."""
    return BY_SYMBOL.get(unit, COUNT).public(base)


def measured(found: Measurement) -> Measured:
    """A measurement with what its samples say."""
    samples = np.array(found.samples, dtype=np.float64)
    varies = found.statistic in SAMPLED and len(samples) > 1
    statistic = next((each for name, each in STATISTICS.items() if varies and name == found.statistic), None)
    bounds = bootstrap_interval(samples, statistic) if statistic else None
    kept = samples[:: -(-len(samples) // MOST_SAMPLES) or 1]
    return Measured(
        name=found.name,
        label=found.label,
        unit=found.unit,
        better=found.better,
        statistic=found.statistic,
        value=found.value,
        interval=(public(found.unit, bounds[0]), public(found.unit, bounds[1])) if bounds else None,
        spread=_quantiles(found.unit, samples),
        count=len(samples),
        samples=[public(found.unit, value) for value in kept.tolist()],
    )


def _quantiles(unit: str, samples: np.ndarray) -> Quantiles | None:
    if len(samples) < 2:
        return None
    found = np.quantile(samples, (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)).tolist()
    return Quantiles(*(public(unit, value) for value in found))


def _case_row(index: int, found: CaseResult) -> CaseRow:
    worst = min(found.verdicts, key=lambda verdict: severity(verdict.status), default=None)
    return CaseRow(
        index=index,
        name=found.module_name,
        type=found.module_type,
        status=found.status,
        severity=severity(found.status),
        reason=worst.reason if worst else "",
        further=found.further,
        scaling=found.scaling is not None,
        trials=[TrialRow(label(trial), trial.trace_path is not None) for trial in found.trials],
        cells=_cells(found),
    )


def _cells(found: CaseResult) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for trial in found.trials:
        cells |= {m.name: Cell(m.value) for m in trial.measurements}
    for trial in found.trials:
        for verdict in found.verdicts_at(trial.point):
            known = cells.get(verdict.metric or "", Cell(None))
            worst = known.status is None or severity(verdict.status) <= severity(known.status)
            if verdict.metric is not None and worst and (verdict.bound or verdict.metric in cells):
                value = trial.metrics.get(verdict.metric)
                cells[verdict.metric] = Cell(value, verdict.bound_text or known.limit, verdict.status)
    return cells


def _trial(case: CaseResult, trial: TrialResult) -> TrialDocument:
    return TrialDocument(
        label=label(trial),
        inputs=trial.inputs,
        inputs_source=trial.inputs_source,
        warmup=trial.warmup,
        iterations=trial.iterations,
        recorded=trial.recorded,
        threads=trial.threads,
        interleaved=trial.interleaved,
        steady=trial.steady,
        stopped=trial.stopped,
        traced=trial.trace_path is not None,
        notes=[note.text for note in trial.notes],
        shares=trial.top_ops,
        numerics=numerics(case, trial),
        measurements=[measured(m) for m in with_samples(trial.measurements)],
        reference=[measured(m) for m in with_samples(trial.reference)],
    )
