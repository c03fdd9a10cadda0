"""Two runs side by side, and a case over all runs.

Runs enter; frozen structs leave. What regressed is what ``ttprof compare`` says; here the ratios get intervals.
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
from ttprof.judge.regression import MIN_SAMPLES, ComparedMetric
from ttprof.result import CaseResult, Measurement, Status, TrialResult
from ttprof.trial_key import TrialKey

RESAMPLES = 300
Key = tuple[TrialKey, str]


class CompareRow(msgspec.Struct, frozen=True):
    """A metric of a trial in both runs; ``interval`` holds new / base of the medians with 95 % confidence.

    ``index`` is the case in the new run, null where only the base has it; ``better`` says which direction is good.
    ``few``: undecided for want of samples, as is every size of a sweep that keeps five rounds.
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
    few: bool


class Compare(msgspec.Struct, frozen=True):
    """The comparison; ``unlike`` names the hardware that differs, so that nobody trusts it by accident.

    What is undecided comes last.
    """

    base: RunRow
    new: RunRow
    threshold: float
    unlike: list[str]
    software: list[str]
    counts: dict[str, int]
    rows: list[CompareRow]


class HistoryPoint(msgspec.Struct, frozen=True):
    """A metric in one run, with the 10th and 90th percentile of its samples (null without any)."""

    run: str
    folder: str
    started: str
    status: Status
    value: float
    low: float | None
    high: float | None
    limit: float | None


class Series(msgspec.Struct, frozen=True):
    """A metric of a case at one sweep point over the runs, the earliest first."""

    metric: str
    label: str
    unit: str
    better: str
    point: str
    points: list[HistoryPoint]


class History(msgspec.Struct, frozen=True):
    """All metrics of a case over all runs of its suite."""

    case: str
    suite: str
    series: list[Series]


def compare(base: Run, new: Run) -> Compare:
    """The comparison of two runs. Raises ResultFileError where one can't be read."""
    found = regression.compare(baseline.of(base.read), baseline.of(new.read), force=True)
    before, after = _measurements(base), _measurements(new)
    places = {case.module_name: i for i, case in enumerate(new.read)}
    ordered = sorted(found.rows, key=lambda row: row.change == "undecided")
    rows = [_row(row, places.get(row.case), before, after) for row in ordered]
    changes = [row.change for row in rows]
    return Compare(
        base=run_row(base),
        new=run_row(new),
        threshold=found.threshold,
        unlike=found.forced,
        software=found.software,
        counts={change: changes.count(change) for change in dict.fromkeys(changes)},
        rows=rows,
    )


def history(runs: list[Run], of: Run, shown: CaseResult) -> History:
    """A case of a run over all runs of the same suite."""
    suite, name = of.read.name, shown.module_name
    series: dict[tuple[str, str], Series] = {}
    same = [run for run in runs if run.result is not None and run.result.name == suite]
    for run in sorted(same, key=lambda run: run.read.started):
        for case in run.read:
            if case.module_name == name:
                _add(series, run, case)
    return History(name, suite, list(series.values()))


def _add(series: dict[tuple[str, str], Series], run: Run, case: CaseResult) -> None:
    for trial in case.trials:
        for m in trial.measurements:
            point = label(trial)
            key = m.name, point
            known = series.setdefault(key, Series(m.name, m.label, m.unit, m.better, point, []))
            known.points.append(_point(run, case, trial, m))


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


def _measurements(run: Run) -> dict[Key, Measurement]:
    return {
        (TrialKey(case.module_name, trial.point), m.name): m
        for case in run.read
        for trial in case.trials
        for m in trial.measurements
    }


def _row(
    row: ComparedMetric, index: int | None, before: dict[Key, Measurement], after: dict[Key, Measurement]
) -> CompareRow:
    key = row.key, row.metric
    old, new = before.get(key), after.get(key)
    sampled = row.p_value is not None and old is not None and new is not None
    stated = old or new
    return CompareRow(
        case=row.case,
        index=index,
        point=str(row.point),
        metric=row.metric,
        unit=row.unit,
        better=stated.better if stated else "lower",
        change=row.change,
        status=row.status,
        reason=row.reason,
        base=row.base,
        new=row.new,
        ratio=row.ratio,
        interval=ratio_interval(old.samples, new.samples) if sampled and old and new else None,
        p_value=row.p_value,
        few=row.change == "undecided" and bool(row.metric) and row.p_value is None,
    )


def ratio_interval(base: list[float], new: list[float]) -> tuple[float, float] | None:
    """The 95 % percentile-bootstrap interval of the ratio of medians, new / base; None of fewer than ten samples."""
    if min(len(base), len(new)) < MIN_SAMPLES:
        return None
    above, below = (np.sort(side)[_middles(len(side), seed)].mean(axis=1) for seed, side in enumerate((new, base)))
    if not (below > 0).all():
        return None
    low, high = np.quantile(above / below, (0.025, 0.975)).tolist()
    return low, high


@lru_cache(maxsize=256)
def _middles(count: int, seed: int) -> NDArray[np.int64]:
    """The places in ordered samples that the median of each resample is the mean of: the same whatever the samples."""
    drawn = np.sort(np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count)), axis=1)
    return drawn[:, [(count - 1) // 2, count // 2]]
