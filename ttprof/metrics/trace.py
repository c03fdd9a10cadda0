"""Metrics of the recording itself: whether the trace holds all that was recorded."""

from __future__ import annotations

import numpy as np

from ttprof.metrics.metric import Samples, metric
from ttprof.metrics.observation import Observation
from ttprof.trace import integrity
from ttprof.units import COUNT


@metric(
    "trace complete", COUNT, needs="a recorded trace", better="higher", statistic="min", aliases=("trace.complete",)
)
def trace_complete(o: Observation) -> Samples:
    """1 when the trace holds every recorded iteration and every launched kernel, else 0."""
    if o.trace is None:
        return None
    return np.array([int(o.iterations is not None and integrity.check(o.trace, o.iterations).complete)])
