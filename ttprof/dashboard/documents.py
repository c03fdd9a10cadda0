"""The documents of results: the list of runs, the cases of a run, and one case with its samples.

The front end fetches them as JSON. Numbers are in the public unit of their metric, and everything is computed here: the
browser only draws.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.dashboard.machine import machine_facts
from ttprof.dashboard.numerics import Numerics, numerics
from ttprof.dashboard.runs import Run
from ttprof.judge import causes
from ttprof.judge.limits import bootstrap_interval
from ttprof.measurement import with_samples
from ttprof.metrics.metric import SAMPLED, STATISTICS
from ttprof.result import ALWAYS_SHOWN, CaseResult, Environment, Measurement, SuiteResult, TrialResult
from ttprof.units import BY_SYMBOL, COUNT, significant
from ttprof.verdict import SEVERITY, Status, Verdict

MAX_SAMPLES = 2000


class RunRow(msgspec.Struct, frozen=True):
    """A row of the run list. If the run could not be read, ``error`` says why and the other fields are empty.

    ``counts`` is the number of cases by status, ``backend`` the profiler that recorded the traces.
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


class RunList(msgspec.Struct, frozen=True):
    """All runs. The front end opens on the first one without an error."""

    log_directory: str
    runs: list[RunRow]


class MetricColumn(msgspec.Struct, frozen=True):
    """A metric of a run, as a column of the case table; ``visible`` is whether it is shown by default."""

    name: str
    label: str
    unit: str
    better: str
    visible: bool


class Cell(msgspec.Struct, frozen=True):
    """The value of a metric in one trial, with its limit (``≤ 5``) and verdict; each null if absent."""

    value: float | None
    limit: str | None = None
    status: Status | None = None


class TrialRow(msgspec.Struct, frozen=True):
    """A trial in the case table: its sweep point (``seq_len=64``), and whether it has a trace."""

    label: str
    traced: bool


class CaseRow(msgspec.Struct, frozen=True):
    """A row of the case table.

    ``reason`` is the message of the worst verdict, ``further`` the number of other verdicts that are just as bad. A
    cell shows the trial with the worst verdict on that metric; on a tie, the last (largest) one.
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
    """A run with its cases, without samples, and without the host name, because pages are shared."""

    row: RunRow
    strict: bool
    interrupted: bool
    environment: Environment
    seconds: dict[str, float]
    columns: list[MetricColumn]
    cases: list[CaseRow]


class Quantiles(msgspec.Struct, frozen=True):
    """Quantiles of the samples of a metric, in its public unit."""

    min: float
    p10: float
    median: float
    p90: float
    p99: float
    max: float


class MetricDetail(msgspec.Struct, frozen=True):
    """A measurement with its samples in order and, if it varies, its one-sided 95 % bootstrap bounds.

    Above 2000 samples, every k-th is kept; ``count`` is the number before that.
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


class Least(msgspec.Struct, frozen=True):
    """The least time of an iteration in ms, what bounds it, and the peaks; ``sol`` is its share of the latency."""

    ms: float
    bound: str
    compute_ms: float
    memory_ms: float
    mb: float
    peaks: list[str]
    bandwidth: float
    measured: bool
    sol: float | None


class TrialDocument(msgspec.Struct, frozen=True):
    """One trial; ``shares`` are the ops or kernels that took most of the recorded time, as fractions of it.

    ``machine`` is what the machine did while it was timed: names and texts.
    """

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
    machine: list[tuple[str, str]]
    shares: list[tuple[str, float]]
    numerics: Numerics | None
    least: Least | None
    measurements: list[MetricDetail]
    reference: list[MetricDetail]


class CaseDocument(msgspec.Struct, frozen=True):
    """One case, without its traces and its scaling."""

    index: int
    name: str
    type: str
    status: Status
    source: str
    verdicts: list[Verdict]
    trials: list[TrialDocument]


def runs(log_directory: str, runs: list[Run]) -> RunList:
    """Return the run list."""
    return RunList(log_directory, [run_row(run) for run in runs])


def run_row(run: Run) -> RunRow:
    """Return a row of the run list."""
    result = run.result
    if result is None:
        return RunRow(run.id, run.name, error=run.error)
    env = result.environment
    counts = {str(status): n for status in Status if (n := result.count(status))}
    device = f"{env.device} · {env.device_name}"
    return RunRow(run.id, run.name, result.name, result.started, device, result.backend, result.passed, counts)


def run(run: Run) -> RunDocument:
    """Return a run with its cases. Raises ResultFileError if it could not be read."""
    result = run.read
    return RunDocument(
        row=run_row(run),
        strict=result.strict,
        interrupted=result.interrupted,
        environment=msgspec.structs.replace(result.environment, hostname=""),
        seconds=result.seconds,
        columns=columns(result),
        cases=[_case_row(i, case) for i, case in enumerate(result)],
    )


