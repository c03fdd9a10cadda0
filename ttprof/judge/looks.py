"""Judges a limit on a time by all looks at it: a busy or slow machine must not fail a module that is fast enough.

A look is one timing of a trial. Iterations in which other processes had the CPU are left out. A time fails only if it
is outside of its limit by more than the machine was slower than at other times, in every look.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttprof import metrics
from ttprof.bounds import Bound
from ttprof.codes import VerdictCode
from ttprof.judge import interference, limits
from ttprof.machine import MIN_UNDISTURBED
from ttprof.metrics.metric import STATISTICS, Metric
from ttprof.observation import Observation
from ttprof.spec import Limit
from ttprof.units import significant
from ttprof.verdict import Status, Verdict

BY_FAR = 2.0
"""Times by which a time has to exceed its limit to fail on a machine that is busy in nearly all iterations."""


@dataclass(frozen=True, eq=False)
class Look:
    """The samples of a metric in one timing, in base units, and what the machine did meanwhile.

    ``disturbed`` marks the iterations in which other processes had the CPU, and ``waited`` is the part of each of these
    for which the threads waited for one, if it is known. ``slowdown`` is how many times slower the machine was than at
    other times, ``process`` tells the processes of a run apart.
    """

    samples: NDArray[np.float64]
    disturbed: NDArray[np.bool_]
    waited: NDArray[np.float64] | None = None
    slowdown: float = 1.0
    process: int = 0

    def is_enough(self, metric: Metric) -> bool:
        """Whether a statistic of the undisturbed iterations means anything."""
        return int((~self.disturbed).sum()) >= max(MIN_UNDISTURBED, metric.min_samples)

    def counted(self, metric: Metric) -> NDArray[np.float64]:
        """The samples of the undisturbed iterations if they are enough, else of all."""
        return self.samples[~self.disturbed] if self.is_enough(metric) else self.samples

    @property
    def shortage(self) -> str:
        """A clause on iterations that leave too few others."""
        number = f"{int(self.disturbed.sum())} of {len(self.samples)}"
        return f"in {number} iterations its threads waited for a CPU that other processes had"

    @property
    def slower(self) -> str:
        """A clause on the slowdown."""
        return f"the machine was {significant(round(self.slowdown, 2))} times slower than at other times of the run"


def judge(limit: Limit, observation: Observation) -> Verdict:
    """Judge a limit. A metric of the timed iterations is judged by all looks, any other by the trace alone."""
    metric, bound = metrics.find(limit.metric), limits.bound_of(limit)
    samples = metric.samples(observation)
    if samples is None:
        return limits.not_measured(metric, bound, observation)
    if metric.timed == "never":
        return limits.judge_samples(metric, bound, samples)
    return judge_looks(metric, bound, looks_at(metric, observation))


def undecided(limits_: Iterable[Limit], observation: Observation) -> bool:
    """Whether more timed iterations could still decide one of the limits."""
    return any(judge(limit, observation).status is Status.INCONCLUSIVE for limit in limits_)


def value(metric: Metric, look: Look) -> float:
    """The value of a timed metric in one look, in its public unit."""
    return metric.unit.public(float(STATISTICS[metric.statistic](look.counted(metric))))


def looks_at(metric: Metric, observation: Observation) -> list[Look]:
    """The looks at a timed metric, the first one first; later ones only where it was measured."""
    looks = []
    for seen in (observation, *observation.looks):
        samples = metric.samples(seen)
        if samples is not None:
            marks = interference.disturbed_pairs(seen)[: len(samples)]
            shares = interference.waited_shares(seen)
            waited = None if shares is None else np.where(marks, shares[: len(samples)], 0.0)
            looks.append(Look(samples.astype(np.float64), marks, waited, seen.slowdown, seen.process))
    return looks


def judge_looks(metric: Metric, bound: Bound, looks: Sequence[Look]) -> Verdict:
    """Judge a timed metric: it fails if it fails in every look, and passes or is open as it is in the first."""
    first = judge_look(metric, bound, looks[0])
    if first.status is not Status.FAIL or len(looks) == 1:
        return first
    for later in looks[1:]:
        verdict = judge_look(metric, bound, later)
        if verdict.status is not Status.FAIL:
            where = "in a fresh process" if later.process != looks[0].process else "later in the same process"
            reason = f"{first.reason}; but {where} {_contrary(metric, bound, later, verdict)}"
            return _inconclusive(first, VerdictCode.LOOKS_DISAGREE, reason)
    return msgspec.structs.replace(first, reason=f"{first.reason}; {confirmed(looks)}")


def confirmed(looks: Sequence[Look]) -> str:
    """A clause on looks that agree."""
    processes = len({look.process for look in looks})
    return f"confirmed in {processes} processes" if processes > 1 else "confirmed by a second look"


def judge_look(metric: Metric, bound: Bound, look: Look) -> Verdict:
    """Judge one look by its undisturbed iterations. What passes in spite of the others, passes: noise only adds."""
    samples = look.counted(metric)
    verdict = limits.judge_samples(metric, bound, samples)
    left_out = len(look.samples) - len(samples)
    if left_out:
        text = f"{left_out} of {len(look.samples)} left out, in which other processes had the CPU"
        verdict = msgspec.structs.replace(verdict, reason=f"{verdict.reason}; {text}")
    if verdict.status is not Status.FAIL:
        return verdict
    if look.disturbed.any() and not look.is_enough(metric):
        if _fails_by_far(metric, bound, look):
            return msgspec.structs.replace(verdict, reason=f"{verdict.reason}; although {look.shortage}")
        return _inconclusive(verdict, VerdictCode.MACHINE_BUSY, f"{verdict.reason}; but {look.shortage}")
    if look.slowdown > 1 and _would_not_fail(metric, bound, samples, look.slowdown):
        return _inconclusive(verdict, VerdictCode.MACHINE_SLOW, f"{verdict.reason}; but {look.slower}")
    return verdict


def _fails_by_far(metric: Metric, bound: Bound, look: Look) -> bool:
    """Whether disturbed iterations fail without the time that all threads waited.

    Half of the rest may be a cost of being disturbed too, such as cold caches. Threads that waited at the same time
    count twice, which is never too little.
    """
    if look.waited is None or metric.timed == "paired":
        return False
    alone = np.maximum(0.0, 1 - look.waited) / BY_FAR
    samples = look.samples * alone if metric.better == "lower" else look.samples / np.maximum(alone, 1e-9)
    return limits.judge_samples(metric, bound, samples).status is Status.FAIL


def _would_not_fail(metric: Metric, bound: Bound, samples: np.ndarray, slowdown: float) -> bool:
    """Whether a machine as fast as at other times would have decided otherwise."""
    if metric.timed == "paired":
        return False
    faster = samples / slowdown if metric.better == "lower" else samples * slowdown
    return limits.judge_samples(metric, bound, faster).status is not Status.FAIL


def _contrary(metric: Metric, bound: Bound, look: Look, verdict: Verdict) -> str:
    """A clause on a look that did not fail."""
    if verdict.code is VerdictCode.MACHINE_BUSY:
        return look.shortage
    if verdict.code is VerdictCode.MACHINE_SLOW:
        return look.slower
    shown = metric.unit.format(verdict.measured or 0.0)
    if verdict.status is Status.PASS:
        return f"it was {shown}, {limits.compared(verdict.measured or 0.0, bound, metric.unit)}"
    return f"it was {shown}, with 95 % bounds on both sides of the limit"


def _inconclusive(verdict: Verdict, code: VerdictCode, reason: str) -> Verdict:
    return msgspec.structs.replace(verdict, status=Status.INCONCLUSIVE, code=code, reason=reason)
