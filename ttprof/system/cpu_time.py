"""What the system counts of a process and its machine: CPU time, waits for a CPU, switches and faults.

A count that the system does not have is None. All are read from Linux's /proc but the CPU time of the process.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PROC = Path("/proc")

READ = 256
"""Bytes; a line of schedstat has three numbers."""


class Counts(NamedTuple):
    """Counts of this process since it began, or between two moments.

    ``process_ns`` is the CPU time of all its threads. ``waited_ns`` is how long they were ready to run and had to wait
    for a CPU. ``switches`` are involuntary context switches, ``faults`` page faults.
    """

    process_ns: int
    waited_ns: int | None
    switches: int
    faults: int

    def since(self, before: Counts) -> Counts:
        """The counts between *before* and these."""
        waited = None if self.waited_ns is None or before.waited_ns is None else self.waited_ns - before.waited_ns
        return Counts(
            self.process_ns - before.process_ns, waited, self.switches - before.switches, self.faults - before.faults
        )


class ProcessCounter:
    """Reads the counts of this process; the files of its threads stay open, so that a reading takes microseconds.

    ``follow`` notes which threads there are; those that begin later are not counted until it is called again.
    """

    def __init__(self, proc: Path = PROC) -> None:
        self._folder = proc / "self" / "task"
        self._threads: dict[str, int] = {}
        self.follow()

    def follow(self) -> None:
        """Note the threads of the process."""
        try:
            present = {path.name for path in self._folder.iterdir()}
        except OSError:
            present = set()
        for name in self._threads.keys() - present:
            os.close(self._threads.pop(name))
        for name in present - self._threads.keys():
            with suppress(OSError):
                self._threads[name] = os.open(self._folder / name / "schedstat", os.O_RDONLY)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._threads.values():
            os.close(descriptor)
        self._threads.clear()

    def read(self) -> Counts:
        """The counts until now."""
        switches = faults = 0
        if resource is not None:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            switches, faults = usage.ru_nivcsw, usage.ru_minflt + usage.ru_majflt
        return Counts(time.process_time_ns(), self._waited_ns(), switches, faults)

    def _waited_ns(self) -> int | None:
        """The run delay of all threads (proc_pid_schedstat: the second number); None where no thread has one."""
        if not self._threads:
            return None
        waited = 0
        for descriptor in self._threads.values():
            with suppress(OSError, IndexError):  # the thread has ended
                waited += int(os.pread(descriptor, READ, 0).split()[1])
        return waited


class MachineCounts(NamedTuple):
    """CPU time of all CPUs of the machine since it started, in seconds, at a time of the monotonic clock.

    ``busy`` is that of all processes, ``own`` that of this one and its children that have ended, ``stolen`` what the
    hypervisor gave to other machines.
    """

    at: float
    busy: float
    own: float
    stolen: float

    def others_since(self, before: MachineCounts) -> float:
        """The CPUs that other processes kept busy on average since *before*."""
        used = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, used) / max(self.at - before.at, TICK_S)

    def stolen_since(self, before: MachineCounts) -> float:
        """The CPUs that the hypervisor gave to other machines on average since *before*."""
        return (self.stolen - before.stolen) / max(self.at - before.at, TICK_S)


TICK_S = 0.01
"""The unit of /proc/stat; over a shorter time it says nothing."""


def machine_counts(proc: Path = PROC) -> MachineCounts | None:
    """Read the first line of /proc/stat, whose unit is 1/100 s (proc_stat); None where there is none."""
    try:
        with (proc / "stat").open(encoding="ascii") as file:
            fields = [int(field) for field in file.readline().split()[1:]]
        user, nice, system, _, _, interrupts, soft_interrupts, stolen = fields[:8]
    except (OSError, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    busy = (user + nice + system + interrupts + soft_interrupts) / ticks
    own = os.times()
    children = own.children_user + own.children_system  # those that have ended
    return MachineCounts(time.monotonic(), busy, own.user + own.system + children, stolen / ticks)
