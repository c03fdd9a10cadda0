"""Checks of what else the machine does: load, waiting, stolen time and swapping, over the second of the watch."""

from __future__ import annotations

from ttprof.doctor.diagnosis import Diagnosis, ok, unknown, unsafe, warning
from ttprof.doctor.probe import WATCHED_S, Probe, keyed

STAT, PRESSURE, VMSTAT = "proc/stat", "proc/pressure/cpu", "proc/vmstat"
IDLE, IOWAIT, STEAL, GUEST = 3, 4, 7, 8
"""Columns of the line ``cpu`` in /proc/stat (man proc_stat); those from GUEST on are counted in others too."""

BUSY_SHARE, FULL_SHARE = 0.25, 0.9
"""Shares of the cores that others keep busy: from the first, times vary; from the second, they wait."""

SOME_STOLEN, MUCH_STOLEN = 0.005, 0.05
SOME_WAITING, MUCH_WAITING = 0.05, 0.25

FIND = "stop what else runs (ps aux --sort=-%cpu)"


def load(probe: Probe) -> Diagnosis:
    """Whether other processes keep the cores busy, now and over the last minute."""
    average, ticks = (probe.text("proc/loadavg") or "").split(), _ticks(probe)
    if not average or ticks is None:
        return unknown("/proc/loadavg or /proc/stat can't be read")
    cores = probe.cores
    total = sum(ticks[:GUEST]) or 1
    busy = 1 - (ticks[IDLE] + ticks[IOWAIT]) / total
    seen = f"{average[0]} over a minute, {busy * cores:.1f} of {cores} cores busy now"
    if float(average[0]) > cores or busy >= FULL_SHARE:
        return unsafe(seen, FIND)
    return warning(seen, FIND) if busy >= BUSY_SHARE else ok(seen)


def pressure(probe: Probe) -> Diagnosis:
    """The share of the time in which a thread that could run had no core."""
    before, now = (_total_us(text) for text in (probe.earlier.get(PRESSURE), probe.text(PRESSURE)))
    if before is None or now is None:
        return unknown("the kernel does not count it: boot with psi=1")
    share = min(1.0, (now - before) / (WATCHED_S * 1e6))
    seen = f"threads waited for a core {100 * share:.0f} % of a second"
    if share >= MUCH_WAITING:
        return unsafe(seen, FIND)
    return warning(seen, FIND) if share >= SOME_WAITING else ok(seen)


def steal(probe: Probe) -> Diagnosis:
    """The share of the time that the hypervisor gave to other machines."""
    ticks = _ticks(probe)
    if ticks is None or len(ticks) <= STEAL:
        return unknown("/proc/stat does not state it")
    share = ticks[STEAL] / (sum(ticks[:GUEST]) or 1)
    hidden = "a hypervisor may hide it" if probe.is_virtual and not share else ""
    seen, change = f"{100 * share:.1f} % of a second", "a machine with cores of its own"
    if share >= MUCH_STOLEN:
        return unsafe(seen, change)
    return warning(seen, change) if share >= SOME_STOLEN else ok(seen, hidden)


def swap(probe: Probe) -> Diagnosis:
    """Whether memory is swapped, now or before."""
    memory = keyed(probe.text("proc/meminfo"))
    before, now = keyed(probe.earlier.get(VMSTAT)), keyed(probe.text(VMSTAT))
    if not {"SwapTotal", "SwapFree"} <= memory.keys() or "pswpin" not in now:
        return unknown("/proc/meminfo or /proc/vmstat does not state it")
    pages = sum(now[key] - before.get(key, now[key]) for key in ("pswpin", "pswpout"))
    used = (memory["SwapTotal"] - memory["SwapFree"]) // 1024
    if pages:
        return unsafe(f"{pages} pages moved in a second, {used} MB swapped", "end what fills the memory: free -h")
    if used:
        return warning(f"{used} MB swapped, nothing moves now", "sudo swapoff -a, with enough free memory")
    return ok("none used" if memory["SwapTotal"] else "none configured")


def _ticks(probe: Probe) -> list[int] | None:
    """How far each counter of all cores together went during the watch."""
    before, now = (_first_line(text) for text in (probe.earlier.get(STAT), probe.text(STAT)))
    if before is None or now is None or len(now) <= IOWAIT:
        return None
    return [max(0, b - a) for a, b in zip(before, now, strict=False)]


def _first_line(text: str | None) -> list[int] | None:
    words = (text or "").partition("\n")[0].split()
    return [int(word) for word in words[1:]] if words[:1] == ["cpu"] else None


def _total_us(text: str | None) -> int | None:
    """The ``total=`` in the line ``some`` of a pressure file, in µs."""
    for line in (text or "").splitlines():
        if line.startswith("some") and line.rpartition("total=")[2].isdigit():
            return int(line.rpartition("total=")[2])
    return None
