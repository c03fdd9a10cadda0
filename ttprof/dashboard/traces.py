"""What the front end shows of a trace: tables, a treemap, memory, and the timeline of one iteration.

A trace with its attribution enters; frozen structs leave. The numbers are those of ``ttprof.trace``: here they only
get their shares, and the shape that a table or a plot wants. Times are ns, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.trace.analyses import hierarchy, integrity, memory, modules, tables, timeline
from ttprof.trace.analyses.hierarchy import TimeLeaf
from ttprof.trace.analyses.memory import Allocations
from ttprof.trace.analyses.modules import ModuleRow, Unattributed
from ttprof.trace.attribution import Attribution
from ttprof.trace.events import UNKNOWN
from ttprof.trace.iterations import Iterations

MOST_NODES = 1500
"""Leaves that a treemap keeps; the rest is one leaf beside them."""

Part = tuple[str, str]
"""A level and a name."""

DEVICES = {0: "CPU", 1: "CUDA", 6: "HIP"}


class KernelLine(msgspec.Struct, frozen=True):
    """All kernels of one name; ``share`` is of the time of all kernels."""

    name: str
    count: int
    time_ns: int
    mean_ns: float
    min_ns: int
    max_ns: int
    share: float


class OpLine(msgspec.Struct, frozen=True):
    """All ops of one name in the forward, or in the backward; ``share`` is of the self time of all ops."""

    name: str
    count: int
    time_ns: int
    self_ns: int
    mean_ns: float
    share: float
    kernel_count: int
    kernel_ns: int


class Treemap(msgspec.Struct, frozen=True):
    """Nodes in columns: each with its id, that of the node around it, its label, and its time with all within it.

    ``levels`` says what each is: phase, module, op, backward op, kernel, or rest.
    """

    ids: list[str]
    parents: list[str]
    labels: list[str]
    levels: list[str]
    values: list[int]
    left_out: int


class DeviceMemory(msgspec.Struct, frozen=True):
    """The allocations of one device. Times count from the first allocator event."""

    device: str
    found: Allocations


class Iteration(msgspec.Struct, frozen=True):
    """An iteration that a timeline can be drawn of; the first is 0."""

    name: str
    dur_ns: int


class TraceDocument(msgspec.Struct, frozen=True):
    """All of a trace but its timelines. ``measured`` is "kernels" or "ops": what modules and treemap are made of.

    ``incomplete`` are the reasons why numbers may be too low. ``typical`` is the iteration to look at first, -1 where
    the trace has none and its timeline is that of all.
    """

    devices: list[str]
    events: int
    incomplete: list[str]
    measured: str
    kernels: list[KernelLine]
    forward: list[OpLine]
    backward: list[OpLine]
    modules: list[ModuleRow]
    unattributed: Unattributed
    treemap: Treemap
    memory: list[DeviceMemory]
    iterations: list[Iteration]
    typical: int


class TimelineDocument(msgspec.Struct, frozen=True):
    """The events of an iteration in columns; see ``trace.analyses.timeline.Events``. ``left_out`` counts short ones."""

    name: str
    dur_ns: int
    lanes: list[timeline.Lane]
    kinds: tuple[str, ...]
    names: list[str]
    columns: dict[str, list[int]]
    left_out: int


def trace(owners: Attribution) -> TraceDocument:
    """The document of a trace."""
    found, found_iterations = owners.trace, Iterations.of(owners.trace)
    backward = owners.backward_op != UNKNOWN
    total = int(owners.ops.self_ns.sum())
    windows = zip(found_iterations.names, found_iterations.windows.dur.tolist(), strict=True)
    unattributed = modules.unattributed(owners)
    return TraceDocument(
        devices=list(found.devices),
        events=found.events,
        incomplete=list(map(str, integrity.check(found, found_iterations).reasons)),
        measured=unattributed.measured,
        kernels=_kernels(owners),
        forward=_ops(tables.ops(owners, ~backward), total),
        backward=_ops(tables.ops(owners, backward), total),
        modules=modules.tree(owners),
        unattributed=unattributed,
        treemap=treemap(hierarchy.leaves(owners)),
        memory=[DeviceMemory(_device(row), row) for row in memory.allocations(owners)],
        iterations=[Iteration(name, dur) for name, dur in windows],
        typical=timeline.typical(found_iterations),
    )


def typical(owners: Attribution) -> int:
    """The iteration to look at first, -1 (the whole trace) where there is none."""
    return timeline.typical(Iterations.of(owners.trace))


def lanes(owners: Attribution, iteration: int, most: int | None = None) -> TimelineDocument:
    """The timeline of an iteration, of its *most* longest events where that is given.

    Raises TraceError where the trace has no such iteration.
    """
    iterations = Iterations.of(owners.trace)
    if iteration >= len(iterations):
        raise TraceError(f"the trace has no iteration {iteration}", TraceErrorCode.NOT_FOUND)
    found = timeline.timeline(owners, iterations, iteration)
    drawn = found if most is None else timeline.longest(found, most)
    events = drawn.events
    columns = ("lane", "row", "start", "dur", "name", "kind", "parent", "launch")
    return TimelineDocument(
        name="the whole trace" if iteration == UNKNOWN else iterations.names[iteration],
        dur_ns=drawn.dur_ns,
        lanes=drawn.lanes,
        kinds=timeline.KINDS,
        names=drawn.names,
        columns={name: np.asarray(getattr(events, name)).tolist() for name in columns},
        left_out=len(found.events) - len(events),
    )


def treemap(leaves: list[TimeLeaf]) -> Treemap:
    """The nodes of a treemap: phase, then each part of the module path, then op, then kernel."""
    values: dict[tuple[Part, ...], int] = {}
    for leaf in leaves[:MOST_NODES]:
        place = _place(leaf)
        for depth in range(1, len(place) + 1):
            values[place[:depth]] = values.get(place[:depth], 0) + leaf.time_ns
    rest = leaves[MOST_NODES:]
    if rest:
        values[(("rest", f"{len(rest)} more"),)] = sum(leaf.time_ns for leaf in rest)
    numbers = {place: str(number) for number, place in enumerate(values)}
    return Treemap(
        ids=list(numbers.values()),
        parents=[numbers.get(place[:-1], "") for place in values],
        labels=[place[-1][1] for place in values],
        levels=[place[-1][0] for place in values],
        values=list(values.values()),
        left_out=len(rest),
    )


def _place(leaf: TimeLeaf) -> tuple[Part, ...]:
    """The nodes from the outermost to the leaf; the level is part of each, since a module may be called like an op."""
    path = ("(no module)",) if leaf.path is None else tuple(leaf.path.split("."))
    modules = [("module", name) for name in path]
    kernel = [("kernel", leaf.kernel)] if leaf.kernel is not None else []
    level = "op" if leaf.phase == "forward" else "backward op"
    return ("phase", leaf.phase), *modules, (level, leaf.op or "(no op)"), *kernel


def _kernels(owners: Attribution) -> list[KernelLine]:
    total = owners.trace.kernels.time_ns
    return [
        KernelLine(
            name=row.name,
            count=row.count,
            time_ns=row.time_ns,
            mean_ns=row.mean_ns,
            min_ns=row.spread.min_ns,
            max_ns=row.spread.max_ns,
            share=row.time_ns / total if total else 0.0,
        )
        for row in tables.kernels(owners.trace)
    ]


def _ops(rows: Iterable[tables.OpRow], total: int) -> list[OpLine]:
    return [
        OpLine(
            name=row.name,
            count=row.count,
            time_ns=row.time_ns,
            self_ns=row.self_ns,
            mean_ns=row.mean_ns,
            share=row.self_ns / total if total else 0.0,
            kernel_count=row.kernel_count,
            kernel_ns=row.kernel_ns,
        )
        for row in rows
    ]


def _device(row: Allocations) -> str:
    kind = DEVICES.get(row.device_type, f"device type {row.device_type}")
    return kind if row.device_index < 0 else f"{kind} {row.device_index}"
