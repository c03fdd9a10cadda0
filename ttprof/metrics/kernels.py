"""Metrics of the device work in a recorded trace: one sample per iteration, in ns or counts.

All are None on a CPU, for a trace without kernels, and for one with a launch whose kernel is lost: a sum over the
remaining kernels would be wrong and look right.
"""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.trace.analyses.launches import SYNCHRONISES
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import lost_kernels, take
from ttprof.trace.events import UNKNOWN, Int, Spans
from ttprof.trace.intervals import union_ns
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting
from ttprof.units import COUNT, MS

_NEEDS = "kernels in the trace, which torch.profiler records on CUDA, ROCm and XPU devices"


def on_device(o: Observation) -> Iterations | None:
    """The iterations of a device trace without lost kernels, else None."""
    if o.device == "cpu" or o.trace is None or o.iterations is None:
        return None
    return o.iterations if len(o.trace.kernels) and not lost_kernels(o.trace) else None


def _busy(iterations: Iterations) -> tuple[Int, Int]:
    """The busy time and the span of the device work of each iteration, summed over devices, in ns."""
    work = iterations.trace.device_work
    iteration = iterations.of_work(work)
    busy = np.zeros(len(iterations), dtype=np.int64)
    span = np.zeros(len(iterations), dtype=np.int64)
    for i in range(len(iterations)):
        launched = work.where(iteration == i)
        for device in np.unique(launched.device):
            on_one = launched.where(launched.device == device)
            busy[i] += union_ns(on_one.ts, on_one.end)
            span[i] += int(on_one.end.max() - on_one.ts.min())
    return busy, span


@metric("kernel time", MS, needs=_NEEDS, aliases=("cuda_time_ms",))
def kernel_time_ms(o: Observation) -> Samples:
    """Sum of the durations of the kernels that one iteration launched, in ms; where two overlap, both count."""
    iterations = on_device(o)
    return iterations.sums(iterations.of_kernels, iterations.trace.kernels.dur) if iterations else None


def _by_direction(o: Observation, backward: bool) -> Samples:
    """The time in ns of the kernels that ops of the forward, or with *backward* of the backward, launched."""
    iterations = on_device(o)
    if iterations is None:
        return None
    owners = Attribution(iterations.trace)
    ran_backward = take(owners.backward_op, owners.op_of_kernel) != UNKNOWN
    if not ran_backward.any():
        return None
    time = np.where(ran_backward == backward, iterations.trace.kernels.dur, 0)
    return iterations.sums(iterations.of_kernels, time)


@metric("forward kernels", MS, needs=_NEEDS + ", and .backward()")
def forward_kernel_time_ms(o: Observation) -> Samples:
    """The part of ``kernel_time_ms`` that was launched by the forward, in iterations with a backward."""
    return _by_direction(o, backward=False)


@metric("backward kernels", MS, needs=_NEEDS + ", and .backward()")
def backward_kernel_time_ms(o: Observation) -> Samples:
    """The part of ``kernel_time_ms`` that was launched by autograd in the backward."""
    return _by_direction(o, backward=True)


@metric("device busy", MS, needs=_NEEDS)
def device_busy_ms(o: Observation) -> Samples:
    """Time in which at least one kernel, memcpy or memset of one iteration ran, in ms, summed over devices."""
    iterations = on_device(o)
    return _busy(iterations)[0] if iterations else None


@metric("device idle", MS, needs=_NEEDS, regresses=False)
def device_idle_ms(o: Observation) -> Samples:
    """Gaps between the first and the last device work of one iteration, in ms, summed over devices."""
    iterations = on_device(o)
    if iterations is None:
        return None
    busy, span = _busy(iterations)
    return span - busy


@metric("kernels", COUNT, needs=_NEEDS, statistic="max")
def kernel_count(o: Observation) -> Samples:
    """Number of kernels that one iteration launched."""
    iterations = on_device(o)
    return iterations.counts(iterations.of_kernels) if iterations else None


@metric("launches", COUNT, needs=_NEEDS, statistic="max")
def launch_count(o: Observation) -> Samples:
    """Number of kernel launch calls in one iteration; graph launches do not count."""
    iterations = on_device(o)
    return iterations.counts(iterations.of_moments(iterations.trace.launches.ts)) if iterations else None


@metric("synchronisations", COUNT, needs=_NEEDS + ", and the module's annotations in it", statistic="max")
def sync_count(o: Observation) -> Samples:
    """Number of calls inside the module, per iteration, in which the host waits for the device."""
    iterations = on_device(o)
    if iterations is None:
        return None
    trace = iterations.trace
    calls = trace.runtime.where(trace.named(trace.runtime, SYNCHRONISES))
    modules = Attribution(trace).modules.spans
    if not len(modules):
        return None
    inside = Nesting(modules).innermost(calls.ts, calls.thread) != UNKNOWN
    return iterations.counts(iterations.of_moments(calls.ts[inside]))


@metric("memcpy time", MS, needs=_NEEDS)
def memcpy_time_ms(o: Observation) -> Samples:
    """Sum of the durations of the memory copies that one iteration launched, in ms."""
    iterations = on_device(o)
    if iterations is None:
        return None
    copies: Spans = iterations.trace.memcpy
    return iterations.sums(iterations.of_work(copies), copies.dur)
