"""The steps of a recording by two definitions: the kernels they launched, and the kernels in their device window.

All times are ns.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.iterations import Iterations


class Step(msgspec.Struct, frozen=True):
    """A profiler step: its host time, and the kernels launched inside it."""

    name: str
    time_ns: int
    kernel_count: int
    kernel_time_ns: int


class StepWindow(msgspec.Struct, frozen=True):
    """A profiler step on the device.

    ``device_span_ns`` is the time from the first to the last work that it launched. ``time_ns`` is the length of its
    window, and ``kernel_count`` and ``kernel_time_ns`` are of the kernels that began in the window, whichever step
    launched them. If ``stated`` is false, the trace has no device window, and the host's is used.
    """

    name: str
    device_span_ns: int
    time_ns: int
    stated: bool
    kernel_count: int
    kernel_time_ns: int


def by_launch(iterations: Iterations) -> list[Step]:
    """The steps with the kernels they launched."""
    counts = iterations.counts(iterations.of_kernels)
    times = iterations.sums(iterations.of_kernels, iterations.trace.kernels.dur)
    columns = (iterations.windows.dur, counts, times)
    return [Step(name, *(int(column[i]) for column in columns)) for i, name in enumerate(iterations.names)]


def by_window(iterations: Iterations) -> list[StepWindow]:
    """The steps with the kernels that began in their device window."""
    spans = _device_spans(iterations)
    windows, stated = iterations.device_windows()
    kernels = iterations.trace.kernels
    order = np.argsort(kernels.ts, kind="stable")
    first, last = (np.searchsorted(kernels.ts[order], moment) for moment in (windows.ts, windows.end))
    so_far = np.concatenate(([0], np.cumsum(kernels.dur[order])))
    counts, times = last - first, so_far[last] - so_far[first]
    return [
        StepWindow(name, int(spans[i]), int(windows.dur[i]), bool(stated[i]), int(counts[i]), int(times[i]))
        for i, name in enumerate(iterations.names)
    ]


def _device_spans(iterations: Iterations) -> Int:
    """For each step, the time from the first to the last device work that it launched, in ns."""
    work = iterations.trace.device_work
    step = iterations.of_work(work)
    in_step = step != UNKNOWN
    first = np.full(len(iterations), np.iinfo(np.int64).max)
    last = np.full(len(iterations), np.iinfo(np.int64).min)
    np.minimum.at(first, step[in_step], work.ts[in_step])
    np.maximum.at(last, step[in_step], work.end[in_step])
    spans: Int = np.where(last > first, last - first, 0)
    return spans
