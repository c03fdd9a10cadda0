"""The module tree: the device time of each module, forward and backward.

A trace with its attribution enters; a row for each module path leaves, and one for what belongs to none. All times
are ns. A module's time includes that of the modules in it; its self time does not.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.trace.attribution import Attribution
from ttprof.trace.correlate import picked
from ttprof.trace.events import UNKNOWN, Int
from ttprof.trace.groups import sums


class ModuleRow(msgspec.Struct, frozen=True):
    """One module path. Kernel times are sums; overlap counts twice. ``host_ns`` is the time of its forward calls."""

    path: str
    depth: int
    calls: int
    host_ns: int
    kernel_count: int
    forward_ns: int
    backward_ns: int
    self_forward_ns: int
    self_backward_ns: int


class Unattributed(msgspec.Struct, frozen=True):
    """The kernels that belong to no module, with their share of all kernel time (null without kernels), and why.

    ``without_launch_ns``: their launch is not in the trace; ``without_op_ns``: no op launched them;
    ``without_module_ns``: no module called the op.
    """

    kernel_count: int
    time_ns: int
    share: float | None
    without_launch_ns: int
    without_op_ns: int
    without_module_ns: int


def tree(owners: Attribution) -> list[ModuleRow]:
    """The modules, each before the modules in it; brothers in the order of their first call."""
    modules, kernels = owners.modules, owners.trace.kernels
    count = len(modules.paths)
    op = owners.op_of_kernel
    module = picked(owners.module_of_op, op)
    mine = module != UNKNOWN
    backward = picked(owners.backward_op, op)[mine] != UNKNOWN
    forward_ns = sums(module[mine], np.where(backward, 0, kernels.dur[mine]), count)
    backward_ns = sums(module[mine], np.where(backward, kernels.dur[mine], 0), count)
    kernel_count = np.bincount(module[mine], minlength=count)
    calls, host_ns = np.bincount(modules.path, minlength=count), sums(modules.path, modules.spans.dur, count)
    parent = _parents(modules.paths)
    order = _depth_first(modules.paths, parent)
    depth = np.zeros(count, dtype=np.int64)
    for i in order:
        depth[i] = depth[parent[i]] + 1 if parent[i] != UNKNOWN else 0
    within = [_with_children(values, order, parent) for values in (kernel_count, forward_ns, backward_ns)]
    columns = (depth, calls, host_ns, *within, forward_ns, backward_ns)
    return [ModuleRow(modules.paths[i], *(int(column[i]) for column in columns)) for i in order]


def unattributed(owners: Attribution) -> Unattributed:
    """What ``tree`` leaves out."""
    kernels, op = owners.trace.kernels, owners.op_of_kernel
    without_launch = owners.launch_of_kernel == UNKNOWN
    without_op = ~without_launch & (op == UNKNOWN)
    without_module = (op != UNKNOWN) & (picked(owners.module_of_op, op) == UNKNOWN)
    parts = [int(kernels.dur[rows].sum()) for rows in (without_launch, without_op, without_module)]
    count = int((without_launch | without_op | without_module).sum())
    return Unattributed(count, sum(parts), sum(parts) / kernels.time_ns if kernels.time_ns else None, *parts)


def _parents(paths: tuple[str, ...]) -> list[int]:
    """For each path the longest other path that it continues, or -1."""
    numbers = {path: i for i, path in enumerate(paths)}
    found = []
    for path in paths:
        around = path
        while around and (around := around.rpartition(".")[0]) not in numbers:
            pass
        found.append(numbers.get(around, UNKNOWN) if around else UNKNOWN)
    return found


def _depth_first(paths: tuple[str, ...], parent: list[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for i in range(len(paths) - 1, -1, -1):
        children.setdefault(parent[i], []).append(i)
    order, waiting = [], children.get(UNKNOWN, [])
    while waiting:
        order.append(waiting.pop())
        waiting += children.get(order[-1], [])
    return order


def _with_children(values: Int, order: list[int], parent: list[int]) -> Int:
    total = values.copy()
    for i in reversed(order):
        if parent[i] != UNKNOWN:
            total[parent[i]] += total[i]
    return total
