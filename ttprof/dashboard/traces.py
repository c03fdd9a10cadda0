"""The documents of a trace: tables, a treemap, memory, and the timeline of one iteration.

``ttprof.trace`` computes the numbers; this file adds shares and arranges them for tables and plots. Times are in ns,
sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.device_types import MEMORY_TYPE_NAMES
from ttprof.trace.analyses import hierarchy, integrity, memory, modules, tables, timeline
from ttprof.trace.analyses.hierarchy import TimeLeaf
from ttprof.trace.analyses.memory import Allocations
from ttprof.trace.analyses.modules import ModuleRow, Unattributed
from ttprof.trace.attribution import Attribution
from ttprof.trace.events import UNKNOWN
from ttprof.trace.iterations import Iterations

MAX_LEAVES = 1500
"""Maximum number of leaves in a treemap; the rest are combined into one."""

Node = tuple[str, str]
"""The level and the name of a node."""


class KernelLine(msgspec.Struct, frozen=True):
    """All kernels of one name; ``share`` is their fraction of the time of all kernels."""

    name: str
    count: int
    time_ns: int
    mean_ns: float
    min_ns: int
    max_ns: int
    share: float


class OpLine(msgspec.Struct, frozen=True):
    """All ops of one name in the forward or the backward; ``share`` is their fraction of the self time of all ops."""

    name: str
    count: int
    time_ns: int
    self_ns: int
    mean_ns: float
    share: float
    kernel_count: int
    kernel_ns: int


class Treemap(msgspec.Struct, frozen=True):
    """The nodes of a treemap in columns; ``values`` are total times in ns, with everything inside the node.

    ``parents`` are ids, empty for a root. ``levels`` are phase, module, op, backward op, kernel, or rest.
    """

    ids: list[str]
    parents: list[str]
    labels: list[str]
    levels: list[str]
    values: list[int]
    left_out: int


class MemoryUsage(msgspec.Struct, frozen=True):
    """The allocations of one device, by its display name. Times count from the first allocator event."""

    device: str
    usage: Allocations


class Iteration(msgspec.Struct, frozen=True):
    """An iteration, in the order of the trace; a timeline is requested by its index."""

    name: str
    dur_ns: int


class TraceDocument(msgspec.Struct, frozen=True):
    """A trace without its timelines.

    ``measured`` is "kernels" or "ops", depending on the times that the modules and the treemap show. ``incomplete``
    lists reasons why numbers may be too low. ``typical`` is the iteration to show first, or -1 (the whole trace) if no
    iterations are marked.
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
    memory: list[MemoryUsage]
    iterations: list[Iteration]
    typical: int


class TimelineDocument(msgspec.Struct, frozen=True):
    """The events of an iteration in columns, as in ``trace.analyses.timeline.Events``.

    ``left_out`` is the number of events that were dropped, the shortest first, to keep the document small.
    """

    name: str
    dur_ns: int
    lanes: list[timeline.Lane]
    kinds: tuple[str, ...]
    names: list[str]
    columns: dict[str, list[int]]
    left_out: int


def trace(attribution: Attribution) -> TraceDocument:
    """Return the document of a trace."""
    source, iterations = attribution.trace, Iterations.of(attribution.trace)
    backward = attribution.backward_op != UNKNOWN
    total = int(attribution.ops.self_ns.sum())
    windows = zip(iterations.names, iterations.windows.dur.tolist(), strict=True)
    unattributed = modules.unattributed(attribution)
    return TraceDocument(
        devices=list(source.devices),
        events=source.events,
        incomplete=list(map(str, integrity.check(source, iterations).reasons)),
        measured=unattributed.measured,
        kernels=_kernels(attribution),
        forward=_ops(tables.ops(attribution, ~backward), total),
        backward=_ops(tables.ops(attribution, backward), total),
        modules=modules.tree(attribution),
        unattributed=unattributed,
        treemap=treemap(hierarchy.leaves(attribution)),
        memory=[MemoryUsage(_device_name(row), row) for row in memory.allocations(attribution)],
        iterations=[Iteration(name, dur) for name, dur in windows],
        typical=timeline.typical(iterations),
    )


def typical(attribution: Attribution) -> int:
    """Return the iteration to show first, the one of median duration; -1 (the whole trace) if none is marked."""
    return timeline.typical(Iterations.of(attribution.trace))


def lanes(attribution: Attribution, iteration: int, limit: int | None = None) -> TimelineDocument:
    """Return the timeline of an iteration, cut to its *limit* longest events if given.

    Raises TraceError if the trace has no such iteration.
    """
    iterations = Iterations.of(attribution.trace)
    if iteration >= len(iterations):
        raise TraceError(f"the trace has no iteration {iteration}", TraceErrorCode.NOT_FOUND)
    whole = timeline.timeline(attribution, iterations, iteration)
    excerpt = whole if limit is None else timeline.longest(whole, limit)
    events = excerpt.events
    columns = ("lane", "row", "start", "dur", "name", "kind", "parent", "launch")
    return TimelineDocument(
        name="the whole trace" if iteration == UNKNOWN else iterations.names[iteration],
        dur_ns=excerpt.dur_ns,
        lanes=excerpt.lanes,
        kinds=timeline.KINDS,
        names=excerpt.names,
        columns={name: np.asarray(getattr(events, name)).tolist() for name in columns},
        left_out=len(whole.events) - len(events),
    )


def treemap(leaves: list[TimeLeaf]) -> Treemap:
    """Arrange leaves in a treemap: phase, then each part of the module path, then op, then kernel."""
    values: dict[tuple[Node, ...], int] = {}
    for leaf in leaves[:MAX_LEAVES]:
        path = _node_path(leaf)
        for depth in range(1, len(path) + 1):
            values[path[:depth]] = values.get(path[:depth], 0) + leaf.time_ns
    rest = leaves[MAX_LEAVES:]
    if rest:
        values[(("rest", f"{len(rest)} more"),)] = sum(leaf.time_ns for leaf in rest)
    ids = {path: str(number) for number, path in enumerate(values)}
    return Treemap(
        ids=list(ids.values()),
        parents=[ids.get(path[:-1], "") for path in values],
        labels=[path[-1][1] for path in values],
        levels=[path[-1][0] for path in values],
        values=list(values.values()),
        left_out=len(rest),
    )


def _node_path(leaf: TimeLeaf) -> tuple[Node, ...]:
    """Return the nodes from the root to the leaf; the level distinguishes a module from an op of the same name."""
    path = ("(no module)",) if leaf.path is None else tuple(leaf.path.split("."))
    modules = [("module", name) for name in path]
    kernel = [("kernel", leaf.kernel)] if leaf.kernel is not None else []
    level = "op" if leaf.phase == "forward" else "backward op"
    return ("phase", leaf.phase), *modules, (level, leaf.op or "(no op)"), *kernel


def _kernels(attribution: Attribution) -> list[KernelLine]:
    total = attribution.trace.kernels.time_ns
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
        for row in tables.kernels(attribution.trace)
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


def _device_name(row: Allocations) -> str:
    kind = MEMORY_TYPE_NAMES.get(row.device_type, f"device type {row.device_type}")
    return kind if row.device_index < 0 else f"{kind} {row.device_index}"
