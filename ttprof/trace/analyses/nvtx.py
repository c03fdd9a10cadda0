"""What the NVTX ranges of a recording hold: kernel time by the name of a range, and the time of the ranges themselves.

A trace of Nsight Systems enters; sums by name leave. A kernel belongs to every range that was open on the launching
thread when its launch began, as in the NVTX kernel summary of ``nsys stats``; ranges may cross each other.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, by_name
from ttprof.trace.attribution import Attribution
from ttprof.trace.events import UNKNOWN, Int, Spans
from ttprof.trace.groups import sums
from ttprof.trace.nesting import Line


class Ranges(msgspec.Struct, frozen=True):
    """The NVTX ranges, by name: the kernels launched inside (count and ns), and the ranges themselves (on the host).

    ``kernels_in_no_range`` is the count and the time of the kernels that no range holds or whose launch is not there.
    """

    ranges: int
    kernels_in_no_range: tuple[int, int]
    kernel_time_by_range: list[Named]
    time_by_range: list[Named]


def ranges(owners: Attribution) -> Ranges | None:
    """The ranges of a trace; None for one that no NVTX range can be in."""
    trace, spans = owners.trace, owners.trace.annotations
    if trace.format != "nsys":
        return None
    dur, first, last = _launched_within(owners)
    so_far = np.concatenate(([0], np.cumsum(dur)))
    counts = sums(spans.name, last - first, len(trace.names))
    times = sums(spans.name, so_far[last] - so_far[first], len(trace.names))
    named = [Named(trace.names[i], int(counts[i]), int(times[i])) for i in np.flatnonzero(counts).tolist()]
    open_ranges = np.cumsum(np.bincount(first, minlength=len(dur) + 1) - np.bincount(last, minlength=len(dur) + 1))
    held = open_ranges[:-1] > 0
    return Ranges(
        ranges=len(spans),
        kernels_in_no_range=(len(trace.kernels) - int(held.sum()), trace.kernels.time_ns - int(dur[held].sum())),
        kernel_time_by_range=sorted(named, key=lambda row: (-row.time_ns, row.name)),
        time_by_range=by_name(trace, spans),
    )


def _launched_within(owners: Attribution) -> tuple[Int, Int, Int]:
    """The durations of the kernels in the order of their launches, thread by thread, and the slice of each range."""
    trace, spans = owners.trace, owners.trace.annotations
    launch = owners.launch_of_kernel
    known = np.flatnonzero(launch != UNKNOWN)
    calls = trace.runtime.where(launch[known])
    line = Line(Spans.concat((spans, trace.runtime)))
    moment = line.place(calls.ts, calls.thread)
    order = np.argsort(moment, kind="stable")
    first, last = (np.searchsorted(moment[order], line.place(at, spans.thread)) for at in (spans.ts, spans.end))
    return trace.kernels.dur[known[order]], first, np.maximum(first, last)
