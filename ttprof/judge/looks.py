"""Judges a limit on a time by all looks at it: a busy or slow machine must not fail a module that is fast enough.

A look is one timing of a trial. Iterations in which other processes had the CPU count without the time that the module
did not need. A time fails only if the undisturbed iterations fail too, by more than the machine was slower than at
other times, and by more than a slow or shared GPU explains, in every look.
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
from ttprof.judge import gpu_use, interference, limits
from ttprof.machine import MIN_UNDISTURBED, GpuUse
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

    ``disturbed`` marks the iterations in which other processes had the CPU. ``waited`` is the part of each of these for
    which the threads waited for one, and ``own`` the part that the module may have needed itself, None if not known.
    ``slowdown`` is how many times slower the machine was than at other times, ``process`` tells the processes of a run
    apart. ``gpu`` is what was read of the GPU.
    """

    samples: NDArray[np.float64]
    disturbed: NDArray[np.bool_]
    waited: NDArray[np.float64] | None = None
    own: NDArray[np.float64] | None = None
    slowdown: float = 1.0
    process: int = 0
    gpu: GpuUse | None = None

    def is_enough(self, metric: Metric) -> bool:
        """Whether a statistic of the undisturbed iterations means anything."""
        return int((~self.disturbed).sum()) >= max(MIN_UNDISTURBED, metric.min_samples)

    def counted(self, metric: Metric) -> NDArray[np.float64]:
        """The samples of all iterations; disturbed ones without the time that the module did not need.

        They are not left out: the longer an iteration takes, the likelier it is disturbed, so that only the short ones
        of a module whose times vary would remain.
        """
        if metric.timed != "wall" or self.own is None:
            return self.samples
        return _times(metric, self.samples, np.where(self.disturbed, self.own, 1.0))

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
    return _statistic(metric, look.counted(metric))


def _statistic(metric: Metric, samples: np.ndarray) -> float:
    return metric.unit.public(float(STATISTICS[metric.statistic](samples)))


def looks_at(metric: Metric, observation: Observation) -> list[Look]:
    """The looks at a timed metric, the first one first; later ones only where it was measured."""
    looks = []
    for seen in (observation, *observation.looks):
        samples = metric.samples(seen)
        if samples is not None:
            marks = interference.disturbed_pairs(seen)[: len(samples)]
            shares = interference.waited_shares(seen)
            waited = None if shares is None else np.where(marks, shares[: len(samples)], 0.0)
            own = interference.own_shares(seen)
            own = None if own is None else np.where(marks, own[: len(samples)], 1.0)
            gpu = seen.timing.gpu if seen.timing is not None else None
            looks.append(Look(samples.astype(np.float64), marks, waited, own, seen.slowdown, seen.process, gpu))
    return looks


MACHINE = frozenset({VerdictCode.MACHINE_BUSY, VerdictCode.MACHINE_SLOW, VerdictCode.GPU_SLOWED})
"""Codes of looks that say nothing about the module."""

DOUBTFUL = MACHINE - {VerdictCode.GPU_SLOWED}
"""Codes of looks beside which a single one does not fail: what slowed the host is not known as a GPU's clock is."""


def judge_looks(metric: Metric, bound: Bound, looks: Sequence[Look]) -> Verdict:
    """Judge a timed metric: it fails if it fails in every look that says something about the module."""
    judged = [(look, judge_look(metric, bound, look)) for look in looks]
    telling = [(look, verdict) for look, verdict in judged if verdict.code not in MACHINE] or judged[:1]
    (at, first), later = telling[0], telling[1:]
    if first.status is not Status.FAIL:
        return first
    if not later:
        excused = next((pair for pair in judged if pair[1].code in DOUBTFUL), None)
        return first if excused is None else _alone(at, first, *excused)
    for look, verdict in later:
        if verdict.status is not Status.FAIL:
            reason = f"{first.reason}; but {_where(at, look)} {_contrary(metric, bound, verdict)}"
            return _inconclusive(first, VerdictCode.LOOKS_DISAGREE, reason)
    return msgspec.structs.replace(first, reason=f"{first.reason}; {confirmed(look.process for look, _ in telling)}")


def _alone(at: Look, only: Verdict, excused: Look, verdict: Verdict) -> Verdict:
    """The FAIL of a single look that says something about the module, undecided while the machine excuses another."""
    return _inconclusive(only, verdict.code, f"{only.reason}; but {_where(at, excused)} {verdict.reason}")


