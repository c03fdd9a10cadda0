"""Metrics of the work of one iteration: its FLOPs, its bytes, and the least time that both need on the device."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.units import BYTE, FLOP, RATIO, TFLOPS

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
    timed="wall",
)
def tflops(o: Observation) -> Samples:
    """Achieved rate in TFLOP/s: ``flops`` over the latency without a profiler."""
    if not o.flops or o.timing is None or not o.timing.latency_ns.all():  # a coarse clock may show 0 ns
        return None
    return o.flops * 1e9 / o.timing.latency_ns


def _ops_without_sizes(o: Observation) -> str:
    """The operators whose bytes can't be counted; empty if there is none."""
    names = ", ".join(o.unsized_ops[:MAX_OPS_IN_REASON])
    return f"sizes of the tensors of {names}, which strided nested tensors do not have" if names else ""


@metric(
    "bytes moved",
    BYTE,
    needs="a forward that runs operator by operator",
    statistic="max",
    lacks=_ops_without_sizes,
)
def bytes_moved(o: Observation) -> Samples:
    """Bytes that the operators of one iteration read and write, each of their tensors once; views move nothing."""
    return np.array([o.bytes_moved]) if o.bytes_moved is not None else None


MAX_SOL = 1.1
"""Nothing is faster than the peaks allow; what is by more than noise shows that they, or the work, are wrong."""


def _no_speed_of_light(o: Observation) -> str:
    """What the speed of light of one iteration needs; empty if it only lacks work that the device bounds."""
    if o.dtypes_without_peak:
        return f"the peak rate of {', '.join(o.dtypes_without_peak)} on this device, which is not known"
    if (reason := _ops_without_formula(o) or _ops_without_sizes(o)) or o.least_time is None or o.timing is None:
        return reason
    faster = float(np.median(o.least_time.ms * 1e6 / o.timing.latency_ns))
    return f"peaks that it does not exceed: it ran {faster:.3g} times as fast as they allow, so they are wrong"


@metric(
    "speed of light",
    RATIO,
    needs="FLOPs or memory traffic; add .cache('cold') to count what a warm cache holds",
    better="higher",
    regresses=False,
    lacks=_no_speed_of_light,
    highest=1.0,
    timed="wall",
)
def sol(o: Observation) -> Samples:
    """Speed of light: the least time that this device needs for one iteration, over its latency; 1 is the fastest.

    The least time is the larger of FLOPs at the peak rate and bytes that must pass the cache at the peak bandwidth.
    """
    if o.least_time is None or o.timing is None:
        return None
    share = o.least_time.ms * 1e6 / o.timing.latency_ns
    return share if float(np.median(share)) <= MAX_SOL else None
