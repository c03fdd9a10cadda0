"""Checks whether a trace is complete, as far as the trace itself can tell.

Missing records are counted and named; they are never corrected or guessed.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np

from ttprof.codes import Note, NoteCode
from ttprof.trace.correlate import ambiguous, launch_index, lost_kernels, without_work
from ttprof.trace.events import UNKNOWN, LeftOut, Mask, Trace, UnknownRows
from ttprof.trace.iterations import Iterations
from ttprof.trace.possible import text_of

_GRAPH_LAUNCH = re.compile(r"(cuda|cu|hip)GraphLaunch")


class Integrity(msgspec.Struct, frozen=True):
    """The records missing from a trace. ``complete`` is false if there are any ``reasons``.

    ``dropped`` are the profiler's own messages about records that it dropped. Kernels without a launch don't make a
    trace incomplete: they were launched before recording began, or the record of the call is lost. Their time is
    certain, but not their step. ``kernels_with_ambiguous_launch`` of them have an id that calls of several processes
    have, so that their launch is in the file, but not known. ``left_out`` are records that can't be true, ``unknown``
    are rows of categories that ttprof does not know; neither are in any other number. ``overhead_ns`` is the
    profiler's own time while it recorded. ``notes`` are those of the trace.
    """

    complete: bool
    reasons: list[Note]
    launches_without_kernel: int
    graph_launches_without_work: int
    steps_cut: list[str]
    dropped: list[str]
    lost: str | None
    left_out: list[LeftOut]
    unknown: list[UnknownRows]
    kernels_without_launch: int
    kernels_with_ambiguous_launch: int
    overhead_ns: int
    notes: list[Note]


def check(trace: Trace, iterations: Iterations) -> Integrity:
    """Check *trace*, whose steps are *iterations*."""
    lost = lost_kernels(trace)
    graphs = _empty_graph_launches(trace)
    cut = [name for name, is_cut in zip(iterations.names, _cut(iterations), strict=True) if is_cut]
    reasons = [Note(NoteCode.RECORDS_LEFT_OUT, text_of(left_out, trace)) for left_out in trace.left_out]
    if lost:
        text = f"{lost} of {len(trace.launches)} kernel launches have no kernel"
        reasons.append(Note(NoteCode.LAUNCHES_WITHOUT_KERNEL, text))
    if graphs:
        text = f"{graphs} CUDA graph launches have no device work"
        reasons.append(Note(NoteCode.GRAPH_LAUNCHES_WITHOUT_WORK, text))
    if cut:
        reasons.append(Note(NoteCode.STEPS_CUT, f"recording began or ended within {', '.join(cut)}"))
    reasons += [Note(NoteCode.RECORDS_DROPPED, f"the profiler reported: {line}") for line in trace.dropped]
    if trace.lost is not None:
        reasons.append(Note(NoteCode.PARTLY_UNREADABLE, f"the file is damaged: {trace.lost}"))
    return Integrity(
        complete=not reasons,
        reasons=reasons,
        launches_without_kernel=lost,
        graph_launches_without_work=graphs,
        steps_cut=cut,
        dropped=list(trace.dropped),
        lost=trace.lost,
        left_out=list(trace.left_out),
        unknown=list(trace.unknown),
        kernels_without_launch=int((launch_index(trace.kernels, trace) == UNKNOWN).sum()),
        kernels_with_ambiguous_launch=int(ambiguous(trace.kernels, trace).sum()),
        overhead_ns=trace.overhead.time_ns,
        notes=list(trace.notes),
    )


def _empty_graph_launches(trace: Trace) -> int:
    calls = trace.runtime.where(trace.named(trace.runtime, _GRAPH_LAUNCH))
    empty = calls.where(without_work(calls, trace.device_work))
    return int((~np.isin(empty.correlation, trace.left_out_ids)).sum())


def _cut(iterations: Iterations) -> Mask:
    """Mask of the iterations that were cut off: marked as unfinished, or extending beyond the profiler's session."""
    trace, windows = iterations.trace, iterations.windows
    cut = np.isin(windows.name, trace.annotations.name[trace.cut_annotations])
    if len(trace.sessions):
        cut |= (windows.ts < trace.sessions.ts.min()) | (windows.end > trace.sessions.end.max())
    return cut
