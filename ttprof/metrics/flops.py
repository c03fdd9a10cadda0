"""Metrics of the floating-point operations of one iteration, counted by the formulas of torch.utils.flop_counter."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.units import FLOP, TFLOPS

_NEEDS = "an op with a formula in torch.utils.flop_counter"

MAX_OPS_IN_REASON = 3
"""Ops without a formula that a reason names."""


def _ops_without_formula(o: Observation) -> str:
    """The formulas that would be needed to count the operations; empty if none is missing."""
    if not o.uncounted_ops:
        return ""
    names = ", ".join(o.uncounted_ops[:MAX_OPS_IN_REASON])
    return f"a formula for the FLOPs of {names} (torch.utils.flop_counter.register_flop_formula)"


@metric("FLOPs", FLOP, needs=_NEEDS, statistic="max", lacks=_ops_without_formula)
def flops(o: Observation) -> Samples:
    """Floating-point operations of one iteration, in FLOP: those of matrix products, convolutions and attention.

    Not measured if a custom op, or one that multiplies, has no formula.
    """
    return np.array([o.flops]) if o.flops else None


@metric(
    "achieved rate",
    TFLOPS,
    needs=_NEEDS + ", and timed iterations",
    better="higher",
    regresses=False,
    lacks=_ops_without_formula,
)
def tflops(o: Observation) -> Samples:
    """Achieved rate in TFLOP/s: ``flops`` over the latency without a profiler."""
    return o.flops * 1e9 / o.timing.latency_ns if o.flops and o.timing else None
