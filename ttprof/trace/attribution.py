"""Whose work is it: from device work and allocations to the op, from the op to the module, from backward to forward.

A trace enters; for each row of its tables the op or the module path leaves, -1 where the trace does not say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ttprof.trace.correlate import launch_index, picked, row_with_id
from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.iterations import MODULE, module_path
from ttprof.trace.nesting import Nesting

IDS_NAME_OPS = 0.9
"""External ids name ops where at least this share of the calls that lie in an op have the id of that op.

On every recorded trace it is all of them or none: in some, the id merely repeats the correlation id.
"""

_OURS = re.compile(re.escape(MODULE))
_AUTOGRAD = re.compile("autograd::engine::evaluate_function")
_PYTHON_MODULE = "nn.Module: "
_PYTHON = re.compile(re.escape(_PYTHON_MODULE))


@dataclass(frozen=True)
class Modules:
    """The calls of modules: their spans, and for each the index of its path in ``paths``."""

    spans: Spans
    paths: tuple[str, ...]
    path: Int


class Attribution:
    """The owners of what happens in *trace*; each answer is computed when it is first asked for."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    @cached_property
    def ops(self) -> Nesting:
        """The nesting of the ops."""
        return Nesting(self.trace.ops)

    @cached_property
    def launch_of_kernel(self) -> Int:
        """For each kernel the runtime or driver call that launched it."""
        return launch_index(self.trace.kernels, self.trace)

    @cached_property
    def op_of_call(self) -> Int:
        """For each runtime or driver call the innermost op that made it.

        That is the op around it on its thread. Where External ids name ops, they decide, and also know the op of a
        call that no op encloses.
        """
        calls, ops = self.trace.runtime, self.trace.ops
        around = self.ops.innermost(calls.ts, calls.thread)
        named = row_with_id(calls.external, ops.external)
        inside = around != UNKNOWN
        agree = inside & (named == around)
        if not agree.any() or agree.sum() < IDS_NAME_OPS * inside.sum():
            return around
        return np.where(named == UNKNOWN, around, named)

    @cached_property
    def op_of_kernel(self) -> Int:
        """For each kernel the op that launched it; -1 for a kernel without a launch."""
        return picked(self.op_of_call, self.launch_of_kernel)

    @cached_property
    def op_of_memory(self) -> Int:
        """For each allocator event the innermost op around it on its thread."""
        memory = self.trace.memory
        return self.ops.innermost(memory.ts, memory.thread)

    @cached_property
    def backward_op(self) -> Int:
        """For each op the backward op that it is or belongs to; -1 in the forward."""
        return self.ops.nearest(self.is_backward)

    @property
    def is_backward(self) -> Mask:
        """Which ops autograd ran in the backward: those with a number and a forward thread, and its own frames."""
        details = self.trace.op_details
        numbered = (details.forward_thread > 0) & (details.sequence >= 0)
        return numbered | self.trace.named(self.trace.ops, _AUTOGRAD)

    @cached_property
    def forward_op(self) -> Int:
        """For each op of the backward the forward op that it belongs to, by arrow or by sequence number."""
        rows = np.flatnonzero(self.is_backward)
        by_row = np.full(len(self.trace.ops), UNKNOWN, dtype=np.int64)
        by_row[rows] = self._by_sequence(rows)
        starts, ends = self._arrows()
        by_row[ends] = starts
        return picked(by_row, self.backward_op)

    @cached_property
    def modules(self) -> Modules:
        """The module calls of ttprof's own annotations, else those that torch.profiler recorded (``with_stack``)."""
        trace = self.trace
        ours = trace.annotations.where(trace.named(trace.annotations, _OURS))
        if len(ours):
            return _numbered(ours, [module_path(name) for name in trace.name_of(ours)])
        python = trace.python.where(trace.named(trace.python, _PYTHON))
        return _numbered(python, _chained(trace, python))

    @cached_property
    def module_of_op(self) -> Int:
        """For each op the path (an index into ``modules.paths``) of the module that called it.

        A backward op has the module of its forward op.
        """
        ops = self.trace.ops
        if not self.modules.paths:
            return np.full(len(ops), UNKNOWN, dtype=np.int64)
        around = picked(self.modules.path, Nesting(self.modules.spans).innermost(ops.ts, ops.thread))
        return np.where(self.backward_op == UNKNOWN, around, picked(around, self.forward_op)).astype(np.int64)

    @cached_property
    def module_of_kernel(self) -> Int:
        """For each kernel the path of the module that it belongs to.

        That is the module of its op; of a kernel that no op launched, the module around its launch. Traces of Nsight
        hold no ops, and in others a kernel of Triton or of CuPy may be launched outside of any.
        """
        by_op = picked(self.module_of_op, self.op_of_kernel)
        if not self.modules.paths:
            return by_op
        calls = self.trace.runtime
        around = picked(self.modules.path, Nesting(self.modules.spans).innermost(calls.ts, calls.thread))
        return np.where(self.op_of_kernel == UNKNOWN, picked(around, self.launch_of_kernel), by_op)

    def _arrows(self) -> tuple[Int, Int]:
        """The forward and the backward op of each arrow that has both ends; an end is where an op starts."""
        links = self.trace.links
        op = self.ops.innermost(links.ts, links.thread)
        begins = np.flatnonzero(links.ends == 0)
        start = picked(begins, row_with_id(links.id, links.id[begins]))
        whole = np.flatnonzero((links.ends == 1) & (start != UNKNOWN))
        forward, backward = op[start[whole]], op[whole]
        told = (forward != UNKNOWN) & (backward != UNKNOWN)
        return forward[told], self._outermost_from(backward[told])

    def _outermost_from(self, op: Int) -> Int:
        """The backward op that each op belongs to; itself where it belongs to none."""
        owner = self.backward_op[op]
        return np.where(owner == UNKNOWN, op, owner)

    def _by_sequence(self, rows: Int) -> Int:
        """For backward ops the forward op with their number: the last one of it that started before them.

        Where several threads ran forward ops of that number, the number does not tell which one it was: -1.
        """
        ops, details = self.trace.ops, self.trace.op_details
        forward = np.flatnonzero((details.sequence >= 0) & (details.forward_thread <= 0))
        both = np.concatenate((forward, rows))
        asks = np.arange(len(both)) >= len(forward)
        order = np.lexsort((asks, ops.ts[both], details.sequence[both]))
        slot = np.maximum.accumulate(np.where(asks[order], UNKNOWN, np.arange(len(both))))
        before = np.full(len(both), UNKNOWN, dtype=np.int64)
        before[order] = np.where(slot == UNKNOWN, UNKNOWN, both[order[slot]])
        found = before[asks]
        same = (found != UNKNOWN) & (details.sequence[found] == details.sequence[rows])
        return np.where(same & ~np.isin(details.sequence[rows], self._ambiguous(forward)), found, UNKNOWN)

    def _ambiguous(self, forward: Int) -> Int:
        """The sequence numbers that forward ops of more than one thread have."""
        pairs = np.stack((self.trace.op_details.sequence[forward], self.trace.ops.thread[forward]))
        numbers, threads = np.unique(np.unique(pairs, axis=1)[0], return_counts=True)
        return numbers[threads > 1]


def _numbered(spans: Spans, paths: list[str]) -> Modules:
    numbers = {path: i for i, path in enumerate(dict.fromkeys(paths))}
    return Modules(spans, tuple(numbers), np.array([numbers[path] for path in paths], dtype=np.int64))


def _chained(trace: Trace, spans: Spans) -> list[str]:
    """The path of each call of a module: the names of the calls around it and its own, from the outside in."""
    names = [name.removeprefix(_PYTHON_MODULE) for name in trace.name_of(spans)]
    parent = Nesting(spans).parent.tolist()
    paths: list[str] = [""] * len(names)
    for row in np.argsort(spans.ts, kind="stable").tolist():
        around = paths[parent[row]] if parent[row] != UNKNOWN else ""
        paths[row] = f"{around}.{names[row]}" if around else names[row]
    return paths
