"""Joins the rows of a trace by their ids: device work to its launch, calls to ops.

Work without a launch gets -1; a launch is never guessed.
"""

from __future__ import annotations

import re

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.groups import distinct

_CAPTURE = re.compile(r"(cuda|cu|hip)Stream(Begin|End)Capture")
_BEGIN_CAPTURE = re.compile(r"(cuda|cu|hip)StreamBeginCapture")


def row_with_id(wanted: Int, ids: Int) -> Int:
    """For each id in *wanted*, the first row of *ids* with that id, or -1; the id -1 matches nothing."""
    if not len(ids) or not len(wanted):
        return np.full(len(wanted), UNKNOWN, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    slot = np.clip(np.searchsorted(in_order, wanted), 0, len(ids) - 1)
    is_match = (in_order[slot] == wanted) & (wanted != UNKNOWN)
    return np.where(is_match, order[slot], UNKNOWN).astype(np.int64)


def launch_index(work: Spans, trace: Trace) -> Int:
    """For each event of *work*, the row of the runtime or driver call with its correlation id, or -1.

    A graph launch is the launch of every kernel with its id. Ids are counted per process, and device work does not
    state its process, so an id that several processes use identifies no launch.
    """
    launch = row_with_id(work.correlation, trace.runtime.correlation)
    return np.where(ambiguous(work, trace), UNKNOWN, launch)


def ambiguous(work: Spans, trace: Trace) -> Mask:
    """Mask of the events of *work* whose correlation id calls of several processes have."""
    shared = _ids_of_several_processes(trace)
    return np.isin(work.correlation, shared) if len(shared) else np.zeros(len(work), dtype=np.bool_)


def _ids_of_several_processes(trace: Trace) -> Int:
    numbers = {pid: i for i, pid in enumerate(dict.fromkeys(pid for pid, _ in trace.threads))}
    of_thread = np.array([numbers[pid] for pid, _ in trace.threads], dtype=np.int64)
    process = take(of_thread, trace.runtime.thread)
    if len(distinct(process)) < 2:
        return np.zeros(0, dtype=np.int64)
    pairs = np.unique(np.stack((trace.runtime.correlation, process)), axis=1)
    ids, processes = np.unique(pairs[0], return_counts=True)
    return ids[processes > 1]


def lost_kernels(trace: Trace) -> int:
    """Count the kernel launches whose kernel is missing from the trace.

    Launches into a graph that is being captured don't count: they run nothing.
    """
    missing = trace.launches.where(without_work(trace.launches, trace.kernels))
    missing = missing.where(~np.isin(missing.correlation, trace.left_out_ids))
    return int((~_captured(trace, missing)).sum())


def _captured(trace: Trace, calls: Spans) -> Mask:
    """Mask of the calls between the begin and the end of a stream capture on their thread."""
    marks = trace.runtime.where(trace.named(trace.runtime, _CAPTURE))
    if not len(marks):
        return np.zeros(len(calls), dtype=np.bool_)
    begins = trace.named(marks, _BEGIN_CAPTURE)
    inside = np.zeros(len(calls), dtype=np.bool_)
    for thread in distinct(marks.thread):
        on_this_thread = np.flatnonzero(marks.thread == thread)
        on_this_thread = on_this_thread[np.argsort(marks.ts[on_this_thread], kind="stable")]
        on_thread = calls.thread == thread
        last = np.searchsorted(marks.ts[on_this_thread], calls.ts[on_thread], side="right") - 1
        inside[on_thread] = (last >= 0) & begins[on_this_thread[last]]
    return inside


def without_work(calls: Spans, work: Spans) -> Mask:
    """Mask of the calls with a correlation id that no row of *work* has."""
    row = row_with_id(calls.correlation, work.correlation)
    missing: Mask = (row == UNKNOWN) & (calls.correlation != UNKNOWN)
    return missing


def take(values: Int, rows: Int) -> Int:
    """``values[rows]``, but -1 for a row of -1."""
    if not len(values):
        return np.full(len(rows), UNKNOWN, dtype=np.int64)
    return np.where(rows == UNKNOWN, UNKNOWN, values[rows]).astype(np.int64)
