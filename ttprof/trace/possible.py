"""Leaves out the records of a trace that can't be true, and counts them: a profiler writes some now and then.

One corrupt duration would be most of the kernel time, the span and the critical path of a whole file. Records are
tested by what the trace states itself, never by how common a value is:

- nothing ends before it starts, and device work takes some time (but for traces in whole microseconds);
- nothing lies far outside the recording: further before or after it than it lasts, and than ``MARGIN_NS``;
- no kernel or copy starts before the call that launched it, by more than ``EARLY_NS``, or ``DRIFT_NS`` where many do;
- work of one stream runs one after the other: it may last beyond the next start by ``OVERLAP_NS``, or by half of the
  shorter of the two. CUDA lets a kernel begin before the one before it ends (programmatic dependent launch): in the
  recorded traces by up to 12.4 µs, and by 29 % of the shorter one where it is more than 4 µs.

Of records that contradict each other, the most that can be true together are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ttprof.codes import Flaw, Note, NoteCode
from ttprof.trace.correlate import launch_index, take
from ttprof.trace.events import UNKNOWN, UNREADABLE_NS, Columns, Int, LeftOut, Mask, Spans, Trace
from ttprof.units import format_ns

EARLY_NS = 10_000
"""The clocks of host and device are aligned to some microseconds; in the recorded traces no kernel starts early."""

DRIFT_NS = 1_000_000
DRIFT_SHARE, DRIFT_COUNT = 0.05, 2
"""Work that starts early by less than DRIFT_NS may do so because the clocks drift, unless it is so little of it."""

OVERLAP_NS = 50_000
OVERLAP_SHARE = 0.5

MARGIN_NS = 1_000_000_000
UNSTATED_MARGIN_NS = 24 * 3600 * 1_000_000_000
"""The margin around a recording whose begin and end no record states, so that they are guessed from its work."""

WORK = ("kernels", "memcpy", "memset")
HOST = ("runtime", "ops", "annotations", "python", "overhead")
TABLES = (*WORK, *HOST, "device_annotations", "sessions")

_BESIDE = {
    "kernels": "kernel_details",
    "memcpy": "copied_bytes",
    "ops": "op_details",
    "annotations": "cut_annotations",
}
"""The columns beside a table, which have the same rows."""

_MICROSECOND = 1000


def possible(trace: Trace) -> Trace:
    """The trace without the records that can't be true; ``left_out`` says which."""
    for table in TABLES:
        trace = _without(trace, table, getattr(trace, table).dur == UNREADABLE_NS, Flaw.UNREADABLE)
        trace = _without(trace, table, getattr(trace, table).dur < 0, Flaw.NEGATIVE)
    trace = _inside(trace)
    if not _in_whole_microseconds(trace):
        for table in WORK:
            trace = _without(trace, table, getattr(trace, table).dur == 0, Flaw.NO_DURATION)
    trace = _after_their_launch(trace)
    return _one_after_the_other(trace)


def _without(trace: Trace, table: str, bad: Mask, flaw: Flaw) -> Trace:
    """The trace without some rows of a table, which are counted."""
    if not bad.any():
        return trace
    spans: Spans = getattr(trace, table)
    lost = spans.where(bad)
    longest = int(np.argmax(lost.dur))
    note = LeftOut(
        flaw=flaw,
        table=table,
        count=len(lost),
        of=len(spans) + sum(other.count for other in trace.left_out if other.table == table),
        time_ns=int(np.maximum(lost.dur, 0).sum()),
        example=trace.names[lost.name[longest]],
    )
    kept: dict[str, Any] = {table: spans.where(~bad)}
    if table in _BESIDE:
        beside = getattr(trace, _BESIDE[table])
        kept[_BESIDE[table]] = beside.where(~bad) if isinstance(beside, Columns) else beside[~bad]
    ids = np.concatenate((trace.left_out_ids, lost.correlation)) if table in WORK else trace.left_out_ids
    return replace(trace, left_out=(*trace.left_out, note), left_out_ids=ids, **kept)


def _inside(trace: Trace) -> Trace:
    """Without what lies far outside the recording."""
    recording = _recording(trace)
    if recording is None:
        return trace
    first, last = recording
    for table in TABLES:
        spans: Spans = getattr(trace, table)
        trace = _without(trace, table, (spans.end < first) | (spans.ts > last), Flaw.OUTSIDE)
    return trace


def _recording(trace: Trace) -> tuple[int, int] | None:
    """The time in which records may lie; None if nothing tells."""
    rows = [getattr(trace, table) for table in (*WORK, *HOST)]
    moments = np.concatenate([spans.ts for spans in rows])
    if not len(moments):
        return None
    if len(trace.sessions):
        first, last = int(trace.sessions.ts.min()), int(trace.sessions.end.max())
        margin = max(MARGIN_NS, last - first)
        inside = (moments >= first - margin) & (moments <= last + margin)
        if 2 * int(inside.sum()) > len(moments):  # else the session itself is what can't be true
            return first - margin, last + margin
    moments = moments[moments != trace.base_ns] if (moments != trace.base_ns).any() else moments  # a time of 0 is none
    middle = int(np.median(moments))
    margin = max(UNSTATED_MARGIN_NS, 100 * int(np.median(np.abs(moments - middle))))
    return middle - margin, middle + margin


def _in_whole_microseconds(trace: Trace) -> bool:
    """Whether all device work has times in whole microseconds, so that what took less takes 0."""
    work = trace.device_work
    return not ((work.ts - trace.base_ns) % _MICROSECOND).any() and not (work.dur % _MICROSECOND).any()