def _where(look: Look, other: Look) -> str:
    """A clause on when another look was made."""
    return "in a fresh process" if other.process != look.process else "at another time of the same process"


def confirmed(processes: Iterable[int]) -> str:
    """A clause on looks that agree, from the process of each."""
    count = len(set(processes))
    return f"confirmed in {count} processes" if count > 1 else "confirmed by a second look"


def judge_look(metric: Metric, bound: Bound, look: Look) -> Verdict:
    """Judge one look. What passes with all iterations, passes; only the undisturbed ones can make it fail."""
    verdict = limits.judge_samples(metric, bound, look.counted(metric))
    if look.disturbed.any():
        text = f"other processes had the CPU in or around {int(look.disturbed.sum())} of them"
        verdict = msgspec.structs.replace(verdict, reason=f"{verdict.reason}; {text}")
    if verdict.status is not Status.FAIL:
        return verdict
    clean = look.samples[~look.disturbed]
    if look.disturbed.any() and not (look.is_enough(metric) and _fails(metric, bound, clean)):
        if _fails_by_far(metric, bound, look):
            return _unless_gpu(verdict, metric, bound, look, look.counted(metric))
        return _inconclusive(verdict, VerdictCode.MACHINE_BUSY, f"{verdict.reason}; {_doubt(metric, look, clean)}")
    if look.slowdown > 1 and _would_not_fail(metric, bound, clean, look.slowdown):
        return _inconclusive(verdict, VerdictCode.MACHINE_SLOW, f"{verdict.reason}; but {look.slower}")
    return _unless_gpu(verdict, metric, bound, look, clean)


def _unless_gpu(verdict: Verdict, metric: Metric, bound: Bound, look: Look, samples: np.ndarray) -> Verdict:
    """The FAIL of *samples*, undecided if a slow or shared GPU explains it."""
    factor = gpu_use.slowdown(look.gpu, metric.statistic)
    if look.gpu is None or factor <= 1 or not _would_not_fail(metric, bound, samples, factor):
        return verdict
    text = f"{verdict.reason}; but {gpu_use.clause(look.gpu, metric.statistic)}"
    return _inconclusive(verdict, VerdictCode.GPU_SLOWED, text)


def _fails(metric: Metric, bound: Bound, samples: np.ndarray) -> bool:
    return limits.judge_samples(metric, bound, samples).status is Status.FAIL


def _doubt(metric: Metric, look: Look, clean: np.ndarray) -> str:
    """A clause on iterations that other processes disturbed, and what the others say."""
    if not look.is_enough(metric):
        return "too many to tell"
    return f"but it is {metric.unit.format(_statistic(metric, clean))} in the others"


def _fails_by_far(metric: Metric, bound: Bound, look: Look) -> bool:
    """Whether disturbed iterations fail without the time that all threads waited.

    Half of the rest may be a cost of being disturbed too, such as cold caches. Threads that waited at the same time
    count twice, which is never too little.
    """
    if look.waited is None or metric.timed == "paired":
        return False
    alone = np.maximum(0.0, 1 - look.waited) / BY_FAR
    return _fails(metric, bound, _times(metric, look.samples, alone))


def _would_not_fail(metric: Metric, bound: Bound, samples: np.ndarray, slowdown: float) -> bool:
    """Whether a machine as fast as at other times would have decided otherwise."""
    if metric.timed == "paired":
        return False
    return not _fails(metric, bound, _times(metric, samples, 1 / slowdown))


def _times(metric: Metric, samples: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """The samples if the time of each iteration were this share of what it was; a rate rises where a time falls."""
    return samples * share if metric.better == "lower" else samples / np.maximum(share, 1e-9)


def _contrary(metric: Metric, bound: Bound, verdict: Verdict) -> str:
    """A clause on a look that did not fail."""
    shown = metric.unit.format(verdict.measured or 0.0)
    if verdict.status is Status.PASS:
        return f"it was {shown}, {limits.compared(verdict.measured or 0.0, bound, metric.unit)}"
    return f"it was {shown}, with 95 % bounds on both sides of the limit"


def _inconclusive(verdict: Verdict, code: VerdictCode, reason: str) -> Verdict:
    return msgspec.structs.replace(verdict, status=Status.INCONCLUSIVE, code=code, reason=reason)
