"""Kernels and ops by name: counts, total and self times, and the distribution of durations, sorted by time.

All times are ns.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.groups import quantiles, sums
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting


class Named(msgspec.Struct, frozen=True):
    """All events of one name: their number and the sum of their times."""

    name: str
    count: int
    time_ns: int


class Spread(msgspec.Struct, frozen=True):
    """The distribution of values in ns; each quantile is one of the values."""

    min_ns: int
    median_ns: int
    p90_ns: int
    p99_ns: int
    max_ns: int


QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)


class KernelRow(msgspec.Struct, frozen=True):
    """All kernels of one name."""

    name: str
    count: int
    time_ns: int
    mean_ns: float
    spread: Spread


class OpRow(msgspec.Struct, frozen=True):
    """All ops of one name; ``self_ns`` excludes the ops that they called.

    ``kernel_ns`` is the time of the kernels that they launched directly; ``flops`` is null if the trace states none.
    """

    name: str
    count: int
    time_ns: int
    self_ns: int
    mean_ns: float
    spread: Spread
    kernel_count: int
    kernel_ns: int
    flops: int | None


def totals(names: Iterable[str], group: Int, time_ns: Int) -> list[Named]:
    """Totals by group, the longest first; *group* are indices into *names*; rows of group -1 are left out."""
    labels = list(names)
    named = group != UNKNOWN
    group, time_ns = group[named], time_ns[named]
    counts, times = np.bincount(group, minlength=len(labels)), sums(group, time_ns, len(labels))
    rows = [Named(labels[i], int(counts[i]), int(times[i])) for i in np.flatnonzero(counts).tolist()]
    return sorted(rows, key=lambda row: (-row.time_ns, row.name))


def by_name(trace: Trace, spans: Spans, time_ns: Int | None = None) -> list[Named]:
    """Totals by name, the longest first; *time_ns* (self times, for example) replaces the durations."""
    return totals(trace.names, spans.name, spans.dur if time_ns is None else time_ns)


def kernels(trace: Trace) -> list[KernelRow]:
    """The kernels by name, the longest total time first."""
    spread = quantiles(trace.kernels.name, trace.kernels.dur, QUANTILES)
    counts, times = _counts_and_times(trace, trace.kernels.name, trace.kernels.dur)
    rows = [
        KernelRow(trace.names[name], counts[name], times[name], times[name] / counts[name], Spread(*values))
        for name, values in spread.items()
    ]
    return sorted(rows, key=lambda row: (-row.time_ns, row.name))


def ops(attribution: Attribution, wanted: Mask | None = None) -> list[OpRow]:
    """The ops by name, the longest self time first; only those that the mask *wanted* selects, if given."""
    trace, kernels = attribution.trace, attribution.trace.kernels
    chosen = np.ones(len(trace.ops), dtype=np.bool_) if wanted is None else wanted
    table = trace.ops.where(chosen)
    spread = quantiles(table.name, table.dur, QUANTILES)
    counts, times = _counts_and_times(trace, table.name, table.dur)
    _, self_ns = _counts_and_times(trace, table.name, attribution.ops.self_ns[chosen])
    op_name = take(np.where(chosen, trace.ops.name, UNKNOWN), attribution.op_of_kernel)
    launched, kernel_ns = _counts_and_times(trace, op_name[op_name != UNKNOWN], kernels.dur[op_name != UNKNOWN])
    flops = _flops(trace, chosen)
    rows = [
        OpRow(
            name=trace.names[name],
            count=counts[name],
            time_ns=times[name],
            self_ns=self_ns[name],
            mean_ns=times[name] / counts[name],
            spread=Spread(*values),
            kernel_count=launched[name],
            kernel_ns=kernel_ns[name],
            flops=flops.get(name),
        )
        for name, values in spread.items()
    ]
    return sorted(rows, key=lambda row: (-row.self_ns, row.name))


def spread_of(values: Int) -> Spread | None:
    """The distribution of *values*, or None if there are none."""
    of_group = quantiles(np.zeros(len(values), dtype=np.int64), values, QUANTILES)
    return Spread(*of_group[0]) if of_group else None


def dominant(iterations: Iterations, limit: int = 3) -> list[tuple[str, float]]:
    """The kernels (without kernels, the ops) with the most time in the iterations, and their share of it (0 to 1)."""
    trace = iterations.trace
    launched = trace.kernels.where(iterations.of_kernels != UNKNOWN)
    inside = trace.ops.where(iterations.of_moments(trace.ops.ts) != UNKNOWN)
    rows = by_name(trace, launched) if len(launched) else by_name(trace, inside, Nesting(inside).self_ns)
    total = sum(row.time_ns for row in rows)
    return [(row.name, row.time_ns / total) for row in rows[:limit]] if total else []


def _counts_and_times(trace: Trace, name: Int, time_ns: Int) -> tuple[list[int], list[int]]:
    """The number of rows and the sum of their times for each index into ``trace.names``."""
    count = len(trace.names)
    return np.bincount(name, minlength=count).tolist(), sums(name, time_ns, count).tolist()


def _flops(trace: Trace, chosen: Mask) -> dict[int, int]:
    """The FLOPs of the chosen ops by name; names without stated FLOPs are left out."""
    stated = chosen & (trace.op_details.flops != UNKNOWN)
    names = trace.ops.name[stated]
    summed = sums(names, trace.op_details.flops[stated], len(trace.names))
    return {name: int(summed[name]) for name in np.unique(names).tolist()}