def _after_their_launch(trace: Trace) -> Trace:
    """Without the work that starts before its own launch, unless so much of it does that the clocks differ."""
    calls = trace.runtime
    lead, launched = {}, 0
    for table in WORK:
        work: Spans = getattr(trace, table)
        launch = launch_index(work, trace)
        known = launch != UNKNOWN
        launched += int(known.sum())
        lead[table] = np.where(known, take(calls.ts, launch) - work.ts, 0)
    early = sum(int((ns > EARLY_NS).sum()) for ns in lead.values())
    if 2 * early > launched:
        return _with_unlike_clocks(trace, early, launched)
    drifting = early > max(DRIFT_COUNT, DRIFT_SHARE * launched)
    for table, ns in lead.items():
        trace = _without(trace, table, ns > (DRIFT_NS if drifting else EARLY_NS), Flaw.BEFORE_LAUNCH)
    near = sum(int(((ns > EARLY_NS) & (ns <= DRIFT_NS)).sum()) for ns in lead.values())
    return _with_unlike_clocks(trace, near, launched) if drifting and near else trace


def _with_unlike_clocks(trace: Trace, count: int, launched: int) -> Trace:
    text = (
        f"{count} of {launched} kernels and copies start before their own launch: the clocks of host and device "
        "differ, so launch delays, queue depths and the causes of gaps are wrong"
    )
    return replace(trace, notes=(*trace.notes, Note(NoteCode.CLOCKS_DIFFER, text)))


def _one_after_the_other(trace: Trace) -> Trace:
    """Without the work that overlaps other work of its stream by more than hardware lets it."""
    work = trace.device_work
    bad = np.zeros(len(work), dtype=np.bool_)
    for rows in _streams(work):
        reach = np.maximum.accumulate(work.end[rows])
        if (reach[:-1] - work.ts[rows[1:]] > OVERLAP_NS).any():
            bad[_contradicting(work, rows)] = True
    first = 0
    for table in WORK:
        last = first + len(getattr(trace, table))
        trace = _without(trace, table, bad[first:last], Flaw.OVERRUN)
        first = last
    return trace


def _streams(work: Spans) -> Iterator[Int]:
    """The rows of each stream that is known, by start."""
    order = np.lexsort((work.end, work.ts, work.stream, work.device))
    order = order[work.stream[order] >= 0]
    unlike = (np.diff(work.stream[order]) != 0) | (np.diff(work.device[order]) != 0)
    yield from np.split(order, np.flatnonzero(unlike) + 1)


def _contradicting(work: Spans, rows: Int) -> list[int]:
    """The rows of a stream, by start, that can't be true beside the most others.

    From the last start on, each is kept unless it lasts beyond one that was kept: that keeps as many as possible
    (interval scheduling), and of two the one that starts later. The branches of one CUDA graph, which have the id of
    its launch, run side by side.
    """
    bad = []
    columns = (work.ts, work.dur, work.end, work.correlation)
    starts, durations, ends, ids = (column[rows].tolist() for column in columns)
    most = np.iinfo(np.int64).max
    next_id, next_start, next_length = UNKNOWN, most, 0  # of the launch that was kept last
    other_start, other_length = most, 0  # of the launches kept before it
    for i in reversed(range(len(rows))):
        same = ids[i] > 0 and ids[i] == next_id
        start, length = (other_start, other_length) if same else (next_start, next_length)
        allowed = max(OVERLAP_NS, int(OVERLAP_SHARE * min(durations[i], length)))
        if ends[i] - start > allowed:
            bad.append(int(rows[i]))
            continue
        if not same:
            other_start, other_length = next_start, next_length
        next_id, next_start, next_length = ids[i], starts[i], durations[i]
    return bad


def text_of(left_out: LeftOut, trace: Trace) -> str:
    """A sentence on records that were left out, and what they would have changed."""
    one = left_out.count == 1
    what = NOUNS[left_out.table]
    why = _WHY[left_out.flaw][0 if one else 1]
    text = f"{left_out.count} of {left_out.of} {what} left out: {'it' if one else 'they'} {why}"
    stated = f", {format_ns(left_out.time_ns)}{'' if one else ' in all'}" if left_out.time_ns else ""
    text += f" ({left_out.example or '(no name)'}{stated})"
    if left_out.table in WORK and left_out.time_ns:
        kept_ns = getattr(trace, left_out.table).time_ns
        share = left_out.time_ns / (left_out.time_ns + kept_ns)
        text += f", {100 * share:.4g} % of the time that the {what} state; without {'it' if one else 'them'}, "
        text += f"{format_ns(kept_ns)} remain"
    return text


NOUNS = {
    "kernels": "kernels",
    "memcpy": "copies",
    "memset": "memsets",
    "runtime": "runtime calls",
    "ops": "operators",
    "annotations": "annotations",
    "device_annotations": "annotations on the device",
    "python": "Python calls",
    "sessions": "profiler sessions",
    "overhead": "records of overhead",
    "memory": "memory events",
    "links": "arrows",
}

_WHY = {
    Flaw.UNREADABLE: ("has a value that can't be read", "have values that can't be read"),
    Flaw.NEGATIVE: ("ends before it starts", "end before they start"),
    Flaw.NO_DURATION: ("took no time", "took no time"),
    Flaw.OUTSIDE: ("lies far outside the recording", "lie far outside the recording"),
    Flaw.BEFORE_LAUNCH: ("starts before its own launch", "start before their own launch"),
    Flaw.OVERRUN: ("lasts beyond the next start on its stream", "last beyond the next start on their stream"),
}
