"""The process: how many cores it may use, and settings that are changed inside a context manager. No torch."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> int:
    """The cores that this process may use; all of the machine where the system does not say (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
