"""The steps of a recording by two definitions: the kernels they launched, and the kernels in their device window.

All times are ns.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np

from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN, Int, Mask
from ttprof.trace.intervals import merged
from ttprof.trace.iterations import Iterations
from ttprof.trace.nesting import Nesting

_OPTIMIZER = re.compile(r"Optimizer\.(step|zero_grad)|## optimizer ##|optimizer(_|\.)?step", re.IGNORECASE)
_DATA_LOADING = re.compile(
    r"enumerate\(.*(DataLoader|DataPipe)|.*(dataloader|data_loading|copy_batch_to_gpu)", re.IGNORECASE
)


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


class StepPhases(msgspec.Struct, frozen=True):
    """What a step did: the time of the kernels (``measured`` is ``"kernels"``) that it launched, by phase.

    ``communication_ns`` are kernels that move data between devices, whichever phase launched them. In a trace without
    kernels, it is the self time of the operators (``"ops"``). ``other_ns`` is launched outside of any operator.
    ``data_loading_ns`` is time of the host in a DataLoader, ``idle_ns`` that in which no device ran anything from the
    first to the last work of the step.
    """

    name: str
    measured: str
    forward_ns: int
    backward_ns: int
    optimizer_ns: int
    communication_ns: int
    other_ns: int
    data_loading_ns: int
    idle_ns: int


def phases(attribution: Attribution, iterations: Iterations, collective: Mask) -> list[StepPhases]:
    """The phases of each step; *collective* kernels communicate."""
    trace = attribution.trace
    if len(trace.kernels):
        op, moment = attribution.op_of_kernel, take(trace.runtime.ts, attribution.launch_of_kernel)
        thread = take(trace.runtime.thread, attribution.launch_of_kernel)
        step, time_ns, measured = iterations.of_kernels, trace.kernels.dur, "kernels"
    else:
        op, moment, thread = np.arange(len(trace.ops)), trace.ops.ts, trace.ops.thread
        step, time_ns, measured = iterations.of_moments(trace.ops.ts), attribution.ops.self_ns, "ops"
        collective = np.zeros(len(trace.ops), dtype=np.bool_)
    optimizer = Nesting(trace.annotations.where(trace.named(trace.annotations, _OPTIMIZER)))
    optimizing = optimizer.innermost(moment, thread) != UNKNOWN
    backward = take(attribution.backward_op, op) != UNKNOWN
    masks = {
        "communication_ns": collective,
        "optimizer_ns": optimizing & ~collective,
        "backward_ns": backward & ~optimizing & ~collective,
        "forward_ns": (op != UNKNOWN) & ~backward & ~optimizing & ~collective,
        "other_ns": (op == UNKNOWN) & ~optimizing & ~collective,
    }
    columns = {name: iterations.sums(np.where(mask, step, UNKNOWN), time_ns) for name, mask in masks.items()}
    columns["data_loading_ns"] = _data_loading(iterations)
    columns["idle_ns"] = _idle(iterations)
    return [
        StepPhases(name=name, measured=measured, **{key: int(column[i]) for key, column in columns.items()})
        for i, name in enumerate(iterations.names)
    ]


def _data_loading(iterations: Iterations) -> Int:
    """The host time of each step in a DataLoader, in ns; a loader may wrap another one."""
    trace = iterations.trace
    found = trace.named(trace.annotations, _DATA_LOADING)
    loading = trace.annotations.where(found)
    outermost = loading.where(Nesting(loading).parent == UNKNOWN) if len(loading) else loading
    return iterations.sums(iterations.of_moments(outermost.ts), outermost.dur)


def _idle(iterations: Iterations) -> Int:
    """The time of each step, from its first to its last work, in which no device ran anything, in ns."""
    work = iterations.trace.device_work
    begin, end = _extents(iterations)
    first, last = merged(work.ts, work.end)
    if not len(first):
        return np.zeros(len(iterations), dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(last - first)))

    def busy_until(moment: Int) -> Int:
        row = np.searchsorted(first, moment, side="right") - 1
        inside = np.minimum(moment, last[row]) - first[row]
        return np.where(row < 0, 0, before[row] + inside)

    idle: Int = np.where(end > begin, end - begin - (busy_until(end) - busy_until(begin)), 0)
    return idle


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
    first, last = _extents(iterations)
    spans: Int = np.where(last > first, last - first, 0)
    return spans


def _extents(iterations: Iterations) -> tuple[Int, Int]:
    """The begin and the end of the device work that each step launched; the end of one without is before its begin."""
    work = iterations.trace.device_work
    step = iterations.of_work(work)
    in_step = step != UNKNOWN
    first = np.full(len(iterations), np.iinfo(np.int64).max)
    last = np.full(len(iterations), np.iinfo(np.int64).min)
    np.minimum.at(first, step[in_step], work.ts[in_step])
    np.maximum.at(last, step[in_step], work.end[in_step])
    return first, last
