"""Counts the instructions of calls with ``perf_event_open`` of Linux: in user space, of the calling thread only.

Threads that a call starts or uses are not counted, so the caller has torch run on one thread.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from ttprof.system.process import no_gc
from ttprof.trace.events import Int

SYSTEM_CALL = {"x86_64": 298, "aarch64": 241}
"""The number of ``perf_event_open`` by machine; linux/arch/*/…/unistd."""

_HARDWARE, _INSTRUCTIONS, _ATTR_SIZE, _CLOSE_ON_EXEC = 0, 1, 64, 8
_TIMES = 0b11  # read_format: also the time for which it was enabled, and for which it ran
_FLAGS = 1 << 0 | 1 << 5 | 1 << 6  # disabled at first; without the kernel, without the hypervisor
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403
_READING = struct.Struct("=QQQ")


class Counter(Protocol):
    """A counter of instructions."""

    def start(self) -> None:
        """Count from zero."""

    def stop(self) -> int | None:
        """The instructions since the start; None if the CPU did not count all the time."""


class PerfCounter:
    """The counter behind a file of ``perf_event_open``."""

    def __init__(self, file: int) -> None:
        import fcntl  # which Windows lacks

        self._file = file
        self._control = fcntl.ioctl

    def start(self) -> None:
        """Count from zero."""
        self._control(self._file, _RESET, 0)
        self._control(self._file, _ENABLE, 0)

    def stop(self) -> int | None:
        """The instructions since the start; None if the CPU did not count all the time."""
        self._control(self._file, _DISABLE, 0)
        count, enabled, ran = _READING.unpack(os.read(self._file, _READING.size))
        return int(count) if count and enabled == ran else None


@contextmanager
def perf_counter() -> Iterator[Counter | None]:
    """A counter of the calling thread; None where the system has none or does not allow it."""
    number = SYSTEM_CALL.get(platform.machine())
    if not sys.platform.startswith("linux") or number is None:
        yield None
        return
    attributes = struct.pack("=IIQQQQQIIQ", _HARDWARE, _ATTR_SIZE, _INSTRUCTIONS, 0, 0, _TIMES, _FLAGS, 0, 0, 0)
    file = ctypes.CDLL(None).syscall(number, attributes, 0, -1, -1, _CLOSE_ON_EXEC)
    if file < 0:
        yield None
        return
    try:
        yield PerfCounter(file)
    finally:
        os.close(file)


def count_instructions(call: Callable[[], Any], prepare: Callable[[], Any], times: int, counter: Counter) -> Int | None:
    """The instructions of each of *times* calls, *prepare* before each not counted; None if the CPU misses some."""
    counts = []
    with no_gc():
        for _ in range(times):
            prepare()
            counter.start()
            try:
                call()
            finally:
                counts.append(counter.stop())
    return None if None in counts else np.array(counts, dtype=np.int64)
