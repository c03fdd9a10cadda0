"""Copies arguments so that a copy is to a module what the original was.

Objects stay the same objects wherever they are passed twice, tensors that share memory still share it, and each tensor
keeps its strides, dtype, type and ``requires_grad``. What can't be copied is an error that names it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan import tree

ALIGNMENT = 512
"""Bytes to which the start of a copied block is aligned, as torch's CUDA allocator does; kernels depend on it."""


@dataclass(frozen=True, eq=False)
class Block:
    """Memory that one or several tensors share.

    ``content`` has all of it: the only tensor itself, or for several tensors, or one with gaps or overlaps, a flat
    tensor that starts at element ``start`` of the storage.
    """

    tensors: tuple[torch.Tensor, ...]
    content: torch.Tensor
    start: int = 0
    flat: bool = False

    def views(self, content: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of this block over other *content* of the same layout."""
        if not self.flat:
            return [_with_bits_of(self.tensors[0], content)]
        strided = (content.as_strided(t.shape, t.stride(), t.storage_offset() - self.start) for t in self.tensors)
        return [_with_bits_of(t, view) for t, view in zip(self.tensors, strided, strict=True)]

    def part_of_tensors(self, content: torch.Tensor) -> torch.Tensor:
        """The part of *content*, such as a gradient, that the tensors have: not what only aligns its start."""
        if not self.flat:
            return content
        if len(self.tensors) == 1:
            return self.views(content)[0]
        return content[min(t.storage_offset() for t in self.tensors) - self.start :]

    @property
    def requires_grad(self) -> bool:
        """Whether any of the tensors requires a gradient."""
        return any(t.requires_grad for t in self.tensors)


@dataclass(frozen=True, eq=False)
class Memory:
    """A value and the blocks of memory behind the tensors in it."""

    value: Any
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, value: Any) -> Memory:
        """Group the tensors in *value* by the memory that they share."""
        groups: dict[Any, list[torch.Tensor]] = {}
        tensors = tree.tensors(value)
        _check_sharing(tensors)
        for tensor in tensors:
            groups.setdefault(_memory_of(tensor), []).append(tensor)
        return cls(value, tuple(_block(group) for group in groups.values()))

    def map(
        self, change: Callable[[torch.Tensor], torch.Tensor], replacements: Mapping[int, Any] = MappingProxyType({})
    ) -> Any:
        """A deep copy of the value with *change* applied to the content of every block.

        The copied tensors are autograd leaves that require a gradient where the originals do. Modules are referred to,
        not copied, and objects and tensors whose ids are keys of *replacements* become the values there.

        Raises:
            InputsError: The value holds an object that can't be copied.
        """
        contents = [change(block.content) for block in self.blocks]
        return self._rebuilt(contents, _as_leaf, replacements)

    def over(self, contents: Sequence[torch.Tensor], replacements: Mapping[int, Any] = MappingProxyType({})) -> Any:
        """A deep copy of the value whose tensors are views of *contents*, one for each block, in their order.

        Gradients flow from the views to the contents. *replacements* are as for ``map``.

        Raises:
            InputsError: The value holds an object that can't be copied.
        """
        return self._rebuilt(contents, lambda tensor, view: view, replacements)

    def copies(self, change: Callable[[torch.Tensor], torch.Tensor]) -> dict[int, Any]:
        """A memo for copy.deepcopy: the ids of the tensors and generators with their copies, as ``map`` makes them."""
        return self._memo([change(block.content) for block in self.blocks], _as_leaf)

    def _memo(
        self, contents: Sequence[torch.Tensor], finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> dict[int, Any]:
        generators = [leaf.value for leaf in tree.leaves(self.value) if isinstance(leaf.value, torch.Generator)]
        memo: dict[int, Any] = {id(generator): generator.clone_state() for generator in generators}
        for block, content in zip(self.blocks, contents, strict=True):
            for tensor, view in zip(block.tensors, block.views(content), strict=True):
                memo[id(tensor)] = finish(tensor, view)
        return memo

    def _rebuilt(
        self,
        contents: Sequence[torch.Tensor],
        finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        replacements: Mapping[int, Any] = MappingProxyType({}),
    ) -> Any:
        memo = self._memo(contents, finish) | dict(replacements)
        memo |= {id(leaf.value): leaf.value for leaf in tree.leaves(self.value) if isinstance(leaf.value, nn.Module)}
        _check_iterators(self.value)
        try:
            copied = copy.deepcopy(self.value, dict(memo))
        except Exception as error:
            raise InputsError(_why_not_copied(self.value, memo, error)) from error
        _check_copied(self.value, copied, replacements)
        return copied


def _check_iterators(value: Any) -> None:
    """Raise InputsError if *value* holds an iterator, which the first call would use up."""
    for leaf in tree.leaves(value):
        if hasattr(leaf.value, "__next__") and not isinstance(leaf.value, type):
            where = f"{leaf.path}, a {type(leaf.value).__name__}," if leaf.path else f"a {type(leaf.value).__name__}"
            raise InputsError(f"the inputs can't be copied: {where} is used up by one call; pass a list")


def _check_copied(value: Any, copied: Any, replacements: Mapping[int, Any]) -> None:
    """Raise InputsError if *copied* still holds a tensor of *value*, as if an object copies itself by reference."""
    originals = {id(tensor) for tensor in tree.tensors(value)} - {id(new) for new in replacements.values()}
    for leaf in tree.leaves(copied):
        if id(leaf.value) in originals:
            raise InputsError(f"the inputs can't be copied, so the test could change them: {leaf.path} is not a copy")


def _as_leaf(tensor: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """*view* as an autograd leaf, of the type of *tensor* and requiring a gradient if *tensor* does."""
    view = view.detach()
    differentiable = view.is_floating_point() or view.is_complex()
    if type(tensor) is nn.Parameter and differentiable:
        view = nn.Parameter(view, requires_grad=tensor.requires_grad)
    else:
        view.requires_grad_(tensor.requires_grad and differentiable)
    if type(view) is type(tensor) and type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__:
        vars(view).update(vars(tensor))
    return view


def _check_sharing(tensors: Sequence[torch.Tensor]) -> None:
    """Raise InputsError if tensors of several dtypes or types share memory: their copies would not."""
    groups: dict[int, set[Any]] = {}
    for tensor in tensors:
        if tensor.layout is torch.strided and not tensor.is_nested and tensor.device.type != "meta":
            plain = _is_plain(tensor)
            try:
                memory = tensor.untyped_storage()
            except (NotImplementedError, RuntimeError):  # a subclass that wraps other tensors
                continue
            if memory.nbytes():
                groups.setdefault(memory._cdata, set()).add(tensor.dtype if plain else id(tensor))
    shared = next((kinds for kinds in groups.values() if len(kinds) > 1), None)
    if shared is not None:
        raise InputsError(
            "two tensors share memory and are of different dtypes or types (a view as another dtype, or a tensor "
            "subclass), so they can't be copied as they are: pass one of them, or separate copies"
        )


def _memory_of(tensor: torch.Tensor) -> Any:
    """What tensors that share memory have in common; the identity of a tensor that has no plain memory."""
    if not _is_plain(tensor):
        return id(tensor)
    return tensor.untyped_storage()._cdata, tensor.dtype


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether the tensor is described by a storage, a shape and strides alone."""
    return (
        type(tensor) in (torch.Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_nested)
        and tensor.device.type != "meta"
    )


def _block(tensors: list[torch.Tensor]) -> Block:
    first = tensors[0]
    if len(tensors) == 1 and not _is_plain(first):
        return Block((first,), first.detach())
    if len(tensors) == 1 and is_dense(first):
        return Block((first,), _with_bits_of(first, first.detach()))  # twice conjugated is as it lies in memory
    alignment = max(1, ALIGNMENT // first.element_size())
    start = min(t.storage_offset() for t in tensors) // alignment * alignment
    end = max(t.storage_offset() + extent(t) for t in tensors)
    content = torch.empty(0, dtype=first.dtype, device=first.device)
    content.set_(first.untyped_storage(), start, (end - start,), (1,))
    return Block(tuple(tensors), content, start, flat=True)


def _with_bits_of(tensor: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """A view of *content* that is conjugated or negated, without a copy, where the plain *tensor* is."""
    if not _is_plain(tensor):
        return content
    content = content.conj() if tensor.is_conj() else content
    return torch._neg_view(content) if tensor.is_neg() else content


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements of a strided tensor fill their memory without gaps or overlaps, in any order."""
    expected = 1
    for stride, size in sorted(
        (stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1
    ):
        if stride != expected:
            return not tensor.numel()
        expected *= size
    return True


def extent(tensor: torch.Tensor) -> int:
    """The elements of memory from the tensor's first to its last one."""
    if not tensor.numel():
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _why_not_copied(value: Any, memo: dict[int, Any], error: Exception) -> str:
    """The innermost value that can't be copied, and why."""
    path = ""
    while (inner := _uncopyable_in(value, memo)) is not None:
        key, value, error = inner
        path += key
    where = f"{path.lstrip('.')}, a {type(value).__name__}," if path else f"a {type(value).__name__}"
    reason = " ".join(str(error).split()) or "no message"
    return (
        f"the inputs can't be copied, so the test could change them: {where} raised {type(error).__name__}: {reason}; "
        "pass inputs that copy.deepcopy supports"
    )


def _uncopyable_in(value: Any, memo: dict[int, Any]) -> tuple[str, Any, Exception] | None:
    """The first value in a container or object that can't be copied, with its path component and what that raises."""
    for key, child in tree.children(value) or ():
        try:
            copy.deepcopy(child, dict(memo))
        except Exception as error:
            return key, child, error
    return None
