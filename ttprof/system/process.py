"""The process: its cores, its memory, and settings that are changed inside a context manager. No torch."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of malloc.h

CONTROL_GROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores that this process may use; all of the machine where the system does not say (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_in_use() -> int:
    """The most bytes of memory that this process ever had; 0 where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def spare_memory() -> int | None:
    """The bytes of memory that are free or can be freed, within the limit of the container; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    return None if free is None else min([free, *_container_room()])


def _container_room() -> list[int]:
    """What the limit of the control group leaves, where there is one (version 2, then version 1)."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            texts = [(CONTROL_GROUP / name).read_text(encoding="utf-8").strip() for name in (limit, used)]
        except OSError:
            continue
        return [int(texts[0]) - int(texts[1])] if texts[0].isdigit() else []
    return []


@contextmanager
def kept_heap() -> Iterator[bool]:
    """Inside, the C library's allocator gives no memory back to the system; yields whether it can be told so (glibc).

    Above 32 MB glibc maps every block anew and unmaps it when it is freed, so that each call pays for a page fault
    every 4 KB. In a scaling that is a step, which no law has (measured on attention: 3.2 in place of 2.1).
    Afterwards blocks are mapped from 32 MB on and 64 MB may stay free, which is where glibc's own limits end up in a
    process that uses large blocks.
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
    """Inside, the garbage collector does not run by itself.

    A collection takes tens of milliseconds once torch is loaded: too long inside a measurement, and for nothing
    where millions of objects are made that form no cycles.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
