"""Nests the spans of each thread: parents, self times, and the innermost span at a moment.

Fully vectorised: the times of all threads are laid out on one line, thread after thread, and sorted once.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Mask, Spans
from ttprof.trace.groups import sums

_MAX_LINE = 2**61


class Line:
    """Maps times on threads to places on one line, on which threads don't overlap.

    Times that are too far apart for that are mapped by their rank among all starts and ends.
    """

    def __init__(self, spans: Spans) -> None:
        self._first = int(spans.ts.min()) if len(spans) else 0
        self._width = int(spans.end.max()) - self._first + 2 if len(spans) else 2
        self._ranked: Int | None = None
        if self._width * (int(spans.thread.max(initial=0)) + 2) >= _MAX_LINE:
            self._ranked = np.unique(np.concatenate((spans.ts, spans.end)))
            self._width = len(self._ranked) + 2

    def place(self, moment: Int, thread: Int) -> Int:
        """The place of each moment; a moment before or after all spans stays within the part of its thread."""
        along = moment - self._first if self._ranked is None else np.searchsorted(self._ranked, moment, side="right")
        return np.clip(along, -1, self._width - 2) + 1 + (thread + 1) * self._width


class Nesting:
    """The nesting of *spans* on their threads. Intervals are half open, so an empty one contains nothing."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self._line = Line(spans)
        rows = np.flatnonzero(spans.dur > 0)
        start = self._line.place(spans.ts[rows], spans.thread[rows])
        end = self._line.place(spans.end[rows], spans.thread[rows])
        order = _outer_first(start, end)
        self._rows, self._starts = rows[order], start[order]
        parents = _parents(start[order], end[order])
        self._parent = np.full(len(spans), UNKNOWN, dtype=np.int64)  # of non-empty spans
        inside = parents != UNKNOWN
        self._parent[self._rows[inside]] = self._rows[parents[inside]]

    @cached_property
    def parent(self) -> Int:
        """For each span, the smallest span that contains it, or -1."""
        empty = np.flatnonzero(self.spans.dur <= 0)
        parent = self._parent.copy()
        parent[empty] = self.innermost(self.spans.ts[empty], self.spans.thread[empty])
        return parent

    @cached_property
    def depth(self) -> Int:
        """For each span, the number of its ancestors."""
        depth = np.zeros(len(self.spans), dtype=np.int64)
        ancestor = self.parent
        while (rows := np.flatnonzero(ancestor != UNKNOWN)).size:
            depth[rows] += 1
            ancestor = np.where(ancestor == UNKNOWN, UNKNOWN, self.parent[ancestor])
        return depth

    @cached_property
    def self_ns(self) -> Int:
        """The self time of each span in ns: its duration minus the parts of its direct children inside it."""
        child = np.flatnonzero(self._parent != UNKNOWN)
        parent, ends = self._parent[child], self.spans.end
        shared = np.minimum(ends[child], ends[parent]) - self.spans.ts[child]
        return self.spans.dur - sums(parent, shared, len(self.spans))

    def innermost(self, moment: Int, thread: Int) -> Int:
        """For each moment on a thread, the row of the innermost span around it, or -1.

        That is the last span to have started or, if it has ended, its nearest ancestor that has not.
        """
        if not len(self._rows) or not len(moment):
            return np.full(len(moment), UNKNOWN, dtype=np.int64)
        slot = np.searchsorted(self._starts, self._line.place(moment, thread), side="right") - 1
        row = np.where(slot < 0, UNKNOWN, self._rows[slot])
        row[(self.spans.thread[row] != thread) | (self.spans.ts[row] > moment)] = UNKNOWN
        ended = np.flatnonzero(row != UNKNOWN)
        while ended.size:
            ended = ended[self.spans.ts[row[ended]] + self.spans.dur[row[ended]] <= moment[ended]]
            row[ended] = self._parent[row[ended]]
            ended = ended[row[ended] != UNKNOWN]
        return row

    def nearest(self, wanted: Mask) -> Int:
        """For each span, the nearest span, including itself, that the mask *wanted* selects, or -1."""
        nearest = np.where(wanted, np.arange(len(wanted)), UNKNOWN)
        parent = self.parent
        ancestor = np.where(wanted, UNKNOWN, parent)
        while (rows := np.flatnonzero(ancestor != UNKNOWN)).size:
            candidate = ancestor[rows]
            nearest[rows] = np.where(wanted[candidate], candidate, UNKNOWN)
            ancestor[rows] = np.where(wanted[candidate], UNKNOWN, parent[candidate])
        return nearest


def _parents(start: Int, end: Int) -> Int:
    """For each interval, the smallest one that contains its start, or -1; sorted by start, the longest first.

    The depth of an interval is the number that began before it minus the number that had ended by then; its parent is
    the last one to begin before it one level up.
    """
    parents = np.full(len(start), UNKNOWN, dtype=np.int64)
    depth = np.arange(len(start)) - np.searchsorted(np.sort(end, kind="stable"), start, side="right")
    levels = np.split(np.argsort(depth, kind="stable"), np.cumsum(np.bincount(depth))[:-1]) if len(depth) else []
    for outer, inner in pairwise(levels):
        parents[inner] = outer[np.searchsorted(outer, inner) - 1]
    ended = np.flatnonzero((parents != UNKNOWN) & (end[parents] <= start))
    for row in ended.tolist():  # spans that cross other spans: rare, so one by one
        before = np.flatnonzero(end[:row] > start[row])
        parents[row] = before[-1] if len(before) else UNKNOWN
    return parents


def _outer_first(start: Int, end: Int) -> Int:
    """The order of intervals by start, the longest first; most traces are in that order already."""
    order = np.argsort(start, kind="stable")
    tied = start[order][1:] == start[order][:-1]
    if (tied & (end[order][1:] > end[order][:-1])).any():
        order = np.lexsort((-end, start))
    return order
