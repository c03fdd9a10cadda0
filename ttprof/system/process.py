"""The process: its cores, its memory, and context managers for its allocator and garbage collector. No torch."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # from malloc.h

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """The number of cores this process may run on; on macOS and Windows, all cores of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_cores() -> int:
    """The number of cores this process may run on, hyper-threads of one core counted once where Linux lists them."""
    siblings = set()
    for cpu in os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ():
        try:
            topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            siblings.add(topology.read_text(encoding="utf-8").strip())
        except OSError:
            return cores()
    return len(siblings) or cores()


def peak_memory() -> int:
    """The peak resident set size of this process in bytes; 0 on Windows, which has no getrusage."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_of_tree(process: int) -> int | None:
    """The bytes of memory that a process and its descendants hold, shared pages counted once each; None without /proc.

    Pages that a fork shares with its parent are only told apart where it matters, since that takes the system longer:
    the proportional set size is read if the sum of the resident sets of several processes is large.
    """
    if not Path("/proc/self/statm").exists():
        return None
    members = [process, *descendants(process)]
    resident = [_resident(member) for member in members]
    if len(members) == 1 or sum(resident) < 2**28:
        return sum(resident)
    return sum(_proportional(member) or held for member, held in zip(members, resident, strict=True))


def descendants(process: int) -> list[int]:
    """The IDs of the children of a process, their children, and so on; empty without /proc."""
    below, todo = [], [process]
    while todo:
        for task in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            try:
                children = [int(child) for child in task.read_text(encoding="ascii").split()]
            except OSError:
                continue
            below += children
            todo += children
    return below


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _proportional(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def spare_memory() -> int | None:
    """The bytes of memory available to this process, within its container's limit; None if unknown (not Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    return None if free is None else min([free, *_left_in_cgroup()])


def _left_in_cgroup() -> list[int]:
    """The bytes left below the memory limit of the cgroup (v2, then v1); empty without a limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            texts = [(CGROUP / name).read_text(encoding="utf-8").strip() for name in (limit, used)]
        except OSError:
            continue
        return [int(texts[0]) - int(texts[1])] if texts[0].isdigit() else []
    return []


@contextmanager
def retained_heap() -> Iterator[bool]:
    """Stop malloc from returning memory to the system; yields whether it could be configured so (glibc only).

    By default glibc maps every block above 32 MB afresh and unmaps it on free, so each call pays a page fault per
    4 KB. In a scaling test that puts a step into the curve that no law has (measured on attention: an exponent of 3.2
    instead of 2.1). On exit blocks are mapped from 32 MB and up to 64 MB may stay free: the values at which glibc's
    dynamic thresholds settle in a process that uses large blocks.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if library is None or not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield False
        return
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(M_MMAP_MAX, 0)
    try:
        yield True
    finally:
        library.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        library.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
        library.mallopt(M_MMAP_MAX, 65536)
        library.malloc_trim(64 * 2**20)


@contextmanager
def no_gc() -> Iterator[None]:
    """Disable automatic garbage collection.

    Once torch is loaded, a collection takes tens of milliseconds. That is too long inside a measurement, and a waste of
    time while a trace is parsed into millions of objects without cycles.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
