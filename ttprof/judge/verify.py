"""Judges a saved result again from its samples, without torch, and reports the differences.

A difference means that the file was changed or damaged, or that this version of ttprof decides or words a verdict
differently. Covers values, fits, verdicts on limits and scalings, and the status of each case; not verdicts that need
tensors or traces (numerics, kernel budgets, completeness) or another run (a baseline).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from ttprof.bounds import Bound
from ttprof.codes import Kind
from ttprof.judge import limits, looks, scaling
from ttprof.judge.looks import Look
from ttprof.judge.scaling import ExpectedLaw
from ttprof.judge.verdicts import at_point, worst
from ttprof.machine import MachineUse
from ttprof.metrics import REGISTRY
from ttprof.metrics.metric import STATISTICS
from ttprof.result import CaseResult, Measurement, SuiteResult, TrialResult
from ttprof.scaling_fit import ScalingFit
from ttprof.spec import LAWS
from ttprof.verdict import Verdict


class Checked(msgspec.Struct, frozen=True):
    """The differences, one message each, and the number of verdicts that were judged again and that were left out."""

    differences: list[str]
    judged: int
    left: int


def check(result: SuiteResult) -> Checked:
    """Judge the limits and scalings of a result again."""
    differences, judged, total = [], 0, 0
    for case in result:
        pairs = [(saved, _judged_again(case, saved)) for saved in case.verdicts]
        rejudged = [(saved, now) for saved, now in pairs if now is not None]
        changed = [f"{_describe(saved)}; now {_describe(now)}" for saved, now in rejudged if saved != now]
        differences += [f"{case.module_name}: {text}" for text in (*_case_differences(case), *changed)]
        judged, total = judged + len(rejudged), total + len(pairs)
    return Checked(differences, judged, total - judged)


def _describe(verdict: Verdict) -> str:
    return f"{verdict.expectation}: {verdict.status}: {verdict.reason}"


def _case_differences(case: CaseResult) -> Iterator[str]:
    """The differences between the saved values, fit and status of a case and those computed again."""
    if case.status is not worst(case.verdicts):
        yield f"its status is {case.status}, but its verdicts give {worst(case.verdicts)}"
    for trial in case.trials:
        for measurement in trial.measurements:
            value = _value(trial, measurement)
            if value is not None and value != measurement.value:
                yield f"{measurement.name} is {measurement.value}, but its samples give {value}"
    if case.scaling is not None:
        fit, verdicts = _scaling(case.scaling)
        if fit != case.scaling:
            yield f"its fit of {case.scaling.metric} differs from a fit of its samples"
        if fit is not None and not any(v.kind is Kind.SCALING for v in case.verdicts):
            yield f"it has no verdict on its scaling; now {_describe(verdicts[0])}"


def _judged_again(case: CaseResult, saved: Verdict) -> Verdict | None:
    """The verdict computed from the samples; None if *saved* can't be judged again."""
    if saved.kind is Kind.SCALING and case.scaling is not None:
        (now,) = _scaling(case.scaling)[1]
        return now
    trial = next((t for t in case.trials if t.point == saved.point), None)
    if saved.kind is not Kind.LIMIT or saved.bound is None or saved.metric not in REGISTRY or trial is None:
        return None
    low, high = saved.bound
    metric, samples = REGISTRY[saved.metric], _samples_of(trial.measurements, saved.metric)
    if samples is None:
        return None
    bound = Bound(-np.inf if low is None else low, np.inf if high is None else high)
    if metric.timed == "never" or trial.machine is None:
        return at_point(limits.judge_samples(metric, bound, samples), saved.point)
    seen = [_look(samples, trial.machine)]
    for look in trial.looks:
        later = _samples_of(look.measurements, saved.metric)
        if later is not None:
            seen.append(_look(later, look.machine))
    return at_point(looks.judge_looks(metric, bound, seen), saved.point)


def _look(samples: np.ndarray, machine: MachineUse) -> Look:
    marks = np.isin(np.arange(len(samples)), machine.disturbed)
    waited, own = np.zeros(len(samples)), np.ones(len(samples))
    known = len(machine.waited) == len(machine.own) == marks.sum() > 0
    if known:
        waited[marks], own[marks] = machine.waited, machine.own
    look = Look(samples, marks, slowdown=machine.slowdown, process=machine.process, gpu=machine.gpu)
    return replace(look, waited=waited, own=own) if known else look


def _scaling(fit: ScalingFit) -> tuple[ScalingFit | None, list[Verdict]]:
    """The fit and the verdict computed from the saved rounds; an ERROR if there are none for every size."""
    expected = ExpectedLaw(
        law=LAWS.get(fit.law, LAWS["constant"]),
        axis=fit.axis,
        metric=fit.metric,
        threads=fit.threads,
        heap_kept=fit.heap_kept,
        at_most=fit.at_most,
        exact=fit.metric in REGISTRY and REGISTRY[fit.metric].whole,
        extended=tuple(fit.extended),
    )
    if len(fit.rounds) != len(fit.sizes) or fit.law not in LAWS:
        return None, [scaling.not_measured(expected, "the file has no samples for it")]
    return scaling.judge(expected, {n: np.array(r) for n, r in zip(fit.sizes, fit.rounds, strict=True)})


def _value(trial: TrialResult, measurement: Measurement) -> float | None:
    samples = _samples_of(trial.measurements, measurement.name)
    if samples is None or measurement.name not in REGISTRY:
        return None
    metric = REGISTRY[measurement.name]
    if metric.timed != "never" and trial.machine is not None:
        return looks.value(metric, _look(samples, trial.machine))
    return metric.unit.public(float(STATISTICS[metric.statistic](samples)))


def _samples_of(measurements: Sequence[Measurement], name: str) -> np.ndarray | None:
    """The samples of a metric, or of the one of whose samples it is another statistic; None if none are saved."""
    by_name = {measurement.name: measurement for measurement in measurements}
    found = by_name.get(name)
    source = by_name.get(found.samples_of) if found is not None and found.samples_of else found
    return np.array(source.samples) if source is not None and source.samples else None
