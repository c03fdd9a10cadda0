"""Reads the current clocks of the CPUs that this process may use, where Linux has a driver of them (cpufreq)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")

MOST = 16
"""CPUs that are read: a reading may interrupt each of them."""


class CpuClocks:
    """The files with the clocks; virtual machines and containers often have none."""

    def __init__(self, folder: Path = CPUS) -> None:
        usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 0)
        step = -(-len(usable) // MOST) or 1
        files = (folder / f"cpu{cpu}" / "cpufreq" / "scaling_cur_freq" for cpu in usable[::step])
        self._files = [file for file in files if file.is_file()]

    def read(self) -> list[float]:
        """The clocks now, in MHz (cpufreq: the files have kHz); empty where they can't be read."""
        clocks = []
        for file in self._files:
            with suppress(OSError, ValueError):
                clocks.append(int(file.read_text(encoding="ascii")) / 1000)
        return clocks
