"""Which spans lie inside which on their thread, and which is innermost at a moment.

Spans of threads enter; parents, self times and the span around a moment leave. Nothing is looped over: the times of
all threads are laid on one line, one thread behind the other, and all are sorted once.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Mask, Spans
from ttprof.trace.groups import sums

_ROOM = 2**61


class Line:
    """Places moments of threads on one line, so that no two threads meet there.

    Where the times are too far apart for that, they are placed by their rank among all starts and ends.
    """

    def __init__(self, spans: Spans) -> None:
        self._first = int(spans.ts.min()) if len(spans) else 0
        self._width = int(spans.end.max()) - self._first + 2 if len(spans) else 2
        self._ranked: Int | None = None
        if self._width * (int(spans.thread.max(initial=0)) + 2) >= _ROOM:
            self._ranked = np.unique(np.concatenate((spans.ts, spans.end)))
            self._width = len(self._ranked) + 2

    def place(self, moment: Int, thread: Int) -> Int:
        """The place of each moment; one before all spans, or after them, stays on its thread."""
        along = moment - self._first if self._ranked is None else np.searchsorted(self._ranked, moment, side="right")
        return np.clip(along, -1, self._width - 2) + 1 + (thread + 1) * self._width


class Nesting:
    """The nesting of *spans*, each on its thread. Intervals are half open; an empty one holds nothing."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self._line = Line(spans)
        rows = np.flatnonzero(spans.dur > 0)
        start = self._line.place(spans.ts[rows], spans.thread[rows])
        end = self._line.place(spans.end[rows], spans.thread[rows])
        order = _outer_first(start, end)
        self._rows, self._starts = rows[order], start[order]
        parents = _parents(start[order], end[order])
        self._parent = np.full(len(spans), UNKNOWN, dtype=np.int64)  # of all but the empty ones
        inside = parents != UNKNOWN
        self._parent[self._rows[inside]] = self._rows[parents[inside]]

    @cached_property
    def parent(self) -> Int:
        """For each span the smallest one that holds it, or -1."""
        empty = np.flatnonzero(self.spans.dur <= 0)
        found = self._parent.copy()
        found[empty] = self.innermost(self.spans.ts[empty], self.spans.thread[empty])
        return found

    @cached_property
    def depth(self) -> Int:
        """For each span the number of spans around it."""
        depth = np.zeros(len(self.spans), dtype=np.int64)
        at = self.parent
        while (going := np.flatnonzero(at != UNKNOWN)).size:
            depth[going] += 1
            at = np.where(at == UNKNOWN, UNKNOWN, self.parent[at])
        return depth

    @cached_property
    def self_ns(self) -> Int:
        """The time of each span less that of its direct children, as far as they lie inside it, in ns."""
        child = np.flatnonzero(self._parent != UNKNOWN)
        parent, ends = self._parent[child], self.spans.end
        shared = np.minimum(ends[child], ends[parent]) - self.spans.ts[child]
        return self.spans.dur - sums(parent, shared, len(self.spans))

    def innermost(self, moment: Int, thread: Int) -> Int:
        """For each moment on a thread the row of the smallest span that holds it, or -1.

        That is the last one to have started, or the first of its ancestors that has not ended.
        """
        if not len(self._rows) or not len(moment):
            return np.full(len(moment), UNKNOWN, dtype=np.int64)
        slot = np.searchsorted(self._starts, self._line.place(moment, thread), side="right") - 1
        found = np.where(slot < 0, UNKNOWN, self._rows[slot])
        found[(self.spans.thread[found] != thread) | (self.spans.ts[found] > moment)] = UNKNOWN
        over = np.flatnonzero(found != UNKNOWN)
        while over.size:
            over = over[self.spans.ts[found[over]] + self.spans.dur[found[over]] <= moment[over]]
            found[over] = self._parent[found[over]]
            over = over[found[over] != UNKNOWN]
        return found

    def nearest(self, wanted: Mask) -> Int:
        """For each span itself or its nearest ancestor among those of the mask *wanted*; -1 without one."""
        found = np.where(wanted, np.arange(len(wanted)), UNKNOWN)
        parent = self.parent
        at = np.where(wanted, UNKNOWN, parent)
        while (going := np.flatnonzero(at != UNKNOWN)).size:
            here = at[going]
            found[going] = np.where(wanted[here], here, UNKNOWN)
            at[going] = np.where(wanted[here], UNKNOWN, parent[here])
        return found


def _parents(start: Int, end: Int) -> Int:
    """For each interval the smallest one that holds its start, or -1; they come sorted by start, the longest first.

    The depth of an interval is the number of those that began before it less those that had ended by then; its parent
    is the last one that began before it one level up.
    """
    parents = np.full(len(start), UNKNOWN, dtype=np.int64)
    depth = np.arange(len(start)) - np.searchsorted(np.sort(end, kind="stable"), start, side="right")
    levels = np.split(np.argsort(depth, kind="stable"), np.cumsum(np.bincount(depth))[:-1]) if len(depth) else []
    for outer, here in pairwise(levels):
        around = outer[np.searchsorted(outer, here) - 1]
        parents[here] = around
    ended = np.flatnonzero((parents != UNKNOWN) & (end[parents] <= start))
    for row in ended.tolist():  # spans that cross others: rare, and looked for one by one
        before = np.flatnonzero(end[:row] > start[row])
        parents[row] = before[-1] if len(before) else UNKNOWN
    return parents


def _outer_first(start: Int, end: Int) -> Int:
    """The order of intervals by start, the longest first; most traces hold them in that order already."""
    order = np.argsort(start, kind="stable")
    tied = start[order][1:] == start[order][:-1]
    if (tied & (end[order][1:] > end[order][:-1])).any():
        order = np.lexsort((-end, start))
    return order
