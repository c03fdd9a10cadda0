"""Answers about allocator events.

Memory events in time order enter; peaks, net growth and per-device totals in bytes leave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttprof.trace.events import UNKNOWN, MemoryEvents


def peak_of_running_sum(events: MemoryEvents) -> int:
    """The highest point of the running sum of allocations and frees, from 0 at the first event, in bytes."""
    return max(0, int(np.cumsum(events.bytes).max())) if len(events) else 0


def net_bytes(events: MemoryEvents) -> int:
    """Bytes allocated less bytes freed."""
    return int(events.bytes.sum())


@dataclass(frozen=True)
class DeviceMemory:
    """The allocator's totals for one device; a peak is None where the trace does not state totals."""

    device_type: int
    device_index: int
    events: int
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    net_bytes: int


def by_device(memory: MemoryEvents) -> list[DeviceMemory]:
    """One row for each (device type, device index), in the order of their numbers."""
    devices = np.unique(np.stack((memory.device_type, memory.device_index)), axis=1).T
    rows = []
    for kind, index in devices.tolist():
        events = memory.where((memory.device_type == kind) & (memory.device_index == index))
        rows.append(
            DeviceMemory(
                device_type=kind,
                device_index=index,
                events=len(events),
                peak_allocated_bytes=_peak(events.allocated),
                peak_reserved_bytes=_peak(events.reserved),
                net_bytes=net_bytes(events),
            )
        )
    return rows


def _peak(totals: np.ndarray) -> int | None:
    """The largest total, or None where some event states none: a running sum would be a guess."""
    return int(totals.max()) if (totals != UNKNOWN).all() else None
