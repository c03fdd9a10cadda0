"""The summary of one trace that ``ttprof analyze`` prints.

A trace enters; plain structs leave, whose JSON is the documented shape of ``ttprof analyze --json``.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace import correlate, memory, ops
from ttprof.trace.events import UNKNOWN, Spans, Trace
from ttprof.trace.intervals import union_ns
from ttprof.trace.iterations import steps
from ttprof.trace.nesting import Nesting

VERSION = 1


class Source(msgspec.Struct, frozen=True):
    """The file and the devices it names."""

    format: str
    path: str
    devices: list[str]


class Named(msgspec.Struct, frozen=True):
    """All events of one name."""

    name: str
    count: int
    time_ns: int


class Kernels(msgspec.Struct, frozen=True):
    """The kernels: ``union_ns`` is the time in which at least one ran, on any device."""

    count: int
    time_ns: int
    union_ns: int
    without_launch: int
    distinct_names: int
    by_name: list[Named]


class Total(msgspec.Struct, frozen=True):
    """A number of events and the sum of their durations."""

    count: int
    time_ns: int


class Step(msgspec.Struct, frozen=True):
    """A profiler step: its host time, and the kernels that were launched inside it."""

    name: str
    time_ns: int
    kernel_count: int
    kernel_time_ns: int


class Memory(msgspec.Struct, frozen=True):
    """Allocator totals of one device; null where the trace can not answer."""

    device_type: int
    device_index: int
    events: int
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    net_bytes: int


class Summary(msgspec.Struct, frozen=True):
    """Everything ``ttprof analyze`` says about a trace."""

    version: int
    source: Source
    events: int
    kernels: Kernels
    device_busy_ns: int
    memcpy: Total
    memset: Total
    steps: list[Step]
    memory: list[Memory]
    launches: int
    launches_without_kernel: int
    ops_by_self_time: list[Named]
    lost: str | None


def summarise(trace: Trace) -> Summary:
    """The summary of *trace*; all times in ns, all sizes in bytes."""
    busy = trace.device_work
    return Summary(
        version=VERSION,
        source=Source(trace.format, trace.path, list(trace.devices)),
        events=trace.events,
        kernels=_kernels(trace),
        device_busy_ns=union_ns(busy.ts, busy.end),
        memcpy=_total(trace.memcpy),
        memset=_total(trace.memset),
        steps=_steps(trace),
        memory=[msgspec.convert(row, Memory, from_attributes=True) for row in memory.by_device(trace.memory)],
        launches=len(trace.launches),
        launches_without_kernel=correlate.lost_kernels(trace),
        lost=trace.lost,
        ops_by_self_time=_named(ops.by_name(trace, trace.ops, Nesting(trace.ops).self_ns)),
    )


def _kernels(trace: Trace) -> Kernels:
    kernels = trace.kernels
    return Kernels(
        count=len(kernels),
        time_ns=kernels.time_ns,
        union_ns=union_ns(kernels.ts, kernels.end),
        without_launch=int((correlate.launch_index(kernels, trace.runtime) == UNKNOWN).sum()),
        distinct_names=len(np.unique(kernels.name)),
        by_name=_named(ops.by_name(trace, kernels)),
    )


def _total(spans: Spans) -> Total:
    return Total(len(spans), spans.time_ns)


def _named(rows: list[ops.NameTotal]) -> list[Named]:
    return [Named(row.name, row.count, row.time_ns) for row in rows]


def _steps(trace: Trace) -> list[Step]:
    found = steps(trace)
    counts = found.counts(found.of_kernels)
    times = found.sums(found.of_kernels, trace.kernels.dur)
    return [Step(name, int(found.windows.dur[i]), int(counts[i]), int(times[i])) for i, name in enumerate(found.names)]
