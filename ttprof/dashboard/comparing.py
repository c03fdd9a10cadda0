"""The documents that span runs: the comparison of two runs, and the history of a case over all runs of its suite.

``judge.regression`` decides, as for ``ttprof compare``; this file only adds intervals to the ratios.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttprof import baseline
from ttprof.dashboard.documents import RunRow, label, public, run_row
from ttprof.dashboard.runs import Run
from ttprof.judge import regression
from ttprof.judge.bootstrap import resampled_ranks
from ttprof.judge.metric_change import MIN_SAMPLES, ComparedMetric
from ttprof.result import CaseResult, Measurement, TrialResult
from ttprof.system.instants import instant
from ttprof.trial_key import TrialKey
from ttprof.verdict import Status

RESAMPLES = 300

MetricKey = tuple[TrialKey, str]
"""A trial and the name of one of its metrics."""


class CompareRow(msgspec.Struct, frozen=True):
    """A metric of a trial in both runs.

    ``interval`` is the 95 % interval of the ratio of medians, new / base. ``index`` is the position of the case in the
    new run, null if only the base has it. ``too_few_samples`` marks a metric that is undecided because either run has
    too few samples, as for every size of a sweep of five rounds.
    """

    case: str
    index: int | None
    point: str
    metric: str
    unit: str
    better: str
    change: str
    status: Status
    reason: str
    base: float | None
    new: float | None
    ratio: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    too_few_samples: bool


class ComparisonDocument(msgspec.Struct, frozen=True):
    """The comparison of two runs, with the undecided rows last.

    ``unlike`` lists the differences in hardware, so that the page can warn that times are not comparable.
    """

    base: RunRow
    new: RunRow
    threshold: float
    unlike: list[str]
    software: list[str]
    counts: dict[str, int]
    rows: list[CompareRow]


class HistoryPoint(msgspec.Struct, frozen=True):
    """A metric in one run; ``low`` and ``high`` are the 10th and 90th percentiles, null with fewer than two samples."""

    run: str
    folder: str
    started: str
    status: Status
    value: float
    low: float | None
    high: float | None
    limit: float | None


class MetricSeries(msgspec.Struct, frozen=True):
    """A metric of a case at one sweep point over the runs, oldest first."""

    metric: str
    label: str
    unit: str
    better: str
    point: str
    points: list[HistoryPoint]


class HistoryDocument(msgspec.Struct, frozen=True):
    """Every metric of a case over all runs of its suite."""

    case: str
    suite: str
    series: list[MetricSeries]


def compare(base: Run, new: Run) -> ComparisonDocument:
    """Compare two runs. Raises ResultFileError if either cannot be read."""
    comparison = regression.compare(baseline.of(base.read), baseline.of(new.read), force=True)
    before, after = _measurements(base), _measurements(new)
    indices = {case.module_name: i for i, case in enumerate(new.read)}
    ordered = sorted(comparison.rows, key=lambda row: row.change == "undecided")
    rows = [_row(row, indices.get(row.case), before, after) for row in ordered]
    changes = [row.change for row in rows]
    return ComparisonDocument(
        base=run_row(base),
        new=run_row(new),
        threshold=comparison.threshold,
        unlike=comparison.forced,
        software=comparison.software,
        counts={change: changes.count(change) for change in dict.fromkeys(changes)},
        rows=rows,
    )


def history(runs: list[Run], run: Run, case: CaseResult) -> HistoryDocument:
    """Follow a case of *run* through all *runs* of the same suite."""
    suite, name = run.read.name, case.module_name
    series: dict[tuple[str, str], MetricSeries] = {}
    of_suite = [other for other in runs if other.result is not None and other.result.name == suite]
    for other in sorted(of_suite, key=lambda other: instant(other.read.started)):
        for candidate in other.read:
            if candidate.module_name == name:
                _add(series, other, candidate)
    return HistoryDocument(name, suite, list(series.values()))


def _add(series: dict[tuple[str, str], MetricSeries], run: Run, case: CaseResult) -> None:
    for trial in case.trials:
        for m in trial.measurements:
            point = label(trial)
            key = m.name, point
            metric = series.setdefault(key, MetricSeries(m.name, m.label, m.unit, m.better, point, []))
            metric.points.append(_point(run, case, trial, m))


def _point(run: Run, case: CaseResult, trial: TrialResult, m: Measurement) -> HistoryPoint:
    low, high = np.quantile(m.samples, (0.1, 0.9)).tolist() if len(m.samples) > 1 else (None, None)
    verdict = next((v for v in case.verdicts_at(trial.point) if v.metric == m.name and v.bound), None)
    return HistoryPoint(
        run=run.id,
        folder=run.name,
        started=run.read.started,
        status=case.status,
        value=m.value,
        low=None if low is None else public(m.unit, low),
        high=None if high is None else public(m.unit, high),
        limit=verdict.limit if verdict else None,
    )


def _measurements(run: Run) -> dict[MetricKey, Measurement]:
    return {
        (TrialKey(case.module_name, trial.point), m.name): m
        for case in run.read
        for trial in case.trials
        for m in trial.measurements
    }


def _row(
    row: ComparedMetric, index: int | None, before: dict[MetricKey, Measurement], after: dict[MetricKey, Measurement]
) -> CompareRow:
    key = row.key, row.metric
    old, new = before.get(key), after.get(key)
    sampled = row.p_value is not None and old is not None and new is not None
    measurement = old or new
    return CompareRow(
        case=row.case,
        index=index,
        point=str(row.point),
        metric=row.metric,
        unit=row.unit,
        better=measurement.better if measurement else "lower",
        change=row.change,
        status=row.status,
        reason=row.reason,
        base=row.base,
        new=row.new,
        ratio=row.ratio,
        interval=ratio_interval(old.samples, new.samples) if sampled and old and new else None,
        p_value=row.p_value,
        too_few_samples=row.change == "undecided" and bool(row.metric) and row.p_value is None,
    )


def ratio_interval(base: list[float], new: list[float]) -> tuple[float, float] | None:
    """Return the 95 % percentile-bootstrap interval of the ratio of medians, new / base.

    None if either side has fewer than ``MIN_SAMPLES`` samples, or a resampled base median is not above 0.
    """
    if min(len(base), len(new)) < MIN_SAMPLES:
        return None
    new_medians, base_medians = (
        np.sort(side)[_median_indices(len(side), seed)].mean(axis=1) for seed, side in enumerate((new, base))
    )
    if not (base_medians > 0).all():
        return None
    low, high = np.quantile(new_medians / base_medians, (0.025, 0.975)).tolist()
    return low, high


@lru_cache(maxsize=256)
def _median_indices(count: int, seed: int) -> NDArray[np.int64]:
    """Return, per resample, the two indices into the sorted samples whose mean is the median.

    Resampling indices instead of values makes the draw independent of the samples, so it is cached.
    """
    return resampled_ranks(count, 0.5, np.random.default_rng(seed), RESAMPLES)
