"""Reads the speed and clocks of the CPUs and the state of an NVIDIA GPU while calls are timed: between iterations.

At most every 50 ms, and in at most a twentieth of the time: a reading takes up to some ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from ttprof.machine import ClockRange, GpuUse
from ttprof.system import nvml
from ttprof.system.cpu_clocks import CpuClocks
from ttprof.system.nvml import GpuReading, NvmlGpu

EVERY_NS = 50_000_000
SHARE = 20
"""A reading that took t is followed by none for SHARE * t."""


MIN_GLANCES = 10
"""Glances at the yardstick whose medians mean anything, half of them before and after a short timing."""

Glance = Callable[[], Mapping[str, int]]
"""Times each part of the yardstick once, in ns."""


class MachineReader:
    """Collects readings of the CPUs, and of a GPU or the reason why it can't be read."""

    def __init__(
        self,
        cpus: CpuClocks,
        gpu: NvmlGpu | None = None,
        problem: str = "",
        glance: Glance | None = None,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._cpus, self._gpu, self._problem, self._now_ns = cpus, gpu, problem, now_ns
        self._max_sm_mhz = None if gpu is None else gpu.max_sm_mhz()
        self._glance, self._glances = glance, list[Mapping[str, int]]()
        self._cpu_mhz: list[float] = []
        self._seen: list[GpuReading] = []
        self._due_ns = now_ns()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next reading."""
        return self._now_ns() >= self._due_ns

    def read(self) -> None:
        """Read now."""
        began = self._now_ns()
        self._cpu_mhz += self._cpus.read()
        self._look()
        if self._gpu is not None:
            self._seen.append(self._gpu.read())
        ended = self._now_ns()
        self._due_ns = ended + max(EVERY_NS, SHARE * (ended - began))

    def begin(self) -> None:
        """Look at the yardstick before anything is timed: what slows a short timing may end before the last looks."""
        while self._glance is not None and len(self._glances) < MIN_GLANCES // 2:
            self._look()

    def _look(self) -> None:
        if self._glance is not None:
            self._glances.append(self._glance())

    def finish(self) -> None:
        """Read at the end, and look at the yardstick until there are enough glances."""
        self.read()
        while self._glance is not None and len(self._glances) < MIN_GLANCES:
            self._look()

    @property
    def yardstick(self) -> dict[str, float]:
        """The time of each part of the yardstick until now, in ns; empty without one.

        That is the median of the first or of the second half of the glances, whichever is longer.
        """
        parts = self._glances[0] if self._glances else ()
        middle = (len(self._glances) + 1) // 2
        halves = [half for half in (self._glances[:middle], self._glances[middle:]) if half]
        return {part: max(float(np.median([glance[part] for glance in half])) for half in halves) for part in parts}

    @property
    def cpu_clocks(self) -> ClockRange | None:
        """The clocks of the CPUs until now; None where there is no reading."""
        return clock_range(self._cpu_mhz)

    @property
    def gpu(self) -> GpuUse | None:
        """The state of the GPU until now; None if the device is no NVIDIA GPU."""
        if self._gpu is None:
            return GpuUse(missing=self._problem) if self._problem else None
        bits = _known(self._seen, "throttled")
        used, processes = _known(self._seen, "others"), _known(self._seen, "other_processes")
        return GpuUse(
            sm=clock_range(_known(self._seen, "sm_mhz")),
            memory=clock_range(_known(self._seen, "memory_mhz")),
            max_sm_mhz=self._max_sm_mhz,
            throttled=nvml.reasons(int(np.bitwise_or.reduce(bits))) if bits else None,
            temperature_c=max(_known(self._seen, "temperature_c"), default=None),
            others=float(np.mean(used)) if used else None,
            other_processes=max(processes, default=None),
            missing="; ".join(f"{what}: {why}" for what, why in self._gpu.unread.items()),
        )


def _known(readings: Sequence[GpuReading], field: str) -> list[Any]:
    return [value for reading in readings if (value := getattr(reading, field)) is not None]


def clock_range(clocks: Sequence[float]) -> ClockRange | None:
    """The range of some clocks in MHz; None without any."""
    if not clocks:
        return None
    return ClockRange(lowest=min(clocks), median=float(np.median(clocks)), highest=max(clocks))


@contextmanager
def reading(device: torch.device, glance: Glance | None = None) -> Iterator[MachineReader]:
    """A reader for calls on *device*. A GPU that can't be read only lacks its readings; the result says why."""
    gpu, problem = None, ""
    with ExitStack() as stack:
        if device.type == "cuda" and torch.version.cuda is not None:
            try:
                library = stack.enter_context(nvml.session())
                gpu = NvmlGpu(library, str(torch.cuda.get_device_properties(device).uuid))
            except nvml.NvmlUnavailable as error:
                problem = str(error)
        yield MachineReader(CpuClocks(), gpu, problem, glance)
