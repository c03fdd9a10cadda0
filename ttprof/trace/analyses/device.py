"""How busy each device was: busy, idle and overlapping time, gaps with the host's work during them, and its bound.

All times are ns. Device and stream are -1 if the trace does not name them.
"""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import Named, by_name
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index, take
from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.intervals import concurrent_ns, merged, overlap_ns, union_ns
from ttprof.trace.nesting import Nesting

LONGEST_GAPS = 5

MIN_WORK_NS = 10_000
"""The least work of a device that is judged: a few kernels say nothing of a program."""

COMMUNICATION = re.compile(
    r".*([nrxo]ccl|hccl|nvshmem|rocshmem|multimem|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|"
    r"cross_device_reduce|deep_?ep|dpsk::ep|\bep::|internode|intranode|one_?shot_|two_?shot_|send_?recv|"
    r"(dispatch|combine)_?(kernel|tokens|low_latency)?.*\b(ep|expert)|symm_?mem|p2p_?(send|recv|copy)|userbuffers)",
    re.IGNORECASE,
)
"""Names of kernels that move data between devices: those of NCCL and its kin, of NVSHMEM and DeepEP, and collectives by
name. A kernel of another name counts as computing, so communication is a lower bound."""

Intervals = tuple[Int, Int]


class StreamUse(msgspec.Struct, frozen=True):
    """The work of one stream: ``time_ns`` is its sum, ``busy_ns`` its union."""

    stream: int
    count: int
    time_ns: int
    busy_ns: int


class Gap(msgspec.Struct, frozen=True):
    """A time in which the device ran nothing, between ``after`` and ``before``.

    ``start_ns`` counts from the first device work. ``launched_late`` is true if the host launched ``before`` only after
    the gap had begun, and null if its launch is unknown. ``host`` is the launching thread's activity, by self time.
    """

    start_ns: int
    time_ns: int
    after: str
    before: str
    launched_late: bool | None
    host: list[Named]


class Idle(msgspec.Struct, frozen=True):
    """The gaps of a device by cause.

    ``waiting_for_launch_ns``: the next work was launched only after the gap had begun. ``launched_already_ns``: it was
    launched before, and waited for the device or for other work. ``unknown_ns``: its launch is unknown.
    """

    count: int
    time_ns: int
    waiting_for_launch_ns: int
    launched_already_ns: int
    unknown_ns: int
    longest: list[Gap]


class DeviceBound(msgspec.Struct, frozen=True):
    """The shares of a device's span by kind of work or idleness; ``verdict`` names the largest.

    It is null if the device did too little to be judged (``MIN_WORK_NS``).

    ``memsets_alone`` is not part of ``copies_alone``. ``unknown_idle`` is idleness before work whose launch is unknown,
    ``other_idle`` that before work that was launched already.
    """

    verdict: str | None
    compute: float
    communication_alone: float
    copies_alone: float
    memsets_alone: float
    waiting_for_launch: float
    other_idle: float
    unknown_idle: float


class DeviceUse(msgspec.Struct, frozen=True):
    """One device from its first to its last work; in ``overlap_ns`` at least two pieces of work ran at once.

    ``bound`` is null if the device ran no kernel and no copy.
    """

    device: int
    span_ns: int
    busy_ns: int
    idle_ns: int
    overlap_ns: int
    streams: list[StreamUse]
    idle: Idle
    bound: DeviceBound | None


class Communication(msgspec.Struct, frozen=True):
    """The communication kernels; ``alone_ns`` is the part of their union in which no other kernel ran."""

    count: int
    time_ns: int
    union_ns: int
    with_compute_ns: int
    alone_ns: int
    by_name: list[Named]


def use(attribution: Attribution, collective: Mask) -> list[DeviceUse]:
    """The use of each device that did work, in the order of device numbers; *collective* kernels communicate."""
    trace, work = attribution.trace, attribution.trace.device_work
    launch = launch_index(work, trace)
    return [_device(attribution, collective, device, work, launch) for device in distinct(work.device)]


def collectives(trace: Trace, pattern: re.Pattern[str] | None = None) -> Mask:
    """Mask of the kernels that communicate, by ``COMMUNICATION`` and by a *pattern* that may match anywhere."""
    named = trace.named(trace.kernels, COMMUNICATION)
    if pattern is None:
        return named
    return named | trace.named(trace.kernels, re.compile(f".*(?:{pattern.pattern})", pattern.flags))


