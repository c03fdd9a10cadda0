"""Exact interval algebra on integer nanoseconds; an interval is half open: [start, end)."""

from __future__ import annotations

import numpy as np

from ttprof.trace.events import UNKNOWN, Int


def merged(start: Int, end: Int) -> tuple[Int, Int]:
    """The union of the intervals as disjoint intervals in order; touching ones are joined, empty ones dropped."""
    start, end = start[end > start], end[end > start]
    if not len(start):
        return start, end
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    after_gap = np.flatnonzero(start[1:] > reach[:-1]) + 1
    first = np.concatenate(([0], after_gap))
    return start[first], reach[np.append(after_gap, len(start)) - 1]


def union_ns(start: Int, end: Int) -> int:
    """The length of the union of the intervals, in ns."""
    first, last = merged(start, end)
    return int((last - first).sum())


def overlap_ns(one: tuple[Int, Int], other: tuple[Int, Int]) -> int:
    """The time covered by both sets of intervals, in ns; overlap within a set counts once."""
    start, end = (np.concatenate(pair) for pair in zip(one, other, strict=True))
    return union_ns(*one) + union_ns(*other) - union_ns(start, end)


def concurrent_ns(start: Int, end: Int) -> int:
    """The time covered by at least two of the intervals, in ns."""
    moments = np.concatenate((start, end))
    order = np.argsort(moments, kind="stable")
    running = np.cumsum(np.where(order < len(start), 1, -1))
    lengths = np.diff(moments[order])
    return int(lengths[running[:-1] >= 2].sum()) if len(moments) else 0


def window_of(moment: Int, start: Int, end: Int) -> Int:
    """For each moment, the index of the window [start, end) that contains it, or -1.

    The windows must not overlap; they may be in any order.
    """
    if not len(start):
        return np.full(len(moment), UNKNOWN, dtype=np.int64)
    order = np.argsort(start, kind="stable")
    slot = np.searchsorted(start[order], moment, side="right") - 1
    index = order[np.clip(slot, 0, None)]
    inside = (slot >= 0) & (moment < end[index])
    return np.where(inside, index, UNKNOWN).astype(np.int64)
