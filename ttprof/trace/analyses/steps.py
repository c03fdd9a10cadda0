"""The steps of a recording by both definitions: by what they launched, and by what ran in their window on the device.

Iterations of a trace enter; a row for each leaves. All times are ns.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.iterations import Iterations


class Step(msgspec.Struct, frozen=True):
    """A profiler step: its host time, and the kernels that were launched inside it."""

    name: str
    time_ns: int
    kernel_count: int
    kernel_time_ns: int


class StepWindow(msgspec.Struct, frozen=True):
    """A profiler step on the device.

    ``device_span_ns`` is the time from the first to the last work that it launched. ``time_ns`` is its window, and
    ``kernel_count`` and ``kernel_time_ns`` are of the kernels that began inside that, whoever launched them; ``stated``
    says whether the trace states the window, else it is the host's.
    """

    name: str
    device_span_ns: int
    time_ns: int
    stated: bool
    kernel_count: int
    kernel_time_ns: int


def by_launch(found: Iterations) -> list[Step]:
    """The steps by what they launched."""
    counts = found.counts(found.of_kernels)
    times = found.sums(found.of_kernels, found.trace.kernels.dur)
    columns = (found.windows.dur, counts, times)
    return [Step(name, *(int(column[i]) for column in columns)) for i, name in enumerate(found.names)]


def by_window(found: Iterations) -> list[StepWindow]:
    """The steps by what ran in their window on the device."""
    spans = _device_spans(found)
    windows, stated = found.device_windows()
    kernels = found.trace.kernels
    order = np.argsort(kernels.ts, kind="stable")
    first, last = (np.searchsorted(kernels.ts[order], moment) for moment in (windows.ts, windows.end))
    so_far = np.concatenate(([0], np.cumsum(kernels.dur[order])))
    counts, times = last - first, so_far[last] - so_far[first]
    return [
        StepWindow(name, int(spans[i]), int(windows.dur[i]), bool(stated[i]), int(counts[i]), int(times[i]))
        for i, name in enumerate(found.names)
    ]


def _device_spans(found: Iterations) -> Int:
    """For each step the time from the first to the last device work that it launched."""
    work = found.trace.device_work
    step = found.of_work(work)
    known = step != UNKNOWN
    first = np.full(len(found), np.iinfo(np.int64).max)
    last = np.full(len(found), np.iinfo(np.int64).min)
    np.minimum.at(first, step[known], work.ts[known])
    np.maximum.at(last, step[known], work.end[known])
    spans: Int = np.where(last > first, last - first, 0)
    return spans
