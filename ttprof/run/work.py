"""Counts the work of one call: its floating-point operations, and the bytes that its operators read and write."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ttprof.operators import CallLine, OperatorUse
from ttprof.plan import tree
from ttprof.plan.compiled import TransparentMode
from ttprof.plan.process_state import as_written
from ttprof.run import call_lines
from ttprof.run.flops import FlopCount, FlopTally
from ttprof.run.traffic import TrafficTally


@dataclass(frozen=True, eq=False)
class Work:
    """The work of one call, counted operator by operator."""

    flops: FlopCount
    traffic: TrafficTally
    operators: tuple[OperatorUse, ...] = ()


def count_work(call: Callable[[], Any], device: str = "cpu") -> Work:
    """Count the operations of one *call*, and its reads and writes on one type of *device*."""
    counter = _WorkCounter(device)
    with as_written(), counter:
        call()
    return Work(counter.flops.count, counter.traffic, counter.operators)


class _WorkCounter(TransparentMode):
    """Counts every operator; composite operators without a formula are decomposed first."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.flops = FlopTally()
        self.traffic = TrafficTally(device)
        self._calls: dict[str, Counter[tuple[str, int] | None]] = {}

    @property
    def operators(self) -> tuple[OperatorUse, ...]:
        """The operators that were called, by name, with the lines that call them."""
        return tuple(_use(name, calls) for name, calls in sorted(self._calls.items()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _asks_for_layout(func):
            return NotImplemented  # nested tensors answer these themselves; to decompose them ends the process
        formula, name = self.flops.formula(func), _name(func)
        wrapper = next((kind for kind in types if kind.__torch_dispatch__ is not _no_dispatch()), None)
        if wrapper is not None:
            with self:  # so that the operators on the tensors inside are counted
                result = wrapper.__torch_dispatch__(func, types, args, kwargs)
            if result is not NotImplemented:
                return result
        if wrapper is None and any(t.is_nested for t in tree.tensors((args, kwargs))):
            if formula is not None or func._can_decompose():
                self.flops.miss(name)  # a nested tensor has no sizes to count with or to decompose by
            self._count(name)
            result = func(*args, **kwargs)
            self.traffic.add(name, func, args, kwargs, result)
            return result
        if formula is None and isinstance(func, torch._ops.OpOverload) and func is not torch.ops.prim.device.default:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        self._count(name)
        result = func(*args, **kwargs)
        self.flops.add(name, func, args, kwargs, result)
        self.traffic.add(name, func, args, kwargs, result)
        return result

    def _count(self, name: str) -> None:
        self._calls.setdefault(name, Counter())[call_lines.calling_line()] += 1


def _use(name: str, calls: Counter[tuple[str, int] | None]) -> OperatorUse:
    lines = [
        CallLine(call_lines.place(*line), call_lines.digest(*line), count)
        for line, count in sorted((line, count) for line, count in calls.items() if line is not None)
    ]
    return OperatorUse(name=name, kind="operator", count=calls.total(), lines=lines)


def _name(func: Any) -> str:
    """The name of an operator without its overload, for example ``aten::mm``."""
    return str(getattr(func, "_schema", func)).partition("(")[0].partition(".")[0]


@functools.cache
def _layout_queries() -> frozenset[Any]:
    """The operators by which torch asks a tensor for its sizes and strides."""
    aten = torch.ops.aten
    packets = (
        *(aten.size, aten.sym_size, aten.stride, aten.sym_stride, aten.storage_offset, aten.sym_storage_offset),
        *(aten.numel, aten.sym_numel, aten.dim, aten.is_contiguous, aten.sym_is_contiguous),
        *(aten.is_strides_like_format, aten.is_non_overlapping_and_dense, torch.ops.prim.layout),
    )
    return frozenset(packets)


def _asks_for_layout(func: Any) -> bool:
    return getattr(func, "_overloadpacket", None) in _layout_queries()


def _no_dispatch() -> Any:
    """The ``__torch_dispatch__`` of tensors that have none of their own."""
    return torch.Tensor.__torch_dispatch__
