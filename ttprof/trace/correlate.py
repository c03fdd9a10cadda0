"""Joining device work to the host call that launched it, by correlation id.

Tables of a trace enter; row indices and counts leave. Work without a launch is reported, never guessed at.
"""

from __future__ import annotations

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Spans, Trace


def launch_index(work: Spans, runtime: Spans) -> Int:
    """For each event of *work* the row of *runtime* with its correlation id, or -1.

    A graph launch is the launch of all the kernels that carry its id.
    """
    if not len(runtime) or not len(work):
        return np.full(len(work), UNKNOWN, dtype=np.int64)
    order = np.argsort(runtime.correlation, kind="stable")
    known = runtime.correlation[order]
    slot = np.clip(np.searchsorted(known, work.correlation), 0, len(known) - 1)
    found = (known[slot] == work.correlation) & (work.correlation != UNKNOWN)
    return np.where(found, order[slot], UNKNOWN).astype(np.int64)


def lost_kernels(trace: Trace) -> int:
    """The number of kernel launches whose kernel the trace does not hold."""
    launches = trace.launches
    stated = launches.correlation != UNKNOWN
    return int((~np.isin(launches.correlation, trace.kernels.correlation) & stated).sum())