def communication(trace: Trace, collective: Mask) -> Communication | None:
    """The communication of a trace, or None if it has none. Compute is any other kernel on the same device."""
    if not collective.any():
        return None
    kernels = trace.kernels.where(collective)
    total = with_compute = 0
    for device in distinct(kernels.device):
        on_device = trace.kernels.device == device
        communicating = _intervals(trace.kernels, on_device & collective)
        total += union_ns(*communicating)
        with_compute += overlap_ns(communicating, _intervals(trace.kernels, on_device & ~collective))
    alone = total - with_compute
    return Communication(len(kernels), kernels.time_ns, total, with_compute, alone, by_name(trace, kernels))


def _device(attribution: Attribution, collective: Mask, device: int, all_work: Spans, launches: Int) -> DeviceUse:
    on_device = all_work.device == device
    work, launch = all_work.where(on_device), launches[on_device]
    timed = work.where(work.dur > 0)  # in whole microseconds, short work takes 0 and makes no span
    span = int(timed.end.max() - timed.ts.min()) if len(timed) else 0
    busy = union_ns(work.ts, work.end)
    idle = _idle(attribution, work, launch)
    return DeviceUse(
        device=device,
        span_ns=span,
        busy_ns=busy,
        idle_ns=span - busy,
        overlap_ns=concurrent_ns(work.ts, work.end),
        streams=_streams(work),
        idle=idle,
        bound=_bound(attribution.trace, collective, device, span, idle),
    )


def _streams(work: Spans) -> list[StreamUse]:
    streams = []
    for stream in distinct(work.stream):
        on_stream = work.where(work.stream == stream)
        busy = union_ns(on_stream.ts, on_stream.end)
        streams.append(StreamUse(stream, len(on_stream), on_stream.time_ns, busy))
    return streams


def _bound(trace: Trace, collective: Mask, device: int, span: int, idle: Idle) -> DeviceBound | None:
    on_device = trace.kernels.device == device
    copied_on = trace.memcpy.device == device
    if not (on_device.any() or copied_on.any()):
        return None
    busy = span - idle.time_ns
    kernels = union_ns(*_intervals(trace.kernels, on_device))
    compute = union_ns(*_intervals(trace.kernels, on_device & ~collective))
    copies = trace.memcpy.where(copied_on)
    moving = Spans.concat((trace.kernels.where(on_device), copies))
    without_memsets = union_ns(moving.ts, moving.end)
    parts = {
        "compute-bound": compute,
        "communication-bound": kernels - compute,
        "memory-copy-bound": without_memsets - kernels,
        "memset-bound": busy - without_memsets,
        "launch-bound": idle.waiting_for_launch_ns,
        "idle": idle.launched_already_ns,
        "idle-unknown": idle.unknown_ns,
    }
    shares = [part / span if span else 0.0 for part in parts.values()]
    verdict = max(parts, key=lambda name: parts[name]) if busy >= MIN_WORK_NS else None
    return DeviceBound(verdict, *shares)


def _idle(attribution: Attribution, work: Spans, launch: Int) -> Idle:
    """The gaps of one device; *launch* is the row of the runtime call of each piece of *work*."""
    calls = attribution.trace.runtime
    first, last = merged(work.ts, work.end)
    start, end = last[:-1], first[1:]
    order = np.argsort(work.ts, kind="stable")
    order = order[work.dur[order] > 0]
    after_gap = order[np.searchsorted(work.ts[order], end)]
    call = launch[after_gap]
    late = take(calls.ts, call) > start
    length = end - start
    unknown = call == UNKNOWN
    longest = np.argsort(-length, kind="stable")[:LONGEST_GAPS]
    return Idle(
        count=len(length),
        time_ns=int(length.sum()),
        waiting_for_launch_ns=int(length[late & ~unknown].sum()),
        launched_already_ns=int(length[~late & ~unknown].sum()),
        unknown_ns=int(length[unknown].sum()),
        longest=[
            _gap(attribution, work, launch, (int(start[i]), int(end[i])), int(after_gap[i])) for i in longest.tolist()
        ],
    )


def _gap(attribution: Attribution, work: Spans, launch: Int, gap: tuple[int, int], following: int) -> Gap:
    trace, (start, end) = attribution.trace, gap
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
    """The self time of a thread in a window by name, the longest first."""
    tables = (trace.ops, trace.runtime, trace.annotations, trace.python)
    spans = Spans.concat(t.where((t.thread == thread) & (t.ts < end) & (t.end > start)) for t in tables)
    first, last = np.maximum(spans.ts, start), np.minimum(spans.end, end)
    inside = replace(spans, ts=first, dur=last - first)
    return [row for row in by_name(trace, inside, Nesting(inside).self_ns) if row.time_ns > 0]


def _intervals(spans: Spans, rows: Mask) -> Intervals:
    return spans.ts[rows], spans.end[rows]
