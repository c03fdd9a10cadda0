"""Attributes device work and allocations to ops, ops to modules, and backward ops to forward ops.

Each result is a column of row indices; -1 means that the trace doesn't say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ttprof.trace.correlate import launch_index, row_with_id, take
from ttprof.trace.events import UNKNOWN, Int, Mask, Spans, Trace
from ttprof.trace.iterations import MODULE, module_path
from ttprof.trace.nesting import Nesting

IDS_NAME_OPS = 0.9
"""External ids name ops if at least this share of the calls inside an op have the id of that op.

In every recorded trace, either all or none have it: in some, the id merely repeats the correlation id.
"""

_ANNOTATED = re.compile(re.escape(MODULE))
_AUTOGRAD = re.compile("autograd::engine::evaluate_function")
_PYTHON_MODULE = "nn.Module: "
_PYTHON = re.compile(re.escape(_PYTHON_MODULE))


@dataclass(frozen=True)
class Modules:
    """The calls of modules: their spans, and the index of each call's path in ``paths``."""

    spans: Spans
    paths: tuple[str, ...]
    path: Int


class Attribution:
    """Maps the rows of *trace* to ops and modules; each column is computed on first use."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    @cached_property
    def ops(self) -> Nesting:
        """The nesting of the ops."""
        return Nesting(self.trace.ops)

    @cached_property
    def launch_of_kernel(self) -> Int:
        """For each kernel, the row of the runtime or driver call that launched it, or -1."""
        return launch_index(self.trace.kernels, self.trace)

    @cached_property
    def op_of_call(self) -> Int:
        """For each runtime or driver call, the innermost op that made it, or -1.

        That is the op around it on its thread. If External ids name ops, they take precedence; they also name the op of
        a call outside any op's span.
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
        """For each kernel, the op that launched it, or -1."""
        return take(self.op_of_call, self.launch_of_kernel)

    @cached_property
    def op_of_memory(self) -> Int:
        """For each allocator event, the innermost op around it on its thread, or -1."""
        memory = self.trace.memory
        return self.ops.innermost(memory.ts, memory.thread)

    @cached_property
    def backward_op(self) -> Int:
        """For each op, the nearest op, including itself, that autograd ran in the backward; -1 for forward ops."""
        return self.ops.nearest(self.is_backward)

    @property
    def is_backward(self) -> Mask:
        """Mask of the ops run in the backward: with a sequence number and a forward thread, or frames of autograd."""
        details = self.trace.op_details
        numbered = (details.forward_thread > 0) & (details.sequence >= 0)
        return numbered | self.trace.named(self.trace.ops, _AUTOGRAD)

    @cached_property
    def forward_op(self) -> Int:
        """For each backward op, its forward op, by arrow or else by sequence number, or -1."""
        rows = np.flatnonzero(self.is_backward)
        by_row = np.full(len(self.trace.ops), UNKNOWN, dtype=np.int64)
        by_row[rows] = self._by_sequence(rows)
        starts, ends = self._arrows()
        by_row[ends] = starts
        return take(by_row, self.backward_op)

    @cached_property
    def modules(self) -> Modules:
        """The module calls that ttprof annotated or, without any, those of torch.profiler's ``with_stack``."""
        trace = self.trace
        annotated = trace.annotations.where(trace.named(trace.annotations, _ANNOTATED))
        if len(annotated):
            return _numbered(annotated, [module_path(name) for name in trace.name_of(annotated)])
        python = trace.python.where(trace.named(trace.python, _PYTHON))
        return _numbered(python, _stacked_paths(trace, python))

    @cached_property
    def module_of_op(self) -> Int:
        """For each op, the module that called it, as an index into ``modules.paths``, or -1.

        A backward op has the module of its forward op.
        """
        ops = self.trace.ops
        if not self.modules.paths:
            return np.full(len(ops), UNKNOWN, dtype=np.int64)
        around = take(self.modules.path, Nesting(self.modules.spans).innermost(ops.ts, ops.thread))
        return np.where(self.backward_op == UNKNOWN, around, take(around, self.forward_op)).astype(np.int64)

    @cached_property
    def module_of_kernel(self) -> Int:
        """For each kernel, its module, as an index into ``modules.paths``, or -1.

        That is the module of its op or, without an op, the module around its launch. Nsight records no ops, and Triton
        or CuPy may launch a kernel outside any op.
        """
        by_op = take(self.module_of_op, self.op_of_kernel)
        if not self.modules.paths:
            return by_op
        calls = self.trace.runtime
        around = take(self.modules.path, Nesting(self.modules.spans).innermost(calls.ts, calls.thread))
        return np.where(self.op_of_kernel == UNKNOWN, take(around, self.launch_of_kernel), by_op)

    def _arrows(self) -> tuple[Int, Int]:
        """The forward and the backward op of each arrow with both ends; an end is the start of an op."""
        links = self.trace.links
        op = self.ops.innermost(links.ts, links.thread)
        begins = np.flatnonzero(links.ends == 0)
        start = take(begins, row_with_id(links.id, links.id[begins]))
        complete = np.flatnonzero((links.ends == 1) & (start != UNKNOWN))
        forward, backward = op[start[complete]], op[complete]
        valid = (forward != UNKNOWN) & (backward != UNKNOWN)
        return forward[valid], self._backward_owner(backward[valid])

    def _backward_owner(self, op: Int) -> Int:
        """The backward op that each op belongs to; itself if it belongs to none."""
        owner = self.backward_op[op]
        return np.where(owner == UNKNOWN, op, owner)

    def _by_sequence(self, rows: Int) -> Int:
        """For each backward op, the last forward op with its sequence number that started before it, or -1.

        Also -1 if forward ops of several threads have that number, which makes it ambiguous.
        """
        ops, details = self.trace.ops, self.trace.op_details
        forward = np.flatnonzero((details.sequence >= 0) & (details.forward_thread <= 0))
        both = np.concatenate((forward, rows))
        is_backward = np.arange(len(both)) >= len(forward)
        order = np.lexsort((is_backward, ops.ts[both], details.sequence[both]))
        slot = np.maximum.accumulate(np.where(is_backward[order], UNKNOWN, np.arange(len(both))))
        before = np.full(len(both), UNKNOWN, dtype=np.int64)
        before[order] = np.where(slot == UNKNOWN, UNKNOWN, both[order[slot]])
        last = before[is_backward]
        same = (last != UNKNOWN) & (details.sequence[last] == details.sequence[rows])
        return np.where(same & ~np.isin(details.sequence[rows], self._ambiguous(forward)), last, UNKNOWN)

    def _ambiguous(self, forward: Int) -> Int:
        """The sequence numbers shared by forward ops of more than one thread."""
        pairs = np.stack((self.trace.op_details.sequence[forward], self.trace.ops.thread[forward]))
        numbers, threads = np.unique(np.unique(pairs, axis=1)[0], return_counts=True)
        return numbers[threads > 1]


def _numbered(spans: Spans, paths: list[str]) -> Modules:
    numbers = {path: i for i, path in enumerate(dict.fromkeys(paths))}
    return Modules(spans, tuple(numbers), np.array([numbers[path] for path in paths], dtype=np.int64))


def _stacked_paths(trace: Trace, spans: Spans) -> list[str]:
    """The path of each module call: the names of the calls around it and its own, from the outside in."""
    names = [name.removeprefix(_PYTHON_MODULE) for name in trace.name_of(spans)]
    parent = Nesting(spans).parent.tolist()
    paths: list[str] = [""] * len(names)
    for row in np.argsort(spans.ts, kind="stable").tolist():
        around = paths[parent[row]] if parent[row] != UNKNOWN else ""
        paths[row] = f"{around}.{names[row]}" if around else names[row]
    return paths
