"""Timing one call on its device.

A callable enters; its latency, host time and CPU time in ns leave. The clock is a parameter, so that tests can
turn it by hand.
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


class Clock(Protocol):
    """Where times come from."""

    def wall_ns(self) -> int:
        """Monotonic wall time."""
        ...

    def thread_ns(self) -> int:
        """CPU time of the calling thread."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    wall_ns = staticmethod(time.perf_counter_ns)
    thread_ns = staticmethod(time.thread_time_ns)


class Timer(Protocol):
    """Times calls on one kind of device."""

    clock: Clock

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Run *call* once, with nothing before it still running, and wait for its end."""
        ...


class CpuTimer:
    """Wall time around the call."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Run *call* once; latency and host time are the same here."""
        clock = self.clock
        cpu = clock.thread_ns()
        wall = clock.wall_ns()
        call()
        wall = clock.wall_ns() - wall
        return Sample(wall, wall, clock.thread_ns() - cpu)


class CudaTimer:
    """CUDA events around the call; the queue is empty when the first is recorded. Also serves ROCm."""

    def __init__(self, device: torch.device, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._device = device
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def measure(self, call: Callable[[], Any]) -> Sample:
        """Run *call* once; latency is event to event, host time ends when the device has finished."""
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


def timer_for(device: torch.device) -> Timer:
    """The timer for a device."""
    return CudaTimer(device) if device.type == "cuda" else CpuTimer()
