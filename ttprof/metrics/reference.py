"""Metrics of a module relative to the reference of ``compare_with``; ratios without a unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ttprof.metrics.kernels import kernel_time_ms
from ttprof.metrics.memory import memory_mb
from ttprof.metrics.metric import Compute, Samples, metric
from ttprof.observation import Observation
from ttprof.units import RATIO

_NEEDS = ".compare_with(reference)"


@metric("speedup", RATIO, needs=_NEEDS, better="higher", regresses=False, timed="paired")
def speedup(o: Observation) -> Samples:
    """Median ratio of the reference's latency to the module's, over pairs of interleaved iterations."""
    if o.timing is None or o.reference is None or o.reference.timing is None:
        return None
    pairs = min(len(o.timing.latency_ns), len(o.reference.timing.latency_ns))
    return o.reference.timing.latency_ns[:pairs] / o.timing.latency_ns[:pairs]


@metric(
    "memory ratio",
    RATIO,
    needs=_NEEDS + " and a reference that allocates",
    statistic="max",
    regresses=False,
    allocations=True,
)
def memory_ratio(o: Observation) -> Samples:
    """Ratio of the module's ``memory_mb`` to the reference's."""
    return _ratio(o, memory_mb, np.max)


@metric("kernel time ratio", RATIO, needs=_NEEDS + " and kernels in the trace", statistic="max", regresses=False)
def kernel_time_ratio(o: Observation) -> Samples:
    """Ratio of the module's median ``kernel_time_ms`` to the reference's."""
    return _ratio(o, kernel_time_ms, np.median)


def _ratio(o: Observation, compute: Compute, statistic: Callable[..., Any]) -> Samples:
    """A statistic of the module's samples over the reference's; None if either is missing or the latter is 0."""
    ours, theirs = compute(o), compute(o.reference) if o.reference else None
    if ours is None or theirs is None or not statistic(theirs):
        return None
    return np.array([statistic(ours) / statistic(theirs)])
