"""The events of one iteration as lanes: threads with nested modules, ops and calls, and streams with what ran on them.

A trace with its attribution enters; columns leave, sorted by lane, row and start. All times are ns and count from the
start of the iteration (of the trace, where it has none).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import launch_index, picked
from ttprof.trace.events import UNKNOWN, Columns, Int, Spans, Trace
from ttprof.trace.groups import distinct
from ttprof.trace.iterations import MODULE, Iterations
from ttprof.trace.nesting import Nesting

KINDS = ("module", "annotation", "op", "backward op", "call", "kernel", "memcpy", "memset")
MODULES, ANNOTATIONS, OPS, BACKWARD, CALLS, KERNELS, MEMCPY, MEMSET = range(len(KINDS))


class Lane(msgspec.Struct, frozen=True):
    """A thread or a stream, with the number of rows that its nested events need."""

    name: str
    kind: str
    rows: int


@dataclass(frozen=True)
class Events(Columns):
    """The events, sorted by lane, row and start.

    ``name`` points into the names of the timeline, ``kind`` into ``KINDS``. ``parent`` is the event around a host
    event, ``launch`` the call that started device work: both are indices into these columns, or -1.
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
class _Side:
    """The rows of the host, or of the device, before they are put in one order; ``source`` tells calls apart."""

    spans: Spans
    kind: Int
    name: Int
    source: Int


def typical(found: Iterations) -> int:
    """The iteration that lasted a median time; -1 without any."""
    return int(np.argsort(found.windows.dur, kind="stable")[len(found) // 2]) if len(found) else UNKNOWN


def timeline(owners: Attribution, found: Iterations, iteration: int) -> Timeline:
    """The timeline of one iteration, or with -1 that of the whole trace.

    Host events belong to it by when they begin, device work by when it was launched.
    """
    trace = owners.trace
    names = _Names(trace)
    host, device = _host(owners, names, found, iteration), _device(trace, found, iteration)
    lanes, lane_of_host, lane_of_device = _lanes(trace, host.spans, device.spans)
    nested, streams = Nesting(host.spans), Nesting(replace(device.spans, thread=lane_of_device))
    calls = np.full(len(trace.runtime) + 1, UNKNOWN, dtype=np.int64)
    is_call = np.flatnonzero(host.kind == CALLS)
    calls[host.source[is_call]] = is_call
    start = _start(owners, found, iteration)
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
    shown = [Lane(lane.name, lane.kind, int(count)) for lane, count in zip(lanes, rows, strict=True)]
    used, name = np.unique(events.name, return_inverse=True)
    dur = int(found.windows.dur[iteration]) if iteration != UNKNOWN else int((events.start + events.dur).max(initial=0))
    return Timeline(iteration, dur, shown, [names.text[i] for i in used], replace(events, name=name.reshape(-1)))


def longest(found: Timeline, count: int) -> Timeline:
    """The timeline with its *count* longest events only; what pointed to another points nowhere."""
    events = found.events
    if len(events) <= count:
        return found
    kept = np.sort(np.argsort(-events.dur, kind="stable")[:count])
    place = np.full(len(events) + 1, UNKNOWN, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    chosen = events.where(kept)
    chosen = replace(chosen, parent=place[chosen.parent], launch=place[chosen.launch])
    used, name = np.unique(chosen.name, return_inverse=True)
    return replace(found, names=[found.names[i] for i in used], events=replace(chosen, name=name.reshape(-1)))


class _Names:
    """The names of the trace, followed by the paths of its modules."""

    def __init__(self, trace: Trace) -> None:
        self.text = list(trace.names)

    def added(self, more: tuple[str, ...]) -> int:
        """The place of the first of *more* names."""
        first = len(self.text)
        self.text += more
        return first


def _start(owners: Attribution, found: Iterations, iteration: int) -> int:
    if iteration != UNKNOWN:
        return int(found.windows.ts[iteration])
    trace = owners.trace
    tables = (owners.modules.spans, trace.ops, trace.runtime, trace.device_work, trace.annotations)
    return min((int(table.ts.min()) for table in tables if len(table)), default=0)


def _host(owners: Attribution, names: _Names, found: Iterations, iteration: int) -> _Side:
    """What began on a thread in the iteration; of spans that coincide the outer kind comes first."""
    trace, modules = owners.trace, owners.modules
    own = np.array([not name.startswith(MODULE) for name in trace.names], dtype=np.bool_)
    annotations = trace.annotations.where(own[trace.annotations.name])
    backward = np.where(owners.backward_op == UNKNOWN, OPS, BACKWARD)
    tables = (
        (annotations, np.full(len(annotations), ANNOTATIONS), annotations.name),
        (modules.spans, np.full(len(modules.spans), MODULES), names.added(modules.paths) + modules.path),
        (trace.ops, backward, trace.ops.name),
        (trace.runtime, np.full(len(trace.runtime), CALLS), trace.runtime.name),
    )
    sides = []
    for spans, kind, name in tables:
        inside = _within(found, iteration, spans.ts)
        sides.append(_Side(spans.where(inside), kind[inside], name[inside], inside))
    return _joined(sides)


def _device(trace: Trace, found: Iterations, iteration: int) -> _Side:
    """What the iteration launched on devices; ``source`` is its call, -1 without one."""
    sides = []
    for spans, kind in ((trace.kernels, KERNELS), (trace.memcpy, MEMCPY), (trace.memset, MEMSET)):
        call = launch_index(spans, trace)
        began = np.where(call == UNKNOWN, spans.ts, picked(trace.runtime.ts, call))
        inside = _within(found, iteration, began)
        chosen = spans.where(inside)
        sides.append(_Side(chosen, np.full(len(chosen), kind), chosen.name, call[inside]))
    return _joined(sides)


def _within(found: Iterations, iteration: int, began: Int) -> Int:
    """The rows of the iteration by the moment they began; all of them where the whole trace is asked for."""
    if iteration == UNKNOWN:
        return np.arange(len(began))
    return np.flatnonzero(found.of_moments(began) == iteration)


def _joined(sides: list[_Side]) -> _Side:
    kind, name, source = (
        np.concatenate([getattr(side, what) for side in sides]).astype(np.int64) for what in ("kind", "name", "source")
    )
    return _Side(Spans.concat(side.spans for side in sides), kind, name, source)


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
        mine = device.device == number
        for stream in distinct(device.stream[mine]):
            of_device[mine & (device.stream == stream)] = len(lanes)
            lanes.append(Lane(f"device {number} stream {stream}", "stream", 0))
    return lanes, of_host, of_device


def _sorted(events: Events) -> Events:
    """The events by lane, row and start, with the indices that they hold moved along."""
    order = np.lexsort((events.start, events.row, events.lane))
    place = np.full(len(events) + 1, UNKNOWN, dtype=np.int64)
    place[order] = np.arange(len(order))
    moved = events.where(order)
    return replace(moved, parent=place[moved.parent], launch=place[moved.launch])
