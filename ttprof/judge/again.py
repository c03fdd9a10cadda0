"""Judging again: a saved result enters, and its verdicts on limits and scalings are reached anew from its samples.

What leaves are the verdicts that come out otherwise: the file was changed, or another version of ttprof decides
otherwise. What needs tensors or traces (numerics, kernel budgets, completeness) is not judged again. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ttprof.errors import UnknownNameError
from ttprof.judge import limits, scaling
from ttprof.judge.scaling import Growth
from ttprof.judge.verdicts import at_point
from ttprof.metrics import find
from ttprof.metrics.metric import Metric
from ttprof.result import CaseResult, Measurement, SuiteResult, TrialResult, Verdict
from ttprof.spec import Bound, scaling_law


def differences(result: SuiteResult) -> list[tuple[str, Verdict, Verdict | None]]:
    """The case, the verdict as saved and the one of now, where they differ; None where it can't be reached any more."""
    return [
        (case.module_name, saved, now)
        for case in result
        for saved, now in judged(case)
        if now is None or (now.status, now.reason) != (saved.status, saved.reason)
    ]


def judged(case: CaseResult) -> Iterator[tuple[Verdict, Verdict | None]]:
    """Every verdict of a case on the limit of a measured metric, or on its scaling, as saved and as reached now."""
    for saved in case.verdicts:
        trial = next((t for t in case.trials if t.point == saved.point), case.trials[-1] if case.trials else None)
        if saved.bound is not None and saved.measured is not None and saved.metric is not None and trial is not None:
            yield saved, _limit(saved, saved.metric, trial)
    fit = case.scaling
    if fit is None or not fit.rounds:
        return
    metric = find(fit.metric)
    growth = Growth(
        law=scaling_law(fit.law),
        axis=fit.axis,
        metric=fit.metric,
        threads=fit.threads,
        heap_kept=fit.heap_kept,
        at_most=fit.at_most,
        exact=metric.whole,
        extended=tuple(fit.extended),
    )
    now = scaling.judge(growth, {n: np.array(r) for n, r in zip(fit.sizes, fit.rounds, strict=True)})[1]
    for saved in case.verdicts:
        if saved.expectation == growth.expectation:
            yield saved, now


def _limit(saved: Verdict, name: str, trial: TrialResult) -> Verdict | None:
    low, high = saved.bound or (None, None)
    bound = Bound(-np.inf if low is None else low, np.inf if high is None else high)
    measurement = _found(trial, name)
    if measurement is None:
        return None
    kept = _found(trial, measurement.samples_of) if measurement.samples_of else measurement
    if kept is None or not kept.samples:
        return None
    try:
        metric: Metric = find(name)
    except UnknownNameError:
        return None
    return at_point(limits.judge_samples(metric, bound, np.array(kept.samples)), saved.point)


def _found(trial: TrialResult, name: str) -> Measurement | None:
    return next((m for m in trial.measurements if m.name == name), None)
