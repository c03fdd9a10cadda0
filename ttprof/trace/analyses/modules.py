"""The forward and backward time of each module, of each class of modules, and of everything outside any module.

All times are ns: of kernels or, in a trace without kernels, the self time of ops. A module's time includes its
submodules; its self time does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
import numpy as np

from ttprof.trace.analyses.tables import totals
from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import take
from ttprof.trace.events import UNKNOWN, Int, Mask
from ttprof.trace.groups import sums

_INSTANCE = re.compile(r"_\d+$")


class ModuleRow(msgspec.Struct, frozen=True):
    """One module path. Times are sums, overlap counts twice; ``host_ns`` is the host time of its forward calls."""

    path: str
    depth: int
    calls: int
    host_ns: int
    kernel_count: int
    forward_ns: int
    backward_ns: int
    self_forward_ns: int
    self_backward_ns: int


class ModuleClass(msgspec.Struct, frozen=True):
    """All modules of one class (of one last name, if paths consist of names): their number and self times."""

    name: str
    modules: int
    self_forward_ns: int
    self_backward_ns: int


class Unattributed(msgspec.Struct, frozen=True):
    """Work outside any module, its share of all time (null if there is none), and the reasons.

    ``without_launch_ns``: the kernel's launch is not in the trace; ``without_op_ns``: no op launched it;
    ``without_module_ns``: no module called the op. ``measured`` is "kernels" or "ops", to which the times refer.
    """

    measured: str
    count: int
    time_ns: int
    share: float | None
    without_launch_ns: int
    without_op_ns: int
    without_module_ns: int


@dataclass(frozen=True)
class AttributedWork:
    """The work whose time is attributed: for each piece its op and module (-1: none), and whether it has a launch."""

    op: Int
    module: Int
    time_ns: Int
    launched: Mask


def work_of(attribution: Attribution) -> AttributedWork:
    """The kernels or, if the trace has none, the ops with their self time."""
    kernels = attribution.trace.kernels
    if len(kernels):
        return AttributedWork(
            attribution.op_of_kernel, attribution.module_of_kernel, kernels.dur, attribution.launch_of_kernel != UNKNOWN
        )
    rows = np.arange(len(attribution.trace.ops))
    return AttributedWork(rows, attribution.module_of_op, attribution.ops.self_ns, np.ones(len(rows), dtype=np.bool_))


def tree(attribution: Attribution) -> list[ModuleRow]:
    """The modules, each before its submodules; siblings are in the order of their first call."""
    modules, work = attribution.modules, work_of(attribution)
    count = len(modules.paths)
    if not count:
        return []
    module = work.module
    attributed = module != UNKNOWN
    backward = take(attribution.backward_op, work.op)[attributed] != UNKNOWN
    forward_ns = sums(module[attributed], np.where(backward, 0, work.time_ns[attributed]), count)
    backward_ns = sums(module[attributed], np.where(backward, work.time_ns[attributed], 0), count)
    kernels = attribution.module_of_kernel
    kernel_count = np.bincount(kernels[kernels != UNKNOWN], minlength=count)
    calls, host_ns = np.bincount(modules.path, minlength=count), sums(modules.path, modules.spans.dur, count)
    parent = parents(modules.paths)
    order = _depth_first(modules.paths, parent)
    depth = np.zeros(count, dtype=np.int64)
    for i in order:
        depth[i] = depth[parent[i]] + 1 if parent[i] != UNKNOWN else 0
    with_submodules = [_with_descendants(values, order, parent) for values in (kernel_count, forward_ns, backward_ns)]
    columns = (depth, calls, host_ns, *with_submodules, forward_ns, backward_ns)
    return [ModuleRow(modules.paths[i], *(int(column[i]) for column in columns)) for i in order]


def by_class(rows: list[ModuleRow]) -> list[ModuleClass]:
    """The modules of a tree by class, the longest self time first."""
    names = [_INSTANCE.sub("", _class_of(row.path)) for row in rows]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    group = np.array([numbers[name] for name in names], dtype=np.int64)
    forward, backward = (
        {row.name: row for row in totals(numbers, group, np.array(values, dtype=np.int64))}
        for values in ([row.self_forward_ns for row in rows], [row.self_backward_ns for row in rows])
    )
    classes = [ModuleClass(n, forward[n].count, forward[n].time_ns, backward[n].time_ns) for n in numbers]
    return sorted(classes, key=lambda row: (-row.self_forward_ns - row.self_backward_ns, row.name))


def _class_of(path: str) -> str:
    """The end of a path that names a class: an index in a Sequential or ModuleList means nothing without its name."""
    parts = path.split(".")
    named = len(parts) - 1
    while named > 0 and parts[named].isdecimal():
        named -= 1
    return ".".join(parts[named:]) if parts[named] else path


def unattributed(attribution: Attribution) -> Unattributed:
    """The work that ``tree`` leaves out."""
    work = work_of(attribution)
    without_module_or_op = work.launched & (work.module == UNKNOWN)
    without_op = without_module_or_op & (work.op == UNKNOWN)
    without_module = without_module_or_op & (work.op != UNKNOWN)
    parts = [int(work.time_ns[rows].sum()) for rows in (~work.launched, without_op, without_module)]
    count = int((~work.launched | without_op | without_module).sum())
    total = int(work.time_ns.sum())
    measured = "kernels" if len(attribution.trace.kernels) else "ops"
    return Unattributed(measured, count, sum(parts), sum(parts) / total if total else None, *parts)


def parents(paths: tuple[str, ...]) -> list[int]:
    """For each path, the index of its longest proper prefix among the paths, or -1."""
    numbers = {path: i for i, path in enumerate(paths)}
    result = []
    for path in paths:
        prefix = path
        while prefix and (prefix := prefix.rpartition(".")[0]) not in numbers:
            pass
        result.append(numbers.get(prefix, UNKNOWN) if prefix else UNKNOWN)
    return result


def _depth_first(paths: tuple[str, ...], parent: list[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for i in range(len(paths) - 1, -1, -1):
        children.setdefault(parent[i], []).append(i)
    order, waiting = [], children.get(UNKNOWN, [])
    while waiting:
        order.append(waiting.pop())
        waiting += children.get(order[-1], [])
    return order


def _with_descendants(values: Int, order: list[int], parent: list[int]) -> Int:
    total = values.copy()
    for i in reversed(order):
        if parent[i] != UNKNOWN:
            total[parent[i]] += total[i]
    return total
