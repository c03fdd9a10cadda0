"""Metrics of memory: one sample per iteration, in bytes, from allocator events in the trace or the allocator's peaks.

The first recorded iteration is left out: it may still fill caches and workspaces. A trace without any allocator event
of the device was recorded without memory, so the metrics of its events are None.
"""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.system.device_types import device_type
from ttprof.trace.analyses.memory import net_bytes, peak_of_running_sum
from ttprof.trace.events import Int, MemoryEvents
from ttprof.units import COUNT, MB

_NEEDS = (
    "allocator events in the trace, as of CPU, CUDA, ROCm and XPU, and at least 2 recorded iterations: "
    ".profile(iterations=2)"
)
_NEEDS_PEAKS = "an allocator with peaks, as of CUDA, ROCm and XPU devices, and at least 2 recorded iterations"


def _iterations(o: Observation) -> list[MemoryEvents]:
    """The allocator events of each iteration except the first, on the device of the case."""
    if o.trace is None or o.iterations is None:
        return []
    present = [kind for kind in device_type(o.device).memory_types if (o.trace.memory.device_type == kind).any()]
    return o.iterations.memory(present[0])[1:] if present else []


def _after_the_first(peaks: Int | None) -> Samples:
    return peaks[1:] if peaks is not None and len(peaks) > 1 else None


@metric("memory", MB, needs=_NEEDS, statistic="max", allocations=True)
def memory_mb(o: Observation) -> Samples:
    """Peak of the memory that one iteration has allocated and not yet freed, in MB: what the module adds."""
    if not o.allocations:
        return _after_the_first(o.peak_added)
    events = _iterations(o)
    return np.array([peak_of_running_sum(e) for e in events]) if events else None


@metric("allocations", COUNT, needs=_NEEDS, statistic="max", allocations=True)
def allocation_count(o: Observation) -> Samples:
    """Number of allocations of one iteration."""
    events = _iterations(o) if o.allocations else []
    return np.array([(e.bytes > 0).sum() for e in events]) if events else None


@metric("allocated", MB, needs=_NEEDS, statistic="max", allocations=True)
def allocated_mb(o: Observation) -> Samples:
    """Sum of all that one iteration allocates, in MB, also what it frees before the peak of ``memory_mb``."""
    events = _iterations(o) if o.allocations else []
    return np.array([e.bytes[e.bytes > 0].sum() for e in events]) if events else None


LEAK_ITERATIONS = 31
"""The first is left out; a leak in every tenth call falls twice into the first two thirds of the other thirty."""


@metric(
    "leak",
    MB,
    needs="at least 4 recorded iterations: .profile(iterations=4)",
    statistic="growth",
    allocations=True,
    recorded=LEAK_ITERATIONS,
)
def leak_mb(o: Observation) -> Samples:
    """Memory that stays allocated after an iteration, per iteration, in MB: a rise that does not come back."""
    net = [net_bytes(events) for events in _iterations(o)]
    return np.cumsum(net) if net else None


@metric("activations", MB, needs=".backward()", statistic="max")
def activation_mb(o: Observation) -> Samples:
    """Memory of the tensors that autograd saves for the backward, in MB, without parameters and inputs."""
    return np.array([o.activations]) if o.activations is not None else None


@metric("peak allocated", MB, needs=_NEEDS_PEAKS, statistic="max")
def peak_allocated_mb(o: Observation) -> Samples:
    """Peak of all memory allocated on the GPU, in MB, weights and inputs included."""
    return _after_the_first(o.peak_allocated)


@metric("peak reserved", MB, needs=_NEEDS_PEAKS, statistic="max", regresses=False)
def peak_reserved_mb(o: Observation) -> Samples:
    """Peak of the GPU memory that the caching allocator has reserved, in MB, allocated or not."""
    return _after_the_first(o.peak_reserved)
