"""Times one call on its device: latency, host wall time and CPU time, in ns.

The clock is a parameter, so that tests can turn it by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch


class Sample(NamedTuple):
    """One iteration: device latency, host wall time and CPU time of the calling thread, in ns."""

    latency_ns: int
    host_ns: int
    cpu_ns: int


class TimerClock(Protocol):
    """Source of the host's times."""

    def wall_ns(self) -> int:
        """Monotonic wall time in ns."""
        ...

    def thread_ns(self) -> int:
        """CPU time of the calling thread in ns."""
        ...


class SystemClock:
    """The operating system's clocks."""

    wall_ns = staticmethod(time.perf_counter_ns)
    thread_ns = staticmethod(time.thread_time_ns)


class Timer(Protocol):
    """Times calls on one type of device."""

    clock: TimerClock

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Wait until the device is idle, run *call* once, and wait until it has finished."""
        ...


class CpuTimer:
    """Takes the wall time around the call."""

    def __init__(self, clock: TimerClock | None = None) -> None:
        self.clock: TimerClock = clock or SystemClock()

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Run *call* once; on a CPU its latency is its host time."""
        clock = self.clock
        cpu = clock.thread_ns()
        wall = clock.wall_ns()
        call()
        wall = clock.wall_ns() - wall
        return Sample(wall, wall, clock.thread_ns() - cpu)


class CudaTimer:
    """Takes the time between CUDA events around the call, with an empty queue at the start. Works on ROCm too."""

    def __init__(self, device: torch.device, clock: TimerClock | None = None) -> None:
        self.clock: TimerClock = clock or SystemClock()
        self._device = device
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Run *call* once; latency is from event to event, host time lasts until the device has finished."""
        clock = self.clock
        torch.cuda.synchronize(self._device)
        cpu = clock.thread_ns()
        wall = clock.wall_ns()
        self._start.record(torch.cuda.current_stream(self._device))
        call()
        self._end.record(torch.cuda.current_stream(self._device))
        torch.cuda.synchronize(self._device)
        wall = clock.wall_ns() - wall
        latency = round(self._start.elapsed_time(self._end) * 1e6)
        return Sample(latency, wall, clock.thread_ns() - cpu)


TIMERS: dict[str, Callable[[torch.device], Timer]] = {"cpu": lambda device: CpuTimer(), "cuda": CudaTimer}
"""The timer for each of torch's device types that can be timed; ROCm devices have the type cuda."""


def timer_for(device: torch.device) -> Timer:
    """The timer for *device*, whose type is a key of ``TIMERS``."""
    return TIMERS[device.type](device)
