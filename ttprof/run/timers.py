"""Times one call on its device: latency, host wall time and CPU time, in ns.

The clock is a parameter, so that tests can turn it by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch

from ttprof.run.devices import Driver, driver


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


class EventTimer:
    """Takes the time between two events of the device around the call, with an empty queue at the start."""

    def __init__(self, device: Driver, start: Any, end: Any, clock: TimerClock | None = None) -> None:
        self.clock: TimerClock = clock or SystemClock()
        self._device, self._start, self._end = device, start, end

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Run *call* once; latency is from event to event, host time lasts until the device has finished."""
        clock, device = self.clock, self._device
        device.synchronise()
        cpu = clock.thread_ns()
        wall = clock.wall_ns()
        device.record(self._start)
        call()
        device.record(self._end)
        device.synchronise()
        wall = clock.wall_ns() - wall
        latency = round(self._start.elapsed_time(self._end) * 1e6)  # from ms
        return Sample(latency, wall, clock.thread_ns() - cpu)


class HostTimer:
    """Takes the wall time until the device has finished, for devices without events."""

    def __init__(self, device: Driver, clock: TimerClock | None = None) -> None:
        self.clock: TimerClock = clock or SystemClock()
        self._device = device

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Run *call* once; its latency is its host time, from an idle device to an idle device."""
        clock = self.clock
        self._device.synchronise()
        cpu = clock.thread_ns()
        wall = clock.wall_ns()
        call()
        self._device.synchronise()
        wall = clock.wall_ns() - wall
        return Sample(wall, wall, clock.thread_ns() - cpu)


def timer_for(device: torch.device) -> Timer:
    """The timer for *device*: the thinnest one on a CPU, events where its module has them, else the host's clock."""
    if device.type == "cpu":
        return CpuTimer()
    driven = driver(device)
    start, end = driven.event(), driven.event()
    return HostTimer(driven) if start is None else EventTimer(driven, start, end)
