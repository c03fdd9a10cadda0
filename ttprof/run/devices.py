"""Drives a device through its torch module, such as ``torch.cuda``: waits, events, allocator peaks, name and cache.

A function that the module lacks means that its quantity is not measured there: the methods then return None.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, supported_activities

from ttprof.system.device_types import DEVICE_TYPES, device_type
from ttprof.system.process import peak_memory, spare_memory

CACHE_PROPERTIES = ("L2_cache_size", "last_level_cache_size")
"""Names of the last-level cache's size in the properties of devices, in bytes."""


DEFAULT_CACHE_BYTES = 64 * 2**20
"""Assumed if the system does not report it: larger than the last-level caches of most processors."""


class Driver:
    """One device, driven by the functions that the modules of most device types have."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.row = device_type(device.type)
        self._module: Any = torch.get_device_module(device.type)

    def count(self) -> int:
        """The number of devices of this type that torch can use."""
        return int(self._module.device_count()) if self._module.is_available() else 0

    def synchronise(self) -> None:
        """Wait until the device has finished its work."""
        self._module.synchronize(self.device)

    def event(self) -> Any | None:
        """An event that takes times."""
        event = getattr(self._module, "Event", None)
        return None if event is None else event(enable_timing=True)

    def record(self, event: Any) -> None:
        """Record *event* in the current stream."""
        event.record(self._module.current_stream(self.device))

    def reset_peaks(self) -> int | None:
        """Reset the allocator's peaks and return the allocated bytes."""
        allocated = self._memory("memory_allocated")
        if allocated is not None and hasattr(self._module, "reset_peak_memory_stats"):
            self._module.reset_peak_memory_stats(self.device)
            return allocated
        return None

    def peaks(self) -> tuple[int | None, int | None]:
        """The peaks of the allocated and of the reserved bytes since the reset."""
        return self._memory("max_memory_allocated"), self._memory("max_memory_reserved")

    def memory(self) -> tuple[int | None, int | None]:
        """The free bytes, and the peak of the used ones."""
        free = self._module.mem_get_info(self.device)[0] if hasattr(self._module, "mem_get_info") else None
        return free, self._memory("max_memory_allocated")

    def name(self) -> str:
        """The model name of the device, or its type if torch does not know it."""
        name = getattr(self._module, "get_device_name", None)
        return self.row.label if name is None else str(name(self.device))

    def cache_bytes(self) -> int | None:
        """The size of the last-level cache in bytes."""
        properties = getattr(self._module, "get_device_properties", None)
        known = None if properties is None else properties(self.device)
        return next((int(getattr(known, name)) for name in CACHE_PROPERTIES if hasattr(known, name)), None)

    def activities(self) -> list[ProfilerActivity]:
        """What torch.profiler records for this device: the CPU, and the device's work if it can."""
        activity = getattr(ProfilerActivity, self.row.activity or "", None)
        if activity is None or not (self.row.always_records or activity in supported_activities()):  # type: ignore[no-untyped-call]
            return [ProfilerActivity.CPU]
        return [ProfilerActivity.CPU, activity]

    def _memory(self, function: str) -> int | None:
        count = getattr(self._module, function, None)
        return None if count is None else int(count(self.device))


class CpuDriver(Driver):
    """The CPU, whose calls have finished when they return, and whose allocator has no peaks."""

    def count(self) -> int:
        """One: torch has a single CPU."""
        return 1

    def synchronise(self) -> None:
        """Return at once."""

    def event(self) -> None:
        """None: the latency of a call is its host time."""

    def reset_peaks(self) -> None:
        """None: the allocator reports no peaks."""

    def peaks(self) -> tuple[None, None]:
        """None for both."""
        return None, None

    def memory(self) -> tuple[int | None, int]:
        """The spare bytes of the machine or container, None if unknown, and the peak of the process."""
        return spare_memory(), peak_memory()

    def name(self) -> str:
        """The CPU's model name from /proc/cpuinfo, else Python's name for the processor or the architecture."""
        return cpu_name()

    def cache_bytes(self) -> int | None:
        """The size of the largest cache that Linux lists for core 0."""
        files = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
        sizes = [file.read_text(encoding="utf-8").strip() for file in files]
        return max((int(s[:-1]) * 1024 for s in sizes if s.endswith("K") and s[:-1].isdigit()), default=None)


class MpsDriver(Driver):
    """Apple's GPU: the functions of ``torch.mps`` have other names and take no device."""

    def synchronise(self) -> None:
        """Wait until the device has finished its work."""
        self._module.synchronize()

    def event(self) -> Any | None:
        """An event that takes times."""
        return self._module.event.Event(enable_timing=True)

    def record(self, event: Any) -> None:
        """Record *event* in the default stream, the only one."""
        event.record()

    def reset_peaks(self) -> None:
        """None: the allocator reports no peaks."""

    def peaks(self) -> tuple[None, None]:
        """None for both."""
        return None, None

    def memory(self) -> tuple[int, int]:
        """The bytes up to Metal's recommended maximum, and those that the driver has allocated."""
        used = int(self._module.driver_allocated_memory())
        return int(self._module.recommended_max_memory()) - used, used

    def name(self) -> str:
        """The name of the Metal device, or ``MPS`` in versions of torch that don't tell."""
        name = getattr(torch.backends.mps, "get_name", None)
        return self.row.label if name is None else str(name())

    def cache_bytes(self) -> None:
        """None: Metal does not report it."""


DRIVERS: dict[str, type[Driver]] = {"cpu": CpuDriver, "mps": MpsDriver}
"""The drivers of device types whose modules differ from the rest."""


def driver(device: torch.device) -> Driver:
    """The driver of *device*."""
    return DRIVERS.get(device.type, Driver)(device)


def cache_bytes(device: torch.device) -> int:
    """The size of the last-level cache of *device* in bytes; a usual one if the system does not report it."""
    return driver(device).cache_bytes() or DEFAULT_CACHE_BYTES


def usable() -> list[torch.device]:
    """The CPU, and the devices of the type of ``torch.accelerator``."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = driver(accelerator).count() if accelerator is not None else 0
    return [torch.device("cpu"), *(torch.device(accelerator.type, i) for i in range(count) if accelerator is not None)]


def unusable(device: torch.device) -> str | None:
    """Why torch can't run on *device* here; None if it can."""
    row = device_type(device.type)
    if device.type not in DEVICE_TYPES and not _is_accelerator(device):
        types = ", ".join(DEVICE_TYPES)
        return f"ttprof runs on {types} and the type of torch.accelerator, and {device.type!r} is none of them"
    count = driver(device).count()
    if not count:
        return f"torch finds no {row.label} device on this machine"
    if (device.index or 0) >= count:
        return f"torch finds {count} {row.label} device{'' if count == 1 else 's'}, counted from 0"
    return None


def _is_accelerator(device: torch.device) -> bool:
    """Whether a device is of the type of ``torch.accelerator``."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator is not None and accelerator.type == device.type


def cpu_name() -> str:
    """The CPU's model name from /proc/cpuinfo, else Python's name for the processor or the architecture."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
