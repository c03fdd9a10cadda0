"""Metrics of the floating-point operations that torch's FlopCounterMode counts in one iteration."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.units import FLOP, TFLOPS


@metric("FLOPs", FLOP, needs="an op that FlopCounterMode can count", statistic="max")
def flops(o: Observation) -> Samples:
    """Floating-point operations of one iteration: matrix products, convolutions and attention."""
    return np.array([o.flops]) if o.flops else None


@metric("achieved rate", TFLOPS, needs="countable FLOPs and timed iterations", better="higher", regresses=False)
def tflops(o: Observation) -> Samples:
    """Floating-point operations per second of un-instrumented latency."""
    return o.flops * 1e9 / o.timing.latency_ns if o.flops and o.timing else None
