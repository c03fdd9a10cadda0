"""Ranges by name: kernel time launched inside, and the time of the ranges.

These are the NVTX ranges of Nsight Systems, and the annotations of torch.profiler (``record_function``). A kernel
belongs to every range that was open on the launching thread when its launch began, as in the NVTX kernel summary of
``nsys stats``; ranges may cross each other. All times are ns.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, by_name
from ttprof.trace.attribution import Attribution
from ttprof.trace.events import UNKNOWN, Int, Mask, Spans
from ttprof.trace.groups import sums
from ttprof.trace.iterations import ITERATION, MODULE
from ttprof.trace.nesting import Line, Nesting
from ttprof.trace.step_names import STEP

_SHOWN_ELSEWHERE = re.compile(f"{STEP.pattern}|{re.escape(ITERATION)}|{re.escape(MODULE)}")


class Ranges(msgspec.Struct, frozen=True):
    """Ranges by name: the kernels launched inside (count and ns), and the ranges themselves (on the host).

    ``kernels_in_no_range`` is the count and time of the kernels launched outside any range, or without a launch.
    """

    ranges: int
    kernels_in_no_range: tuple[int, int]
    kernel_time_by_range: list[Named]
    time_by_range: list[Named]


def nvtx_ranges(attribution: Attribution) -> Ranges | None:
    """The NVTX ranges of a trace; None for a format without NVTX."""
    trace = attribution.trace
    return _ranges(attribution, trace.annotations) if trace.format == "nsys" else None


def annotated(attribution: Attribution) -> Ranges | None:
    """The annotations of a trace, but for steps, iterations and modules; None without any, and for other formats.

    One inside another one of its own name is part of that, and counts nowhere else. The annotations that the profiler
    repeats on the device are not counted.
    """
    trace = attribution.trace
    spans = trace.annotations.where(~trace.named(trace.annotations, _SHOWN_ELSEWHERE))
    if trace.format == "nsys" or not len(spans):
        return None
    return _ranges(attribution, spans.where(~_inside_of_its_name(spans)))


def _inside_of_its_name(spans: Spans) -> Mask:
    """Mask of the spans inside a span of the same name on their thread."""
    parent = Nesting(spans).parent
    inside = np.zeros(len(spans), dtype=np.bool_)
    ancestor = parent
    while (rows := np.flatnonzero(ancestor != UNKNOWN)).size:
        inside[rows] |= spans.name[ancestor[rows]] == spans.name[rows]
        ancestor = np.where(ancestor == UNKNOWN, UNKNOWN, parent[ancestor])
    return inside


def _ranges(attribution: Attribution, spans: Spans) -> Ranges:
    trace = attribution.trace
    dur, first, last = _launched_within(attribution, spans)
    so_far = np.concatenate(([0], np.cumsum(dur)))
    counts = sums(spans.name, last - first, len(trace.names))
    times = sums(spans.name, so_far[last] - so_far[first], len(trace.names))
    rows = [Named(trace.names[i], int(counts[i]), int(times[i])) for i in np.flatnonzero(counts).tolist()]
    open_ranges = np.cumsum(np.bincount(first, minlength=len(dur) + 1) - np.bincount(last, minlength=len(dur) + 1))
    in_range = open_ranges[:-1] > 0
    outside = len(trace.kernels) - int(in_range.sum()), trace.kernels.time_ns - int(dur[in_range].sum())
    return Ranges(
        ranges=len(spans),
        kernels_in_no_range=outside,
        kernel_time_by_range=sorted(rows, key=lambda row: (-row.time_ns, row.name)),
        time_by_range=by_name(trace, spans),
    )


def _launched_within(attribution: Attribution, spans: Spans) -> tuple[Int, Int, Int]:
    """The kernel durations by thread and time of launch, and the slice (first, last) of them in each range."""
    trace = attribution.trace
    launch = attribution.launch_of_kernel
    rows = np.flatnonzero(launch != UNKNOWN)
    calls = trace.runtime.where(launch[rows])
    line = Line(Spans.concat((spans, trace.runtime)))
    moment = line.place(calls.ts, calls.thread)
    order = np.argsort(moment, kind="stable")
    first, last = (np.searchsorted(moment[order], line.place(edge, spans.thread)) for edge in (spans.ts, spans.end))
    return trace.kernels.dur[rows[order]], first, np.maximum(first, last)
