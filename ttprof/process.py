"""Settings of the whole process, changed inside a context manager and restored after it. No torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
