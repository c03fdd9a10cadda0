"""Counts the bytes that operators read and write, and those of them that must come from beyond the cache.

Each operator counts alone and at its least: every tensor that it reads and every tensor that it writes once, nothing
for views. How much of that must pass the cache follows from the order in which operators touch the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ttprof.plan import tree

WRITE_ONLY = {
    *("copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_", "exponential_", "random_", "geometric_"),
    *("cauchy_", "log_normal_"),
}
"""Operators in place that do not read what they overwrite."""

ALLOCATIONS = ("empty", "new_empty")
"""Beginnings of the names of operators that only allocate."""

GATHERS = {
    **dict.fromkeys(("embedding", "index_select", "gather", "index", "take", "upsample_nearest1d"), 1),
    **dict.fromkeys(("upsample_nearest2d", "upsample_nearest3d"), 1),
    "grid_sampler_2d": 4,
    "grid_sampler_3d": 8,
}
"""Operators that read of their first tensor at most so many elements for each element of their output."""

SCATTERS = {"index_put_", "index_copy_", "index_fill_", "scatter_", "masked_scatter_", "index_add_", "scatter_add_"}
"""Operators in place that write only some elements; those called ``add`` read them, too."""

BY_INDEX = ("_embedding_bag", "_embedding_bag_forward_only", "nll_loss_forward", "nll_loss2d_forward")
"""Operators that read a row, or an element, of their first tensor for each element of the second."""

UNREAD = {"nll_loss_backward": (1,), "nll_loss2d_backward": (1,)}
"""Positions of tensors that an operator takes only for their shape."""


STRETCHES = (1, 2, 4, 8)
"""Sizes of the stretches that ``beyond_cache`` tries, in caches; and the whole call."""


class Touch(NamedTuple):
    """One read or write: ``nbytes`` within the bytes ``start`` to ``end`` of a memory, new if it was just allocated."""

    memory: int
    start: int
    end: int
    nbytes: int
    new: bool = False


Read = tuple[torch.Tensor, int | None]


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
        short = name.removeprefix("aten::")
        if any(tensor.is_nested for tensor in tree.tensors((args, kwargs, result))) or _holds_packed(args):
            self.unknown[name] = None
            return
        inputs, written = tree.tensors((args, kwargs)), _written(func, args, kwargs)
        memories = {_memory(part) for tensor in inputs for part in _parts(tensor)}
        outputs = [t for t in tree.tensors(result) if not {_memory(part) for part in _parts(t)} & memories]
        moves = (outputs or written) and torch.Tag.inplace_view not in getattr(func, "tags", ())
        if not moves or short.startswith(ALLOCATIONS):
            for tensor in outputs:
                self._begin(tensor)
            return
        for tensor, most in _reads(short, func, args, kwargs, outputs):
            self._touch(tensor, most=most)
        for tensor in written:
            self._touch(tensor, most=_scattered(short, args, tensor))
        for tensor in outputs:
            self._begin(tensor)
            self._touch(tensor, new=True)

    def beyond_cache(self, capacity: int, warm: bool) -> int:
        """The least bytes that must pass a cache of *capacity* bytes, whatever it keeps.

        A stretch of the call that reads *n* bytes of different memory, which the stretch itself has not written, must
        fetch at least *n* minus what a full cache holds at its start. The call is cut into stretches of several sizes,
        and the best bound counts. A tensor that is written and is larger than the cache must leave it, too.

        Args:
            capacity: The size of the cache in bytes.
            warm: Whether the cache holds what an equal call before has left in it; else it is empty.
        """
        spilled = sum(max(0, touch.nbytes - capacity) for touch in self.touches if touch.new)
        stretches = {self.nbytes + 1, *(max(1, times * capacity) for times in STRETCHES)}
        return spilled + max(self._fetched(capacity, warm, stretch) for stretch in stretches)

    def _fetched(self, capacity: int, warm: bool, stretch: int) -> int:
        """The least bytes to fetch if the call is cut wherever a stretch has read and written *stretch* bytes."""
        fetched, total, written, cached = 0, 0, 0, capacity if warm else 0
        read: dict[int, int] = {}
        own: set[int] = set()
        for touch in self.touches:
            if touch.new:
                own.add(touch.memory)
                written += touch.nbytes
            elif touch.memory not in own:
                more = max(0, touch.nbytes - read.get(touch.memory, 0))
                read[touch.memory], total = read.get(touch.memory, 0) + more, total + more
            if total + written >= stretch:
                fetched, total, written, cached = fetched + max(0, total - cached), 0, 0, capacity
                read.clear()
                own.clear()
        return fetched + max(0, total - cached)

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
            whole = min(elements, extent) * size
            nbytes = whole if most is None else min(most, whole)
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


def _reads(name: str, func: Any, args: Any, kwargs: Any, outputs: Sequence[torch.Tensor]) -> list[Read]:
    """The tensors that an operator reads, each memory once, and the most bytes that it reads of them."""
    if name.endswith("_like") or name.startswith("new_"):
        return []  # the tensor is only a pattern
    inputs, target = tree.tensors((args, kwargs)), {id(t): t for t in _written(func, args, kwargs)}
    overwrites = name in WRITE_ONLY or (name in SCATTERS and "add" not in name)
    unread = {id(t) for t, holds_result in _mutated(func, args, kwargs) if holds_result or overwrites}
    reads: dict[Any, Read] = {}
    for position, tensor in enumerate(inputs):
        if id(tensor) in unread or position in UNREAD.get(name, ()):
            continue
        most = _scattered(name, args, tensor) if id(tensor) in target else None
        if position == 0 and name in GATHERS:
            most = GATHERS[name] * sum(t.numel() * t.element_size() for t in outputs)
        if position == 0 and name in BY_INDEX:
            row = tensor.shape[1] if name.startswith("_embedding") else 1
            most = inputs[1].numel() * row * tensor.element_size()
        strided = tensor.layout is torch.strided
        place = (_memory(tensor), tensor.storage_offset(), tensor.shape, tensor.stride()) if strided else id(tensor)
        reads.setdefault(place, (tensor, most))
    return list(reads.values())


def _holds_packed(args: Any) -> bool:
    """Whether an argument is an object of C++ code, such as packed weights, whose memory is not known."""
    return any(isinstance(arg, torch.ScriptObject) for arg in args)


def _written(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that the operator changes in place."""
    return [tensor for tensor, _ in _mutated(func, args, kwargs)]


def _mutated(func: Any, args: Any, kwargs: Any) -> list[tuple[torch.Tensor, bool]]:
    """The arguments that the operator changes in place, and whether they are only there to hold its result (out=)."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    return [
        (tensor, argument.kwarg_only)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
        for tensor in tree.tensors(args[position] if position < len(args) else kwargs.get(argument.name))
    ]


def _scattered(name: str, args: Any, target: torch.Tensor) -> int | None:
    """The most bytes that a scatter writes to *target*; None for other operators, and where masks choose."""
    if name not in SCATTERS:
        return None
    size = target.element_size()
    if name == "index_put_":
        indices = [index for index in args[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices) or len(indices) < len(args[1]):
            return None
        chosen = math.prod(np.broadcast_shapes(*(tuple(index.shape) for index in indices)))
        return chosen * math.prod(target.shape[len(indices) :]) * size
    if name == "masked_scatter_":
        return None
    index = args[2]
    rows = math.prod(target.shape) // max(1, target.shape[args[1]]) if name.startswith("index") and target.dim() else 1
    return int(index.numel()) * rows * size
