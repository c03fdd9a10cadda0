"""Operator and kernel tables: how often each name ran and how long, in total and by itself.

Tables of spans enter; per-name totals in ns leave. Self time leaves out the children on the same thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Spans, Trace
from ttprof.trace.groups import sums
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting


@dataclass(frozen=True)
class NameTotal:
    """All events of one name: their number and the sum of their times in ns."""

    name: str
    count: int
    time_ns: int


def by_name(trace: Trace, spans: Spans, time_ns: Int | None = None) -> list[NameTotal]:
    """Totals by name, the longest first; *time_ns* replaces the durations (with self times, for example)."""
    values = spans.dur if time_ns is None else time_ns
    totals = sums(spans.name, values, len(trace.names))
    counts = np.bincount(spans.name, minlength=len(trace.names))
    present = np.flatnonzero(counts)
    columns = zip(present.tolist(), counts[present].tolist(), totals[present].tolist(), strict=True)
    rows = [NameTotal(trace.names[name], count, total) for name, count, total in columns]
    return sorted(rows, key=lambda row: (-row.time_ns, row.name))


def dominant(iterations: Iterations, limit: int = 3) -> list[tuple[str, float]]:
    """The kernels (without kernels, the ops) with the largest share of the time of the iterations, with that share."""
    trace = iterations.trace
    kernels = trace.kernels.where(iterations.of_kernels != UNKNOWN)
    inside = trace.ops.where(iterations.of_moments(trace.ops.ts) != UNKNOWN)
    rows = by_name(trace, kernels) if len(kernels) else by_name(trace, inside, Nesting(inside).self_ns)
    total = sum(row.time_ns for row in rows)
    return [(row.name, row.time_ns / total) for row in rows[:limit]] if total else []
