"""Analyses allocator events: peaks, the curve over time, the allocations live at the peak, and totals, in bytes.

A trace that states no totals has no peak and no curve: a running sum would be a guess.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN, Int, MemoryEvents
from ttprof.trace.groups import distinct, sums

CURVE_POINTS = 200
"""Maximum number of points in a memory curve; each is the highest value in its part of the events."""

UNATTRIBUTED = "Unattributed"


class AllocatorTotals(msgspec.Struct, frozen=True):
    """The allocator's totals for one device; peaks are null if the trace does not state totals."""

    device_type: int
    device_index: int
    events: int
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    net_bytes: int


class Holder(msgspec.Struct, frozen=True):
    """The number and total size of the allocations of one op or module."""

    name: str
    count: int
    bytes: int


class Peak(msgspec.Struct, frozen=True):
    """The allocations live at the peak, by the op and the module that made them, the largest first.

    ``before_trace_bytes`` was allocated before the trace began: the total minus the live allocations in the trace.
    """

    at_ns: int
    allocated_bytes: int
    before_trace_bytes: int
    by_op: list[Holder]
    by_module: list[Holder]


class Allocations(msgspec.Struct, frozen=True):
    """The allocations of one device; ``at_ns`` and the curve count from the first allocator event of the trace.

    ``allocated_bytes`` sums all allocations, including memory that was freed again and can be far above the peak.
    ``curve`` has rows of time, allocated and reserved bytes. ``peak`` and ``curve`` are null without totals.
    """

    device_type: int
    device_index: int
    allocations: int
    allocated_bytes: int
    frees: int
    freed_bytes: int
    by_op: list[Holder]
    peak: Peak | None
    curve: list[tuple[int, int, int]] | None


def peak_of_running_sum(events: MemoryEvents) -> int:
    """The peak of the running sum of allocations and frees in bytes, starting from 0."""
    return max(0, int(np.cumsum(events.bytes).max())) if len(events) else 0


def net_bytes(events: MemoryEvents) -> int:
    """Bytes allocated minus bytes freed."""
    return int(events.bytes.sum())


def by_device(memory: MemoryEvents) -> list[AllocatorTotals]:
    """The totals of each (device type, device index), in numerical order."""
    rows = []
    for kind, index, of_device in _devices(memory):
        events = memory.where(of_device)
        rows.append(
            AllocatorTotals(
                device_type=kind,
                device_index=index,
                events=len(events),
                peak_allocated_bytes=_peak(events.allocated),
                peak_reserved_bytes=_peak(events.reserved),
                net_bytes=net_bytes(events),
            )
        )
    return rows


def allocations(attribution: Attribution) -> list[Allocations]:
    """The allocations of each device in bytes, in the order of ``by_device``."""
    memory = attribution.trace.memory
    result = []
    for kind, index, rows in _devices(memory):
        events = memory.where(rows)
        grows = np.flatnonzero(events.bytes > 0)
        result.append(
            Allocations(
                device_type=kind,
                device_index=index,
                allocations=len(grows),
                allocated_bytes=int(events.bytes[grows].sum()),
                frees=int((events.bytes < 0).sum()),
                freed_bytes=-int(events.bytes[events.bytes < 0].sum()),
                by_op=_by_op(attribution, rows[grows]),
                peak=_at_peak(attribution, rows),
                curve=_curve(events, int(memory.ts[0])),
            )
        )
    return result


def _devices(memory: MemoryEvents) -> list[tuple[int, int, Int]]:
    """The type and index of each device, and the rows of its events."""
    devices = []
    for kind in distinct(memory.device_type):
        of_kind = memory.device_type == kind
        for index in distinct(memory.device_index[of_kind]):
            devices.append((kind, index, np.flatnonzero(of_kind & (memory.device_index == index))))
    return devices


def _peak(totals: Int) -> int | None:
    """The largest total, or None if an event does not state it."""
    return int(totals.max()) if (totals != UNKNOWN).all() else None


def _at_peak(attribution: Attribution, rows: Int) -> Peak | None:
    """The peak, at the first of the highest totals; an allocation is live if its address was not freed since."""
    memory = attribution.trace.memory
    allocated = memory.allocated[rows]
    if _peak(allocated) is None:
        return None
    top = int(allocated.argmax())
    so_far = rows[top::-1]  # from the peak backwards: the first event of an address is the last one before the peak
    _, latest = np.unique(memory.address[so_far], return_index=True)
    live = so_far[latest]
    live = live[memory.bytes[live] > 0]
    return Peak(
        at_ns=int(memory.ts[rows[top]] - memory.ts[0]),
        allocated_bytes=int(allocated[top]),
        before_trace_bytes=int(allocated[top] - memory.bytes[live].sum()),
        by_op=_by_op(attribution, live),
        by_module=_by_module(attribution, live),
    )


def _by_op(attribution: Attribution, rows: Int) -> list[Holder]:
    trace = attribution.trace
    return _holders(trace.names, take(trace.ops.name, attribution.op_of_memory[rows]), trace.memory.bytes[rows])


def _by_module(attribution: Attribution, rows: Int) -> list[Holder]:
    module = take(attribution.module_of_op, attribution.op_of_memory[rows])
    return _holders(attribution.modules.paths, module, attribution.trace.memory.bytes[rows])


def _holders(names: tuple[str, ...], group: Int, sizes: Int) -> list[Holder]:
    """Totals by group, the largest first; rows of group -1 are added up as unattributed."""
    group = np.where(group == UNKNOWN, len(names), group)
    counts, total = np.bincount(group, minlength=len(names) + 1), sums(group, sizes, len(names) + 1)
    rows = [
        Holder(names[i] if i < len(names) else UNATTRIBUTED, int(counts[i]), int(total[i]))
        for i in np.flatnonzero(counts).tolist()
    ]
    return sorted(rows, key=lambda row: (-row.bytes, row.name))


def _curve(events: MemoryEvents, first_ns: int) -> list[tuple[int, int, int]] | None:
    """The totals over time: the highest of each part of the events, and the last one."""
    if _peak(events.allocated) is None or _peak(events.reserved) is None:
        return None
    parts = np.array_split(np.arange(len(events)), min(CURVE_POINTS, len(events)))
    highest = [int(part[events.allocated[part].argmax()]) for part in parts]
    rows = sorted({*highest, len(events) - 1})
    columns = (events.ts[rows] - first_ns, events.allocated[rows], events.reserved[rows])
    return list(zip(*(column.tolist() for column in columns), strict=True))