def case(index: int, result: CaseResult) -> CaseDocument:
    """Return one case with its trials; *index* is its position in the run."""
    return CaseDocument(
        index=index,
        name=result.module_name,
        type=result.module_type,
        status=result.status,
        source=result.source,
        verdicts=sorted(causes.joined(result), key=lambda verdict: severity(verdict.status)),
        trials=[_trial(result, trial) for trial in result.trials],
    )


def columns(result: SuiteResult) -> list[MetricColumn]:
    """List every metric that was measured or has a limit; the usual ones and those with a limit are visible."""
    limited = {verdict.metric for case in result for verdict in case.verdicts if verdict.metric}
    measured = {m.name: m for case in result for trial in case.trials for m in trial.measurements}
    order = [*(name for name in ALWAYS_SHOWN if name in measured), *measured, *sorted(limited - measured.keys())]
    return [_column(name, measured.get(name), name in ALWAYS_SHOWN or name in limited) for name in dict.fromkeys(order)]


def _column(name: str, m: Measurement | None, visible: bool) -> MetricColumn:
    if m is None:
        return MetricColumn(name, name, "", "lower", visible)
    return MetricColumn(name, m.label, m.unit, m.better, visible)


def label(trial: TrialResult) -> str:
    """The point of a trial as text; empty without a sweep."""
    return str(trial.point)


def severity(status: Status) -> int:
    """Rank a status: 0 is the worst."""
    return SEVERITY.index(status)


def public(unit: str, base: float) -> float:
    """Convert a value from base units to the public unit with that symbol."""
    return BY_SYMBOL.get(unit, COUNT).public(base)


def metric_detail(m: Measurement) -> MetricDetail:
    """Return a measurement with its bounds, quantiles and samples."""
    samples = np.array(m.samples, dtype=np.float64)
    varies = m.statistic in SAMPLED and len(samples) > 1
    statistic = next((function for name, function in STATISTICS.items() if varies and name == m.statistic), None)
    bounds = bootstrap_interval(samples, statistic) if statistic else None
    thinned = samples[:: -(-len(samples) // MAX_SAMPLES) or 1]
    return MetricDetail(
        name=m.name,
        label=m.label,
        unit=m.unit,
        better=m.better,
        statistic=m.statistic,
        value=m.value,
        interval=(public(m.unit, bounds[0]), public(m.unit, bounds[1])) if bounds else None,
        spread=_quantiles(m.unit, samples),
        count=len(samples),
        samples=[public(m.unit, value) for value in thinned.tolist()],
    )


def _quantiles(unit: str, samples: np.ndarray) -> Quantiles | None:
    if len(samples) < 2:
        return None
    quantiles = np.quantile(samples, (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)).tolist()
    return Quantiles(*(public(unit, value) for value in quantiles))


def _case_row(index: int, result: CaseResult) -> CaseRow:
    verdicts = list(causes.joined(result))
    worst = min(verdicts, key=lambda verdict: severity(verdict.status), default=None)
    return CaseRow(
        index=index,
        name=result.module_name,
        type=result.module_type,
        status=result.status,
        severity=severity(result.status),
        reason=worst.reason if worst else "",
        further=max(0, sum(verdict.status in result.as_bad for verdict in verdicts) - 1),
        scaling=result.scaling is not None,
        trials=[TrialRow(label(trial), trial.trace_path is not None) for trial in result.trials],
        cells=_cells(result),
    )


def _cells(case: CaseResult) -> dict[str, Cell]:
    """The cell of each metric: of the trial with the worst verdict on it, else of the largest trial."""
    cells: dict[str, Cell] = {}
    for measured in case.trials:
        cells |= {m.name: Cell(m.value) for m in measured.measurements}
    trials: list[TrialResult | None] = [*case.trials] or [None]
    for trial in trials:
        for verdict in case.verdicts if trial is None else case.verdicts_at(trial.point):
            cell = cells.get(verdict.metric or "", Cell(None))
            worst = cell.status is None or severity(verdict.status) <= severity(cell.status)
            if verdict.metric is not None and worst and (verdict.bound or verdict.metric in cells):
                value = None if trial is None else trial.metrics.get(verdict.metric)
                cells[verdict.metric] = Cell(value, verdict.bound_text or cell.limit, verdict.status)
    return cells


def _least(trial: TrialResult) -> Least | None:
    least = trial.least_time
    if least is None:
        return None
    return Least(
        ms=least.ms,
        bound=least.bound,
        compute_ms=least.compute_ms,
        memory_ms=least.memory_ms,
        mb=least.bytes_from_memory / 2**20,
        peaks=[f"{dtype} {significant(rate)} TFLOP/s" for dtype, rate in least.peak_tflops.items()],
        bandwidth=least.bandwidth_gb_s,
        measured=least.measured,
        sol=trial.metrics.get("sol"),
    )


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
        machine=machine_facts(trial.machine),
        shares=trial.top_ops,
        numerics=numerics(case, trial),
        least=_least(trial),
        measurements=[metric_detail(m) for m in with_samples(trial.measurements)],
        reference=[metric_detail(m) for m in with_samples(trial.reference)],
    )
