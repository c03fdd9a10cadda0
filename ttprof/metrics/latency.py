"""Metrics of the iterations that pass 1 timed without a profiler; samples in ns."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.observation import Observation
from ttprof.units import MS, RATIO

_NEEDS = "timed iterations"


@metric("latency", MS, needs=_NEEDS, timed="wall")
def latency_ms(o: Observation) -> Samples:
    """Median time of one iteration without a profiler, in ms: wall time on a CPU, between events on a GPU."""
    return o.timing.latency_ns if o.timing else None


@metric(
    "latency p90",
    MS,
    needs="at least 10 timed iterations: .profile(iterations=10)",
    statistic="p90",
    regresses=False,
    of="latency_ms",
    timed="wall",
)
def latency_p90_ms(o: Observation) -> Samples:
    """90th percentile of the latency, in ms, from at least 10 timed iterations."""
    return o.timing.latency_ns if o.timing else None


@metric(
    "latency p99",
    MS,
    needs="at least 100 timed iterations: .profile(iterations=100)",
    statistic="p99",
    regresses=False,
    of="latency_ms",
    timed="wall",
)
def latency_p99_ms(o: Observation) -> Samples:
    """99th percentile of the latency, in ms, from at least 100 timed iterations."""
    return o.timing.latency_ns if o.timing else None


@metric("host latency", MS, needs=_NEEDS, regresses=False, timed="wall")
def host_latency_ms(o: Observation) -> Samples:
    """Median wall time of the same iterations on the host, in ms, until the device has finished."""
    return o.timing.host_ns if o.timing else None


@metric("CPU time", MS, needs=_NEEDS, timed="cpu")
def cpu_time_ms(o: Observation) -> Samples:
    """Median CPU time of the calling thread in one iteration without a profiler, in ms."""
    return o.timing.cpu_ns if o.timing else None


@metric("profiler overhead", RATIO, needs="timed and recorded iterations", regresses=False)
def profiler_overhead(o: Observation) -> Samples:
    """Host time of an iteration with the profiler over that without: how far to distrust host times in the trace."""
    if o.timing is None or o.iterations is None:
        return None
    return o.iterations.windows.dur / float(np.median(o.timing.host_ns))
