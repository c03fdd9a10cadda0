"""Counts the bytes that operators read and write, and those of them that must come from beyond the cache.

Each operator counts alone and at its least: every tensor that it reads and every tensor that it writes once, nothing
for views. How much of that must pass the cache follows from the order in which operators touch the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from ttprof.plan import tree

WRITE_ONLY = ("aten::copy_", "aten::fill_", "aten::zero_", "aten::normal_", "aten::uniform_", "aten::bernoulli_")
"""Operators in place that do not read what they overwrite."""

ALLOCATIONS = ("aten::empty", "aten::new_empty")
"""Beginnings of the names of operators that only allocate."""

GATHERS = ("aten::embedding", "aten::index_select", "aten::gather", "aten::index", "aten::take", "aten::_embedding_bag")
"""Beginnings of the names of operators that read of their first tensor only the elements that they are asked for."""

SCATTERS = ("aten::index_put_", "aten::index_copy_", "aten::index_add_", "aten::scatter_", "aten::masked_scatter_")
"""Beginnings of the names of operators in place that write only as many elements as they are given."""


class Touch(NamedTuple):
    """One read or write: ``nbytes`` within the bytes ``start`` to ``end`` of a memory, new if it was just allocated."""

    memory: int
    start: int
    end: int
    nbytes: int
    new: bool = False


class TrafficTally:
    """The reads and writes of one call, in order, on one type of device.

    ``unknown`` names the operators whose tensors have no sizes to count by, such as strided nested ones.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.touches: list[Touch] = []
        self.unknown: dict[str, None] = {}
        self._device = device
        self._memories: dict[int, int] = {}
        self._count = 0

    def fused(self, written: Iterable[torch.Tensor]) -> TrafficTally:
        """The least traffic of the same call as one operator: what it reads from outside once, and *written* once."""
        fused, new = TrafficTally(self._device), set()
        reads: dict[int, list[Touch]] = {}
        for touch in self.touches:
            if touch.new:
                new.add(touch.memory)
            elif touch.memory not in new:
                reads.setdefault(touch.memory, []).append(touch)
        for memory, touches in reads.items():
            start, end = min(t.start for t in touches), max(t.end for t in touches)
            nbytes = min(end - start, sum(t.nbytes for t in touches))
            fused.touches.append(Touch(memory, start, end, nbytes))
        fused._count = self._count
        for tensor in written:
            fused._begin(tensor)
            fused._touch(tensor, new=True)
        fused.unknown = self.unknown
        return fused

    @property
    def nbytes(self) -> int:
        """The bytes of all reads and writes."""
        return sum(touch.nbytes for touch in self.touches)

    def add(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Add the operator *name* with its arguments and its result."""
        if any(tensor.is_nested for tensor in tree.tensors((args, kwargs, result))):
            self.unknown[name] = None
            return
        inputs = tree.tensors((args, kwargs))
        memories = {_memory(part) for tensor in inputs for part in _parts(tensor)}
        outputs = [t for t in tree.tensors(result) if not {_memory(part) for part in _parts(t)} & memories]
        written = _written(func, args, kwargs)
        if name.startswith(ALLOCATIONS):
            for tensor in outputs:
                self._begin(tensor)
            return
        if not outputs and not written:
            return  # a view, or a question about the tensor
        overwritten = (
            {id(t) for t in written} if name.startswith((*WRITE_ONLY, *SCATTERS)) or "out" in kwargs else set()
        )
        most = _most_bytes(name, inputs, outputs)
        for position, tensor in enumerate(inputs):
            if id(tensor) not in overwritten:
                self._touch(tensor, most=most if position == 0 and name.startswith(GATHERS) else None)
        for tensor in written:
            self._touch(tensor, most=most if name.startswith(SCATTERS) else None)
        for tensor in outputs:
            self._begin(tensor)
            self._touch(tensor, new=True)

    def beyond_cache(self, capacity: int, warm: bool) -> int:
        """The bytes that must pass a cache of *capacity* bytes that keeps what was used last.

        A write counts only if it does not fit into the cache, since it may wait there and be overwritten; so this is a
        lower bound. If the cache is *warm*, the call is one of many in a row.
        """
        cache: OrderedDict[int, tuple[int, int]] = OrderedDict()
        held = passed = 0
        for _ in range(2 if warm else 1):
            passed = 0
            for touch in self.touches:
                start, end = cache.pop(touch.memory, (touch.start, touch.start))
                held -= end - start
                if touch.start < start or touch.end > end:  # not all of it is in the cache
                    start, end = min(start, touch.start), max(end, touch.end)
                    passed += 0 if touch.new and touch.nbytes <= capacity else touch.nbytes
                if end - start <= capacity:
                    cache[touch.memory] = (start, end)
                    held += end - start
                while held > capacity:
                    _, (start, end) = cache.popitem(last=False)
                    held -= end - start
        return passed

    def _begin(self, tensor: torch.Tensor) -> None:
        """Note that *tensor* lies in newly allocated memory, whose address an earlier tensor may have had."""
        for part in _parts(tensor):
            self._count += 1
            self._memories[_memory(part)] = self._count

    def _touch(self, tensor: torch.Tensor, new: bool = False, most: int | None = None) -> None:
        for part in _parts(tensor):
            if part.device.type != self._device or not part.numel():
                continue
            memory = _memory(part)
            if memory not in self._memories:
                self._begin(part)
            size = part.element_size()
            elements, extent = 1, 1
            for length, stride in zip(part.shape, part.stride(), strict=True):
                elements *= length if stride else 1
                extent += (length - 1) * stride
            start = int(part.storage_offset()) * size
            nbytes = elements * size if most is None else min(most, elements * size)
            self.touches.append(Touch(self._memories[memory], start, start + extent * size, nbytes, new))


def _parts(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """The dense tensors that *tensor* consists of: itself, or the indices and values of a sparse one."""
    if tensor.layout is torch.strided:
        return [tensor]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return []


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _written(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that the operator changes in place."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    values = [
        args[position] if position < len(args) else kwargs.get(argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return tree.tensors(values)


def _most_bytes(name: str, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> int | None:
    """The most bytes that a gather reads of its table, or a scatter writes; None for other operators."""
    if name.startswith("aten::_embedding_bag"):
        table, indices = inputs[:2]
        return indices.numel() * table.shape[1] * table.element_size()
    if name.startswith(GATHERS):
        return sum(t.numel() * t.element_size() for t in outputs)
    if name.startswith(SCATTERS):
        return max((t.numel() * t.element_size() for t in inputs[1:]), default=0)
    return None
