"""How busy each device was, and what it waited for when it was not.

The device work of a trace enters; busy, idle and overlapping time, the gaps between work with what the host did
meanwhile, and what bounds the speed leave. All times are ns. Device and stream are -1 where the trace names none.
"""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, by_name
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index, picked
from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.intervals import crowded_ns, merged, overlap_ns, union_ns
from ttprof.trace.nesting import Nesting

LONGEST_GAPS = 5

COMMUNICATION = re.compile(
    r".*([nr]ccl|nvshmem|multimem|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|cross_device_reduce)",
    re.IGNORECASE,
)
"""Kernels that move data between devices: those of NCCL, RCCL and NVSHMEM, and those that are named so."""

Where = tuple[Int, Int]


class StreamUse(msgspec.Struct, frozen=True):
    """The work of one stream: ``time_ns`` is its sum, ``busy_ns`` its union."""

    stream: int
    count: int
    time_ns: int
    busy_ns: int


class Gap(msgspec.Struct, frozen=True):
    """A time in which nothing ran, between ``after`` and ``before``; ``start_ns`` counts from the first device work.

    ``launched_late`` says whether the host launched what came next only after the gap had begun; null without a
    launch. ``host`` is what the launching thread did meanwhile, by self time.
    """

    start_ns: int
    time_ns: int
    after: str
    before: str
    launched_late: bool | None
    host: list[Named]


class Idle(msgspec.Struct, frozen=True):
    """The gaps of a device, by their reason.

    ``waiting_for_launch_ns``: what came next was launched only after the gap had begun. ``launched_already_ns``: it
    was launched before, and waited for the device or for other work. ``unknown_ns``: it has no launch.
    """

    count: int
    time_ns: int
    waiting_for_launch_ns: int
    launched_already_ns: int
    unknown_ns: int
    longest: list[Gap]


class Bound(msgspec.Struct, frozen=True):
    """What a device spent its time on, as shares of its span, and the largest of them as a verdict."""

    verdict: str
    compute: float
    communication_alone: float
    copies_alone: float
    waiting_for_launch: float
    other_idle: float


class DeviceUse(msgspec.Struct, frozen=True):
    """One device, from the first to the last of its work. ``overlap_ns``: at least two pieces of work ran at once."""

    device: int
    span_ns: int
    busy_ns: int
    idle_ns: int
    overlap_ns: int
    streams: list[StreamUse]
    idle: Idle
    bound: Bound


class Communication(msgspec.Struct, frozen=True):
    """The kernels that communicate; ``alone_ns`` is the part of their union in which no other kernel ran."""

    count: int
    time_ns: int
    union_ns: int
    with_compute_ns: int
    alone_ns: int
    by_name: list[Named]


def use(owners: Attribution) -> list[DeviceUse]:
    """Each device that did work, by number."""
    trace, work = owners.trace, owners.trace.device_work
    launch = launch_index(work, trace)
    return [_device(owners, device, work, launch) for device in distinct(work.device)]


def communication(trace: Trace) -> Communication | None:
    """The communication of the trace; None without any. Compute is every other kernel of the same device."""
    collective = trace.named(trace.kernels, COMMUNICATION)
    if not collective.any():
        return None
    mine = trace.kernels.where(collective)
    total = together = 0
    for device in distinct(mine.device):
        there = trace.kernels.device == device
        theirs = _placed(trace.kernels, there & collective)
        total += union_ns(*theirs)
        together += overlap_ns(theirs, _placed(trace.kernels, there & ~collective))
    return Communication(len(mine), mine.time_ns, total, together, total - together, by_name(trace, mine))


def _device(owners: Attribution, device: int, all_work: Spans, launches: Int) -> DeviceUse:
    here = all_work.device == device
    work, launch = all_work.where(here), launches[here]
    span = int(work.end.max() - work.ts.min())
    busy = union_ns(work.ts, work.end)
    idle = _idle(owners, work, launch)
    return DeviceUse(
        device=device,
        span_ns=span,
        busy_ns=busy,
        idle_ns=span - busy,
        overlap_ns=crowded_ns(work.ts, work.end),
        streams=_streams(work),
        idle=idle,
        bound=_bound(owners.trace, device, span, busy, idle),
    )


def _streams(work: Spans) -> list[StreamUse]:
    found = []
    for stream in distinct(work.stream):
        mine = work.where(work.stream == stream)
        found.append(StreamUse(stream, len(mine), mine.time_ns, union_ns(mine.ts, mine.end)))
    return found


def _bound(trace: Trace, device: int, span: int, busy: int, idle: Idle) -> Bound:
    here = trace.kernels.device == device
    collective = trace.named(trace.kernels, COMMUNICATION)
    kernels = union_ns(*_placed(trace.kernels, here))
    compute = union_ns(*_placed(trace.kernels, here & ~collective))
    parts = {
        "compute-bound": compute,
        "communication-bound": kernels - compute,
        "memory-copy-bound": busy - kernels,
        "launch-bound": idle.waiting_for_launch_ns,
        "idle": span - busy - idle.waiting_for_launch_ns,
    }
    shares = [part / span if span else 0.0 for part in parts.values()]
    return Bound(max(parts, key=lambda name: parts[name]), *shares)


def _idle(owners: Attribution, work: Spans, launch: Int) -> Idle:
    """The gaps of one device; *launch* is the runtime call of each piece of *work*."""
    calls = owners.trace.runtime
    first, last = merged(work.ts, work.end)
    start, end = last[:-1], first[1:]
    order = np.argsort(work.ts, kind="stable")
    order = order[work.dur[order] > 0]
    after_gap = order[np.searchsorted(work.ts[order], end)]
    by = launch[after_gap]
    late = picked(calls.ts, by) > start
    length = end - start
    unknown = by == UNKNOWN
    longest = np.argsort(-length, kind="stable")[:LONGEST_GAPS]
    return Idle(
        count=len(length),
        time_ns=int(length.sum()),
        waiting_for_launch_ns=int(length[late & ~unknown].sum()),
        launched_already_ns=int(length[~late & ~unknown].sum()),
        unknown_ns=int(length[unknown].sum()),
        longest=[_gap(owners, work, launch, (int(start[i]), int(end[i])), int(after_gap[i])) for i in longest.tolist()],
    )


def _gap(owners: Attribution, work: Spans, launch: Int, gap: tuple[int, int], following: int) -> Gap:
    trace, (start, end) = owners.trace, gap
    before = int(np.flatnonzero(work.end == start)[0])
    call = int(launch[following])
    return Gap(
        start_ns=start - int(work.ts.min()),
        time_ns=end - start,
        after=trace.names[work.name[before]],
        before=trace.names[work.name[following]],
        launched_late=None if call == UNKNOWN else bool(trace.runtime.ts[call] > start),
        host=[] if call == UNKNOWN else _host_activity(trace, int(trace.runtime.thread[call]), start, end),
    )


def _host_activity(trace: Trace, thread: int, start: int, end: int) -> list[Named]:
    """What a thread did in a window, by self time within it, the longest first."""
    tables = (trace.ops, trace.runtime, trace.annotations, trace.python)
    mine = Spans.concat(t.where((t.thread == thread) & (t.ts < end) & (t.end > start)) for t in tables)
    from_, to = np.maximum(mine.ts, start), np.minimum(mine.end, end)
    inside = replace(mine, ts=from_, dur=to - from_)
    return [row for row in by_name(trace, inside, Nesting(inside).self_ns) if row.time_ns > 0]


def _placed(spans: Spans, rows: Mask) -> Where:
    return spans.ts[rows], spans.end[rows]
