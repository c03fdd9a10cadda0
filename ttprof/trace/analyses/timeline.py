"""The events of one iteration in lanes: threads with nested modules, ops and calls, and streams with device work.

All times are ns since the start of the iteration, or of the trace if there are no iterations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index, take
from ttprof.trace.events import UNKNOWN, Columns, Int, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.iterations import MODULE, Iterations
from ttprof.trace.nesting import Nesting

KINDS = ("module", "annotation", "op", "backward op", "call", "kernel", "memcpy", "memset")
MODULES, ANNOTATIONS, OPS, BACKWARD, CALLS, KERNELS, MEMCPY, MEMSET = range(len(KINDS))


class Lane(msgspec.Struct, frozen=True):
    """A thread or a stream, with the number of rows needed for its nested events."""

    name: str
    kind: str
    rows: int


@dataclass(frozen=True)
class Events(Columns):
    """The events, sorted by lane, row and start.

    ``name`` is an index into the names of the timeline, ``kind`` into ``KINDS``. ``parent`` is the event around a host
    event and ``launch`` the call that launched device work, as rows of this table, or -1.
    """

    lane: Int
    row: Int
    start: Int
    dur: Int
    name: Int
    kind: Int
    parent: Int
    launch: Int


@dataclass(frozen=True)
class Timeline:
    """One iteration: its number (-1: the whole trace), its window, its lanes and its events."""

    iteration: int
    dur_ns: int
    lanes: list[Lane]
    names: list[str]
    events: Events


@dataclass(frozen=True)
class _EventRows:
    """Events of the host or of the device before sorting.

    ``source`` is the row of a host event in its table of the trace; of device work it is that of the launch, or -1.
    """

    spans: Spans
    kind: Int
    name: Int
    source: Int


def typical(iterations: Iterations) -> int:
    """The index of the iteration of median duration, or -1 if there are none."""
    return int(np.argsort(iterations.windows.dur, kind="stable")[len(iterations) // 2]) if len(iterations) else UNKNOWN


def timeline(attribution: Attribution, iterations: Iterations, iteration: int) -> Timeline:
    """The timeline of one iteration, or of the whole trace if *iteration* is -1.

    A host event belongs to the iteration in which it begins, device work to the one in which it was launched.
    """
    trace = attribution.trace
    names = _TimelineNames(trace)
    host, device = _host(attribution, names, iterations, iteration), _device(trace, iterations, iteration)
    lanes, lane_of_host, lane_of_device = _lanes(trace, host.spans, device.spans)
    nested, streams = Nesting(host.spans), Nesting(replace(device.spans, thread=lane_of_device))
    calls = np.full(len(trace.runtime) + 1, UNKNOWN, dtype=np.int64)
    is_call = np.flatnonzero(host.kind == CALLS)
    calls[host.source[is_call]] = is_call
    start = _start(attribution, iterations, iteration)
    nothing = np.full(len(device.spans), UNKNOWN, dtype=np.int64)
    events = Events(
        lane=np.concatenate((lane_of_host, lane_of_device)),
        row=np.concatenate((nested.depth, streams.depth)),
        start=np.concatenate((host.spans.ts, device.spans.ts)) - start,
        dur=np.concatenate((host.spans.dur, device.spans.dur)),
        name=np.concatenate((host.name, device.name)),
        kind=np.concatenate((host.kind, device.kind)),
        parent=np.concatenate((nested.parent, nothing)),
        launch=np.concatenate((np.full(len(host.spans), UNKNOWN), calls[device.source])),
    )
    events = _sorted(events)
    rows = np.zeros(len(lanes), dtype=np.int64)
    np.maximum.at(rows, events.lane, events.row + 1)
    lanes = [Lane(lane.name, lane.kind, int(count)) for lane, count in zip(lanes, rows, strict=True)]
    used, name = np.unique(events.name, return_inverse=True)
    dur = iterations.windows.dur[iteration] if iteration != UNKNOWN else (events.start + events.dur).max(initial=0)
    return Timeline(iteration, int(dur), lanes, [names.text[i] for i in used], replace(events, name=name.reshape(-1)))


def longest(timeline: Timeline, count: int) -> Timeline:
    """Keep only the *count* longest events; references to removed events become -1."""
    events = timeline.events
    if len(events) <= count:
        return timeline
    rows = np.sort(np.argsort(-events.dur, kind="stable")[:count])
    place = np.full(len(events) + 1, UNKNOWN, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    chosen = events.where(rows)
    chosen = replace(chosen, parent=place[chosen.parent], launch=place[chosen.launch])
    used, name = np.unique(chosen.name, return_inverse=True)
    return replace(timeline, names=[timeline.names[i] for i in used], events=replace(chosen, name=name.reshape(-1)))


class _TimelineNames:
    """The names of the trace, followed by the paths of its modules."""

    def __init__(self, trace: Trace) -> None:
        self.text = list(trace.names)

    def add(self, more: tuple[str, ...]) -> int:
        """Append names and return the index of the first."""
        first = len(self.text)
        self.text += more
        return first


def _start(attribution: Attribution, iterations: Iterations, iteration: int) -> int:
    if iteration != UNKNOWN:
        return int(iterations.windows.ts[iteration])
    trace = attribution.trace
    tables = (attribution.modules.spans, trace.ops, trace.runtime, trace.device_work, trace.annotations)
    return min((int(table.ts.min()) for table in tables if len(table)), default=0)


def _host(attribution: Attribution, names: _TimelineNames, iterations: Iterations, iteration: int) -> _EventRows:
    """The host events that began in the iteration; of coinciding spans, the outer kind comes first."""
    trace, modules = attribution.trace, attribution.modules
    is_user_range = np.array([not name.startswith(MODULE) for name in trace.names], dtype=np.bool_)
    annotations = trace.annotations.where(is_user_range[trace.annotations.name])
    backward = np.where(attribution.backward_op == UNKNOWN, OPS, BACKWARD)
    tables = (
        (annotations, np.full(len(annotations), ANNOTATIONS), annotations.name),
        (modules.spans, np.full(len(modules.spans), MODULES), names.add(modules.paths) + modules.path),
        (trace.ops, backward, trace.ops.name),
        (trace.runtime, np.full(len(trace.runtime), CALLS), trace.runtime.name),
    )
    parts = []
    for spans, kind, name in tables:
        inside = _within(iterations, iteration, spans.ts)
        parts.append(_EventRows(spans.where(inside), kind[inside], name[inside], inside))
    return _joined(parts)


def _device(trace: Trace, iterations: Iterations, iteration: int) -> _EventRows:
    """The device work that the iteration launched; ``source`` is the row of its call, or -1."""
    parts = []
    for spans, kind in ((trace.kernels, KERNELS), (trace.memcpy, MEMCPY), (trace.memset, MEMSET)):
        call = launch_index(spans, trace)
        launched = np.where(call == UNKNOWN, spans.ts, take(trace.runtime.ts, call))
        inside = _within(iterations, iteration, launched)
        chosen = spans.where(inside)
        parts.append(_EventRows(chosen, np.full(len(chosen), kind), chosen.name, call[inside]))
    return _joined(parts)


def _within(iterations: Iterations, iteration: int, moment: Int) -> Int:
    """The rows whose moment is in the iteration; all rows if it is -1."""
    if iteration == UNKNOWN:
        return np.arange(len(moment))
    return np.flatnonzero(iterations.of_moments(moment) == iteration)


def _joined(parts: list[_EventRows]) -> _EventRows:
    columns = zip(*((part.kind, part.name, part.source) for part in parts), strict=True)
    kind, name, source = (np.concatenate(arrays).astype(np.int64) for arrays in columns)
    return _EventRows(Spans.concat(part.spans for part in parts), kind, name, source)


def _lanes(trace: Trace, host: Spans, device: Spans) -> tuple[list[Lane], Int, Int]:
    """The lanes, threads first, and the lane of each row of the host and of the device."""
    lanes: list[Lane] = []
    of_host, of_device = (np.zeros(len(spans), dtype=np.int64) for spans in (host, device))
    first = {thread: int(host.ts[host.thread == thread].min()) for thread in distinct(host.thread)}
    for thread in sorted(first, key=lambda t: first[t]):
        of_host[host.thread == thread] = len(lanes)
        name = f"thread {trace.threads[thread][1]}" if thread != UNKNOWN else "thread unknown"
        lanes.append(Lane(name, "thread", 0))
    for number in distinct(device.device):
        on_device = device.device == number
        for stream in distinct(device.stream[on_device]):
            of_device[on_device & (device.stream == stream)] = len(lanes)
            lanes.append(Lane(f"device {number} stream {stream}", "stream", 0))
    return lanes, of_host, of_device


def _sorted(events: Events) -> Events:
    """Sort the events by lane, row and start, and update the rows that they refer to."""
    order = np.lexsort((events.start, events.row, events.lane))
    place = np.full(len(events) + 1, UNKNOWN, dtype=np.int64)
    place[order] = np.arange(len(order))
    moved = events.where(order)
    return replace(moved, parent=place[moved.parent], launch=place[moved.launch])
