"""Interval algebra on integer nanoseconds.

Starts and ends enter; exact lengths and containments leave. An interval is half open: [start, end).
"""

from __future__ import annotations

import numpy as np

from ttprof.trace.events import UNKNOWN, Int


def union_ns(start: Int, end: Int) -> int:
    """The length of the union of the intervals, in ns."""
    if not len(start):
        return 0
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)
    fresh = np.concatenate(([True], start[1:] > reach[:-1]))
    first = np.flatnonzero(fresh)
    last = np.concatenate((first[1:] - 1, [len(start) - 1]))
    return int((reach[last] - start[first]).sum())


def window_of(moment: Int, start: Int, end: Int) -> Int:
    """For each moment the index of the window [start, end) that holds it, or -1.

    The windows must not overlap; they may come in any order.
    """
    if not len(start):
        return np.full(len(moment), UNKNOWN, dtype=np.int64)
    order = np.argsort(start, kind="stable")
    slot = np.searchsorted(start[order], moment, side="right") - 1
    index = order[np.clip(slot, 0, None)]
    inside = (slot >= 0) & (moment < end[index])
    return np.where(inside, index, UNKNOWN).astype(np.int64)
