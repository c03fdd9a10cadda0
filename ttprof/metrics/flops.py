"""Metrics of the floating-point operations of one iteration, counted by the formulas of torch.utils.flop_counter."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.units import FLOP, TFLOPS

_NEEDS = "an op with a formula in torch.utils.flop_counter"


@metric("FLOPs", FLOP, needs=_NEEDS, statistic="max")
def flops(o: Observation) -> Samples:
    """Floating-point operations of one iteration, in FLOP: those of matrix products, convolutions and attention."""
    return np.array([o.flops]) if o.flops else None


@metric("achieved rate", TFLOPS, needs=_NEEDS + ", and timed iterations", better="higher", regresses=False)
def tflops(o: Observation) -> Samples:
    """Achieved rate in TFLOP/s: ``flops`` over the latency without a profiler."""
    return o.flops * 1e9 / o.timing.latency_ns if o.flops and o.timing else None
