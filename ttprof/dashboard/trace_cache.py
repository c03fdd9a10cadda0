"""Reads the traces of a dashboard: each once, a few at the same time, and keeps the last ones within a memory limit.

A trace that can't be read is remembered with its error, and its memory is given back to the system.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.trace.attribution import Attribution
from ttprof.trace.events import Columns, Trace
from ttprof.trace.formats import kineto

MOST_TRACES = 4
MOST_BYTES = 1 << 30
"""The last trace stays whatever its size; earlier ones stay while they are not too many and below this together."""

MOST_ERRORS = 64

AT_ONCE = 2
"""Traces that are read at the same time: reading holds several times the size of a file in memory."""

TraceVersion = tuple[Path, int, int, int]
"""A file and its state: inode, time of the last change in ns, and size."""


@dataclass
class _Slot:
    """The trace of one version of a file, or why it can't be read."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    attribution: Attribution | None = None
    error: tuple[str, TraceErrorCode] | None = None
    size: int = 0


class TraceCache:
    """The last traces that were read. Safe to use from several threads: only those that need one trace wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading = threading.BoundedSemaphore(AT_ONCE)
        self._slots: dict[TraceVersion, _Slot] = {}

    def read(self, path: Path, shown: str) -> Attribution:
        """Return the trace at *path*, as its file is now.

        Raises:
            TraceError: it can't be read; the message names it as *shown*.
        """
        try:
            state = path.stat()
        except OSError as error:
            raise TraceError.from_os(shown, error) from error
        version = path, state.st_ino, state.st_mtime_ns, state.st_size
        slot = self._slot(version)
        with slot.lock:
            if slot.attribution is None and slot.error is None:
                with self._reading:
                    _fill(slot, path)
        self._trim(version)
        if slot.attribution is not None:
            return slot.attribution
        reason, code = slot.error or ("it can't be read", TraceErrorCode.UNREADABLE)
        raise TraceError(reason, code, shown)

    def _slot(self, version: TraceVersion) -> _Slot:
        """The slot of a file, as the most recently used one; slots of its earlier versions are dropped."""
        with self._lock:
            slot = self._slots.pop(version, None) or _Slot()
            for other in [other for other in self._slots if other[0] == version[0]]:
                del self._slots[other]
            self._slots[version] = slot
            return slot

    def _trim(self, latest: TraceVersion) -> None:
        """Drop what was not used for longest: traces beyond the limits, and the oldest errors."""
        with self._lock:
            traces = [version for version, slot in self._slots.items() if slot.attribution is not None]
            total = sum(self._slots[version].size for version in traces)
            while traces and (len(traces) > MOST_TRACES or total > MOST_BYTES) and traces[0] != latest:
                total -= self._slots.pop(traces.pop(0)).size
            errors = [version for version, slot in self._slots.items() if slot.error is not None]
            for version in errors[:-MOST_ERRORS]:
                del self._slots[version]


def _fill(slot: _Slot, path: Path) -> None:
    """Read the trace into the slot, or the reason why that fails."""
    try:
        trace = kineto.read(path, processes=1)
        slot.size = _bytes_of(trace)
        slot.attribution = Attribution(trace)
    except TraceError as error:
        slot.error = error.reason, error.code
    except MemoryError:
        slot.error = "it does not fit in the memory of the server; ttprof analyze says more", TraceErrorCode.UNREADABLE
    if slot.error is not None:  # outside the handlers, whose exceptions hold what was read so far
        _release_memory()


def _bytes_of(trace: Trace) -> int:
    """The memory of the columns and names of a trace, in bytes; analyses add about as much again."""
    arrays = sum(array.nbytes for array in _arrays(trace))
    return arrays + sum(map(sys.getsizeof, trace.names))


def _arrays(value: Any) -> Iterator[np.ndarray]:
    for column in fields(value):
        part = getattr(value, column.name)
        if isinstance(part, Columns):
            yield from _arrays(part)
        elif isinstance(part, np.ndarray):
            yield part


def _release_memory() -> None:
    """Free what only cycles refer to, and give freed memory back to the system, which glibc does not do by itself."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
