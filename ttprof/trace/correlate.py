"""Joining rows of a trace by the ids that they state: device work to its launch, calls to ops.

Tables of a trace enter; row indices and counts leave. Work without a launch is reported, never guessed at.
"""

from __future__ import annotations

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace


def row_with_id(wanted: Int, ids: Int) -> Int:
    """For each wanted id the first row of *ids* that has it, or -1; -1 is no id."""
    if not len(ids) or not len(wanted):
        return np.full(len(wanted), UNKNOWN, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    known = ids[order]
    slot = np.clip(np.searchsorted(known, wanted), 0, len(known) - 1)
    found = (known[slot] == wanted) & (wanted != UNKNOWN)
    return np.where(found, order[slot], UNKNOWN).astype(np.int64)


def launch_index(work: Spans, runtime: Spans) -> Int:
    """For each event of *work* the row of *runtime* with its correlation id, or -1.

    Runtime and driver calls share one table. A graph launch is the launch of all the kernels that carry its id. In a
    trace of several processes the reader has made the ids of each process distinct.
    """
    return row_with_id(work.correlation, runtime.correlation)


def lost_kernels(trace: Trace) -> int:
    """The number of kernel launches whose kernel the trace does not hold."""
    return int(without_work(trace.launches, trace.kernels).sum())


def without_work(calls: Spans, work: Spans) -> Mask:
    """Which calls have a correlation id that no *work* has."""
    found = row_with_id(calls.correlation, work.correlation)
    missing: Mask = (found == UNKNOWN) & (calls.correlation != UNKNOWN)
    return missing


def picked(values: Int, rows: Int) -> Int:
    """``values[rows]``, and -1 where the row is -1."""
    if not len(values):
        return np.full(len(rows), UNKNOWN, dtype=np.int64)
    return np.where(rows == UNKNOWN, UNKNOWN, values[rows]).astype(np.int64)
