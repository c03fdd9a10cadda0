"""All verdicts on a case, from the observations of its trials. Needs no torch and no device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np

from ttprof import metrics
from ttprof.judge import integrity, kernels, looks, scaling
from ttprof.judge.scaling import ExpectedLaw
from ttprof.metrics.metric import STATISTICS
from ttprof.observation import Observation
from ttprof.scaling_fit import ScalingFit
from ttprof.spec import Expected
from ttprof.system.device_types import device_type
from ttprof.trial_key import Point
from ttprof.verdict import SEVERITY, Status, Verdict

Value = TypeVar("Value")
Points = Sequence[tuple[Point, Observation]]


def default_scaling_metric(device: str) -> str:
    """The metric to judge scaling by if the user names none: CPU time on a CPU, kernel time if kernels are recorded."""
    return device_type(device).scaling_metric


def scaling_metric(expected: Expected, device: str) -> str | None:
    """The metric of an expected scaling; None if none is expected."""
    return (expected.scaling.metric or default_scaling_metric(device)) if expected.scaling else None


def judge_limits(expected: Expected, points: Points) -> list[Verdict]:
    """Judge the completeness of the trace, every limit and every kernel budget, at each sweep point."""
    verdicts = []
    for point, observation in points:
        at_this_point = [integrity.judge(observation), *(looks.judge(limit, observation) for limit in expected.limits)]
        at_this_point += [
            verdict for budget in expected.kernel_budgets for verdict in kernels.judge(budget, observation)
        ]
        verdicts += [at_point(verdict, point) for verdict in at_this_point if verdict is not None]
    return verdicts


def at_point(verdict: Verdict, point: Point) -> Verdict:
    """The verdict with its sweep point, which its reason then names; unchanged if nothing is swept."""
    return msgspec.structs.replace(verdict, point=point, reason=f"at {point}: {verdict.reason}") if point else verdict


MOST = 2.0**63
"""No time in ns, no size in bytes and no count is larger."""


@dataclass(frozen=True)
class Rounds:
    """Samples of a metric by size, one per round, in base units; None if the metric was not measured at that size.

    Attributes:
        extended: Clauses that describe the sizes and rounds added to the requested sweep.
        threads: Number of threads during the measurement; 0 means torch's default.
        heap_kept: Whether the allocator returned no memory to the system during the measurement.
        needs: What the metric needs to be measured, for the reason if it was not.
    """

    by_size: Mapping[int, np.ndarray | None]
    extended: tuple[str, ...] = ()
    threads: int = 0
    heap_kept: bool = False
    needs: str = ""

    def __post_init__(self) -> None:
        measured = [samples for samples in self.by_size.values() if samples is not None]
        if any(n < 1 for n in self.by_size) or not all(map(len, measured)):
            raise ValueError("rounds need sizes of at least 1, and samples at every size that was measured")
        if any((~(np.abs(samples) < MOST)).any() for samples in measured):
            raise ValueError("samples of rounds are finite and have at most 64 bits")

    @classmethod
    def of(cls, expected: Expected, points: Points, extended: tuple[str, ...] = ()) -> Rounds:
        """The samples that the observations of a sweep hold of the metric whose scaling is expected.

        If two axes are swept, the law is judged at the largest size of the other one.
        """
        metric = metrics.find(scaling_metric(expected, points[0][1].device) or "")
        by_size: Mapping[int, np.ndarray | None] = {
            n: metric.samples(o) for n, o in along(expected.scaling_axis, points)
        }
        if not metric.sampled:
            statistic = STATISTICS[metric.statistic]
            by_size = {n: None if s is None else np.array([statistic(s)]) for n, s in by_size.items()}
        return cls(by_size, extended, needs=metric.missing(points[0][1]))


def judge_scaling(expected: Expected, device: str, rounds: Rounds) -> tuple[ScalingFit | None, list[Verdict]]:
    """The fit and the verdict of an expected scaling; ``(None, [])`` if none is expected."""
    if expected.scaling is None:
        return None, []
    metric = metrics.find(scaling_metric(expected, device) or "")
    growth = ExpectedLaw(
        law=expected.scaling.law,
        axis=expected.scaling_axis,
        metric=metric.name,
        threads=rounds.threads,
        heap_kept=rounds.heap_kept,
        at_most=expected.scaling.at_most,
        exact=metric.whole,
        extended=rounds.extended,
    )
    measured = {n: samples for n, samples in rounds.by_size.items() if samples is not None}
    for size in rounds.by_size:
        if size not in measured:
            cause = f"no {metric.name} at {size}, it needs {rounds.needs or metric.needs}"
            return None, [scaling.not_measured(growth, cause)]
    fit, verdicts = scaling.judge(growth, measured)
    others = Point(
        {s.axis: s.values[-1] for s in expected.sweeps if s.axis != expected.scaling_axis and len(s.values) > 1}
    )
    if others:
        clause = f"; judged only at {others}"
        verdicts = [msgspec.structs.replace(verdict, reason=verdict.reason + clause) for verdict in verdicts]
    return fit, verdicts


def along(axis: str, points: Sequence[tuple[Point, Value]]) -> list[tuple[int, Value]]:
    """The sizes on one axis and the values there, at the largest size of every other axis."""
    largest = points[-1][0].without(axis)
    return [(point[axis], value) for point, value in points if point.without(axis) == largest]


def worst(verdicts: Sequence[Verdict]) -> Status:
    """The status of a case: the worst of its verdicts; ERROR without verdicts."""
    present = {verdict.status for verdict in verdicts}
    return next((status for status in SEVERITY if status in present), Status.ERROR)
