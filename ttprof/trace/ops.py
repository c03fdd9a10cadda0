"""Operator and kernel tables: how often each name ran and how long, in total and by itself.

Tables of spans enter; per-name totals in ns leave. Self time leaves out the children on the same thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Spans, Trace
from ttprof.trace.iterations import Iterations


@dataclass(frozen=True)
class NameTotal:
    """All events of one name: their number and the sum of their times in ns."""

    name: str
    count: int
    time_ns: int


def by_name(trace: Trace, spans: Spans, time_ns: Int | None = None) -> list[NameTotal]:
    """Totals by name, the longest first; *time_ns* replaces the durations (with self times, for example)."""
    values = spans.dur if time_ns is None else time_ns
    names, slot, counts = np.unique(spans.name, return_inverse=True, return_counts=True)
    totals = np.zeros(len(names), dtype=np.int64)
    np.add.at(totals, slot, values)
    columns = zip(names.tolist(), counts.tolist(), totals.tolist(), strict=True)
    rows = [NameTotal(trace.names[name], count, total) for name, count, total in columns]
    return sorted(rows, key=lambda row: (-row.time_ns, row.name))


def self_ns(spans: Spans) -> Int:
    """The time of each span less that of its direct children on the same thread, in ns. Children lie inside it."""
    own = spans.dur.copy()
    thread = spans.pid * (int(spans.tid.max(initial=0)) + 1) + spans.tid
    for each in np.unique(thread):
        rows = np.flatnonzero((thread == each) & (spans.dur > 0))
        rows = rows[np.lexsort((-spans.dur[rows], spans.ts[rows]))]
        parent = _parents(spans.ts[rows], spans.end[rows])
        child = parent != UNKNOWN
        np.subtract.at(own, rows[parent[child]], spans.dur[rows[child]])
    return own


def _parents(start: Int, end: Int) -> Int:
    """For each interval of one thread the smallest one that holds it, or -1; sorted by start, then the longest first.

    Nothing is looped over but the levels of nesting: among all starts and ends in time order (at one moment ends
    first), the parent of an interval is the last one that started before it one level up.
    """
    count = len(start)
    order = np.argsort(np.concatenate((2 * start + 1, 2 * end)), kind="stable")
    is_start = order < count
    depth = np.empty(count, dtype=np.int64)
    depth[order[is_start]] = np.cumsum(np.where(is_start, 1, -1))[is_start] - 1
    parent = np.full(count, UNKNOWN, dtype=np.int64)
    outer = np.flatnonzero(depth == 0)
    for level in range(1, int(depth.max(initial=0)) + 1):
        here = np.flatnonzero(depth == level)
        parent[here] = outer[np.searchsorted(outer, here) - 1]
        outer = here
    return parent


def dominant(iterations: Iterations, limit: int = 3) -> list[tuple[str, float]]:
    """The kernels (without kernels, the ops) with the largest share of the time of the iterations, with that share."""
    trace = iterations.trace
    kernels = trace.kernels.where(iterations.of_kernels != UNKNOWN)
    inside = trace.ops.where(iterations.of_moments(trace.ops.ts) != UNKNOWN)
    rows = by_name(trace, kernels) if len(kernels) else by_name(trace, inside, self_ns(inside))
    total = sum(row.time_ns for row in rows)
    return [(row.name, row.time_ns / total) for row in rows[:limit]] if total else []
