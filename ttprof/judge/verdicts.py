"""All verdicts on a case, from the observations of its trials. Needs no torch and no device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np

from ttprof import metrics
from ttprof.judge import integrity, kernels, limits, scaling
from ttprof.judge.scaling import Growth
from ttprof.metrics.metric import STATISTICS
from ttprof.observation import Observation
from ttprof.scaling_fit import ScalingFit
from ttprof.spec import CaseSpec
from ttprof.trial_key import Point
from ttprof.verdict import SEVERITY, Status, Verdict

Thing = TypeVar("Thing")
Points = Sequence[tuple[Point, Observation]]


def default_scaling_metric(device: str) -> str:
    """What scaling is judged on when the user names no metric: CPU time on a CPU, kernel time on a device."""
    return "cpu_time_ms" if device == "cpu" else "kernel_time_ms"


def scaling_metric(case: CaseSpec, device: str) -> str | None:
    """The metric whose scaling a case expects, or None when it expects none."""
    return (case.scaling.metric or default_scaling_metric(device)) if case.scaling else None


def judge_limits(case: CaseSpec, points: Points) -> list[Verdict]:
    """Integrity and every limit at every sweep point; a limit at several points names the point in its sentence."""
    verdicts = []
    for point, observation in points:
        found = [integrity.judge(observation), *(limits.judge(limit, observation) for limit in case.limits)]
        found += [verdict for budget in case.kernel_budgets for verdict in kernels.judge(budget, observation)]
        verdicts += [at_point(verdict, point) for verdict in found if verdict is not None]
    return verdicts


def at_point(verdict: Verdict, point: Point) -> Verdict:
    """The verdict with the sweep point it holds for."""
    return msgspec.structs.replace(verdict, point=point, reason=f"at {point}: {verdict.reason}") if point else verdict


@dataclass(frozen=True)
class Rounds:
    """Samples of a metric by size, what was measured beyond the sweep that was asked for, and how.

    On how many threads (0: the default), and whether the allocator gave nothing back meanwhile (``retained_heap``);
    and what is needed where it was not measured.
    """

    by_size: Mapping[int, np.ndarray | None]
    extended: tuple[str, ...] = ()
    threads: int = 0
    heap_kept: bool = False
    needs: str = ""

    @classmethod
    def of(cls, case: CaseSpec, points: Points, extended: tuple[str, ...] = ()) -> Rounds:
        """What observations hold of the metric whose scaling is expected.

        Where two axes are swept, the law is judged at the largest size of the other one.
        """
        metric = metrics.find(scaling_metric(case, points[0][1].device) or "")
        found: Mapping[int, np.ndarray | None] = {s: metric.samples(o) for s, o in along(case.scaling_axis, points)}
        if not metric.sampled:
            count = STATISTICS[metric.statistic]
            found = {size: None if s is None else np.array([count(s)]) for size, s in found.items()}
        return cls(found, extended, needs=metric.missing(points[0][1]))


def judge_scaling(case: CaseSpec, device: str, rounds: Rounds) -> tuple[ScalingFit | None, list[Verdict]]:
    """Fit and verdict of an expected scaling; neither where none is expected."""
    if case.scaling is None:
        return None, []
    metric = metrics.find(scaling_metric(case, device) or "")
    growth = Growth(
        law=case.scaling.law,
        axis=case.scaling_axis,
        metric=metric.name,
        threads=rounds.threads,
        heap_kept=rounds.heap_kept,
        at_most=case.scaling.at_most,
        exact=metric.whole,
        extended=rounds.extended,
    )
    measured = {n: samples for n, samples in rounds.by_size.items() if samples is not None}
    for size in rounds.by_size:
        if size not in measured:
            why = f"at {size} there is no {metric.name}; it needs {rounds.needs or metric.needs}"
            return None, [scaling.not_measured(growth.expectation, why)]
    return scaling.judge(growth, measured)


def along(axis: str, points: Sequence[tuple[Point, Thing]]) -> list[tuple[int, Thing]]:
    """The things at the points along one axis, at the largest size of every other axis."""
    largest = points[-1][0].without(axis)
    return [(point[axis], thing) for point, thing in points if point.without(axis) == largest]


def worst(verdicts: Sequence[Verdict]) -> Status:
    """The status of a case: the worst of its verdicts."""
    present = {verdict.status for verdict in verdicts}
    return next((status for status in SEVERITY if status in present), Status.ERROR)
