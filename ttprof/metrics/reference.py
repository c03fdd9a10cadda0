"""Metrics of a module against the reference of ``compare_with``; plain ratios."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.kernels import kernel_time_ms
from ttprof.metrics.memory import memory_mb
from ttprof.metrics.metric import Samples, metric
from ttprof.metrics.observation import Observation
from ttprof.units import RATIO

_NEEDS = ".compare_with(reference)"


@metric("speedup", RATIO, needs=_NEEDS, better="higher", regresses=False)
def speedup(o: Observation) -> Samples:
    """Latency of the reference over that of the module, pair by pair of interleaved iterations."""
    if o.timing is None or o.reference is None or o.reference.timing is None:
        return None
    pairs = min(len(o.timing.latency_ns), len(o.reference.timing.latency_ns))
    return o.reference.timing.latency_ns[:pairs] / o.timing.latency_ns[:pairs]


@metric("memory ratio", RATIO, needs=_NEEDS + " and a reference that allocates", statistic="max", regresses=False)
def memory_ratio(o: Observation) -> Samples:
    """Memory that the module adds over what the reference adds."""
    own = memory_mb(o)
    theirs = memory_mb(o.reference) if o.reference else None
    if own is None or theirs is None or not np.max(theirs):
        return None
    return np.array([np.max(own) / np.max(theirs)])


@metric("kernel time ratio", RATIO, needs=_NEEDS + " and a CUDA or ROCm device", statistic="max", regresses=False)
def kernel_time_ratio(o: Observation) -> Samples:
    """Median kernel time of an iteration of the module over that of the reference."""
    own = kernel_time_ms(o)
    theirs = kernel_time_ms(o.reference) if o.reference else None
    if own is None or theirs is None or not np.median(theirs):
        return None
    return np.array([np.median(own) / np.median(theirs)])
