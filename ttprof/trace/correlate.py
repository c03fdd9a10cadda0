"""Joining rows of a trace by the ids that they state: device work to its launch, calls to ops.

Tables of a trace enter; row indices and counts leave. Work without a launch is reported, never guessed at.
"""

from __future__ import annotations

import re

import numpy as np

from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.groups import distinct

_CAPTURE = re.compile(r"(cuda|cu|hip)Stream(Begin|End)Capture")
_BEGIN_CAPTURE = re.compile(r"(cuda|cu|hip)StreamBeginCapture")


def row_with_id(wanted: Int, ids: Int) -> Int:
    """For each wanted id the first row of *ids* that has it, or -1; -1 is no id."""
    if not len(ids) or not len(wanted):
        return np.full(len(wanted), UNKNOWN, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    known = ids[order]
    slot = np.clip(np.searchsorted(known, wanted), 0, len(known) - 1)
    found = (known[slot] == wanted) & (wanted != UNKNOWN)
    return np.where(found, order[slot], UNKNOWN).astype(np.int64)


def launch_index(work: Spans, trace: Trace) -> Int:
    """For each event of *work* the runtime or driver call with its correlation id, or -1.

    A graph launch is the launch of all the kernels that carry its id. Every process has ids of its own, and device work
    does not say which process it is of: an id that calls of several processes have launches nothing.
    """
    found = row_with_id(work.correlation, trace.runtime.correlation)
    shared = _ids_of_several_processes(trace)
    return np.where(np.isin(work.correlation, shared), UNKNOWN, found) if len(shared) else found


def _ids_of_several_processes(trace: Trace) -> Int:
    numbers = {pid: i for i, pid in enumerate(dict.fromkeys(pid for pid, _ in trace.threads))}
    of_thread = np.array([numbers[pid] for pid, _ in trace.threads], dtype=np.int64)
    process = picked(of_thread, trace.runtime.thread)
    if len(distinct(process)) < 2:
        return np.zeros(0, dtype=np.int64)
    pairs = np.unique(np.stack((trace.runtime.correlation, process)), axis=1)
    ids, processes = np.unique(pairs[0], return_counts=True)
    return ids[processes > 1]


def lost_kernels(trace: Trace) -> int:
    """The number of kernel launches whose kernel the trace does not hold.

    A launch into a graph that is being captured starts nothing.
    """
    missing = trace.launches.where(without_work(trace.launches, trace.kernels))
    return int((~_captured(trace, missing)).sum())


def _captured(trace: Trace, calls: Spans) -> Mask:
    """Which calls lie between the begin and the end of a capture on their thread."""
    marks = trace.runtime.where(trace.named(trace.runtime, _CAPTURE))
    if not len(marks):
        return np.zeros(len(calls), dtype=np.bool_)
    begins = trace.named(marks, _BEGIN_CAPTURE)
    inside = np.zeros(len(calls), dtype=np.bool_)
    for thread in distinct(marks.thread):
        mine = np.flatnonzero(marks.thread == thread)
        mine = mine[np.argsort(marks.ts[mine], kind="stable")]
        here = calls.thread == thread
        last = np.searchsorted(marks.ts[mine], calls.ts[here], side="right") - 1
        inside[here] = (last >= 0) & begins[mine[last]]
    return inside


def without_work(calls: Spans, work: Spans) -> Mask:
    """Which calls have a correlation id that no *work* has."""
    found = row_with_id(calls.correlation, work.correlation)
    missing: Mask = (found == UNKNOWN) & (calls.correlation != UNKNOWN)
    return missing


def picked(values: Int, rows: Int) -> Int:
    """``values[rows]``, and -1 where the row is -1."""
    if not len(values):
        return np.full(len(rows), UNKNOWN, dtype=np.int64)
    return np.where(rows == UNKNOWN, UNKNOWN, values[rows]).astype(np.int64)
