"""Metrics of a module against the reference of ``compare_with``; plain ratios."""

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


@metric("speedup", RATIO, needs=_NEEDS, better="higher", regresses=False)
def speedup(o: Observation) -> Samples:
    """Latency of the reference over that of the module, pair by pair of interleaved iterations."""
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
    """Memory that the module adds over what the reference adds."""
    return _ratio(o, memory_mb, np.max)


@metric("kernel time ratio", RATIO, needs=_NEEDS + " and a CUDA or ROCm device", statistic="max", regresses=False)
def kernel_time_ratio(o: Observation) -> Samples:
    """Median kernel time of an iteration of the module over that of the reference."""
    return _ratio(o, kernel_time_ms, np.median)


def _ratio(o: Observation, of: Compute, statistic: Callable[..., Any]) -> Samples:
    """A statistic of the module's samples over that of the reference's; None where either has none, or it is 0."""
    own, theirs = of(o), of(o.reference) if o.reference else None
    if own is None or theirs is None or not statistic(theirs):
        return None
    return np.array([statistic(own) / statistic(theirs)])
