"""Metrics of the recording itself: its latency, its share of backward, and whether the trace is complete."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.kernels import on_device
from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.trace.analyses import integrity
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN
from ttprof.units import COUNT, MS, RATIO


@metric("recorded latency", MS, needs="recorded iterations", regresses=False)
def recorded_latency_ms(o: Observation) -> Samples:
    """Median host time of the recorded iterations, in ms: ``host_latency_ms`` plus the cost of recording."""
    return o.iterations.windows.dur if o.iterations is not None else None


@metric("share of backward", RATIO, needs="a recorded .backward()", regresses=False)
def backward_share(o: Observation) -> Samples:
    """Fraction of an iteration spent in the backward: of kernel time on a GPU, of the self time of ops on a CPU."""
    if o.trace is None or o.iterations is None or (o.device != "cpu" and on_device(o) is None):
        return None
    owners = Attribution(o.trace)
    if not owners.is_backward.any():
        return None
    if o.device == "cpu":
        iteration, time, op = o.iterations.of_moments(o.trace.ops.ts), owners.ops.self_ns, np.arange(len(o.trace.ops))
    else:
        iteration, time, op = o.iterations.of_kernels, o.trace.kernels.dur, owners.op_of_kernel
    backward = np.where(take(owners.backward_op, op) != UNKNOWN, time, 0)
    total = o.iterations.sums(iteration, time)
    return o.iterations.sums(iteration, backward) / total if total.all() else None


@metric(
    "trace complete", COUNT, needs="a recorded trace", better="higher", statistic="min", aliases=("trace.complete",)
)
def trace_complete(o: Observation) -> Samples:
    """1 if the trace holds every recorded iteration and every launched kernel, else 0."""
    if o.trace is None:
        return None
    return np.array([int(o.iterations is not None and integrity.check(o.trace, o.iterations).complete)])
