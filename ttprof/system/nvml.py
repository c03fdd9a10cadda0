"""Reads NVIDIA GPUs through NVML (the package nvidia-ml-py): clocks, what limits them, heat, and other processes.

What the driver does not answer is None. Names and bits are those of nvml.h.
"""

from __future__ import annotations

import enum
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ttprof.system.process import descendants

MISSING = "pip install ttprof[nvml] to record clocks, temperature and throttling"
PREFIXES = ("GPU-", "MIG-")
"""What NVML puts before the UUID that torch gives."""


class NvmlUnavailable(Exception):
    """NVML can't be used here; the message says why."""


class Throttle(str, enum.Enum):
    """What keeps the clocks of a GPU down (nvml.h, nvmlClocksThrottleReason...)."""

    IDLE = "idle"
    APPLICATION_CLOCKS = "application-clocks"
    POWER_CAP = "power-cap"
    HARDWARE = "hardware"
    SYNC_BOOST = "sync-boost"
    HEAT = "heat"
    HARDWARE_HEAT = "hardware-heat"
    POWER_BRAKE = "power-brake"
    DISPLAY_CLOCKS = "display-clocks"

    @property
    def text(self) -> str:
        """The reason in words."""
        return {Throttle.HARDWARE: "hardware slowdown", Throttle.HARDWARE_HEAT: "heat (hardware)"}.get(
            self, self.value.replace("-", " ")
        )


BITS = {1 << bit: reason for bit, reason in enumerate(Throttle)}
SLOWED = frozenset({Throttle.HARDWARE, Throttle.HEAT, Throttle.HARDWARE_HEAT, Throttle.POWER_BRAKE})
"""Reasons that make times meaningless."""

LIMITED = frozenset({Throttle.POWER_CAP, Throttle.SYNC_BOOST})
"""Those that are usual under load, but not before it."""


def reasons(bits: int) -> list[Throttle]:
    """The reasons among the *bits* of NVML."""
    return [reason for bit, reason in BITS.items() if bits & bit]


@contextmanager
def session() -> Iterator[Any]:
    """The package pynvml, while NVML is open.

    Raises:
        NvmlUnavailable: the package or the driver is missing, or the driver refuses.
    """
    try:
        library: Any = importlib.import_module("pynvml")
    except ImportError as error:
        raise NvmlUnavailable(MISSING) from error
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        raise NvmlUnavailable(f"NVML: {error}") from error
    try:
        yield library
    finally:
        with suppress(library.NVMLError):
            library.nvmlShutdown()


@dataclass(frozen=True)
class GpuReading:
    """What a GPU does at one moment; None for what the driver does not say.

    Attributes:
        throttled: The bits of what keeps the clocks down.
        others: The part of the GPU that other processes used since the reading before, 0 to 1.
        other_processes: How many other processes have compute work on it.
    """

    sm_mhz: int | None = None
    memory_mhz: int | None = None
    throttled: int | None = None
    temperature_c: int | None = None
    others: float | None = None
    other_processes: int | None = None


class NvmlGpu:
    """One GPU, or one MIG instance, by the UUID that torch gives: CUDA_VISIBLE_DEVICES renumbers devices.

    Raises:
        NvmlUnavailable: the driver knows no such device.
    """

    def __init__(self, library: Any, uuid: str, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._library = library
        self._handle = self._handle_of(uuid)
        self._since_us = now_us()
        self.unread: dict[str, str] = {}
        """Why something could not be read, by what it is."""

    def _handle_of(self, uuid: str) -> Any:
        problem = ""
        for prefix in PREFIXES:
            try:
                return self._library.nvmlDeviceGetHandleByUUID(f"{prefix}{uuid}".encode())
            except self._library.NVMLError as error:
                problem = problem or f"NVML: {error}"
        raise NvmlUnavailable(problem)

    def max_sm_mhz(self) -> int | None:
        """The highest clock that the multiprocessors can have."""
        nvml, handle = self._library, self._handle
        highest = self._asked("highest SM clock", lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))
        return None if highest is None else int(highest)

    def read(self) -> GpuReading:
        """What the GPU does now."""
        nvml, handle = self._library, self._handle
        bits = self._asked("throttle reasons", lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        others, count = self._others()
        return GpuReading(
            sm_mhz=self._asked("SM clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_mhz=self._asked("memory clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            throttled=bits,
            temperature_c=self._asked(
                "temperature", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            others=others,
            other_processes=count,
        )

    def _asked(self, what: str, read: Callable[[], Any]) -> Any:
        """The answer to a question; None if the driver refuses it, does not support it, or the device is gone."""
        try:
            answer = read()
        except self._library.NVMLError as error:
            self.unread[what] = str(error)
            return None
        self.unread.pop(what, None)
        return answer

    def _others(self) -> tuple[float | None, int | None]:
        """The part of the GPU that other processes used, and how many there are.

        In a container NVML gives process IDs of the host. This process has work on the GPU while it times, so if it
        is not on the list, the list can't tell it from others.
        """
        what = "other processes"
        listed = self._asked(what, lambda: self._library.nvmlDeviceGetComputeRunningProcesses(self._handle))
        if listed is None:
            return None, None
        own = {os.getpid(), *descendants(os.getpid())}
        present = {process.pid for process in listed}
        if not present & own:
            self.unread[what] = "the driver's list does not contain this process (in a container it has other IDs)"
            return None, None
        used = self._used()
        if used is None:
            return None, len(present - own)
        others = (present | used.keys()) - own
        if others and not used:
            return None, len(others)
        return min(1.0, sum(used.get(pid, 0.0) for pid in others)), len(others)

    def _used(self) -> dict[int, float] | None:
        """The part of the multiprocessors' time that each process used, by its ID; empty if there is no new sample."""
        nvml, since = self._library, self._since_us

        def read() -> list[Any]:
            try:
                return list(nvml.nvmlDeviceGetProcessUtilization(self._handle, since))
            except nvml.NVMLError as error:
                if error.value in (nvml.NVML_SUCCESS, nvml.NVML_ERROR_NOT_FOUND):  # no sample since then
                    return []
                raise

        samples = self._asked("use by other processes", read)
        if samples is None:
            return None
        shares: dict[int, list[float]] = {}
        for sample in samples:
            if sample.timeStamp > since and sample.smUtil <= 100:  # rows that were not filled have neither
                shares.setdefault(sample.pid, []).append(sample.smUtil / 100)
                self._since_us = max(self._since_us, sample.timeStamp)
        return {pid: sum(parts) / len(parts) for pid, parts in shares.items()}
