"""Tensors that share memory with what a module holds, so that their copies can be tied to any copy of the module.

A model may pass a module its own buffer, or a tied parameter: in a test the argument must be that tensor again, or
what the module writes to one would not be seen in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ttprof.plan import tree
from ttprof.plan.at_rest import held_names, holders, memory_of
from ttprof.plan.autocast import without_autocast
from ttprof.plan.copies import extent
from ttprof.plan.state import dotted_path


@dataclass(frozen=True)
class Alias:
    """A tensor that a module holds, or a view of it.

    Attributes:
        part: The dotted path of the submodule that holds the tensor.
        kind: How it holds it, as in ``Attribute``.
        name: The name of what holds it there.
        index: The position of the tensor among those in the named value.
        view: Shape, strides and the offset in elements from the start of the held tensor; None for that tensor itself.
        detached: Whether the tensor requires no gradient although the held one does.
    """

    part: str
    kind: str
    name: str
    index: int
    view: tuple[tuple[int, ...], tuple[int, ...], int] | None
    detached: bool = False

    def tensor_in(self, parts: Mapping[str, nn.Module]) -> torch.Tensor | None:
        """The tensor in a module whose *parts* are given by path; None if it holds no such tensor."""
        if self.part not in parts:
            return None
        tensors = tree.tensors(holders(parts[self.part])[self.kind].get(self.name))
        if self.index >= len(tensors):
            return None
        held = tensors[self.index].detach() if self.detached else tensors[self.index]
        if self.view is None:
            return held
        shape, strides, offset = self.view
        return held.as_strided(shape, strides, held.storage_offset() + offset)


Aliases = Mapping[int, Alias]
"""The tensors that are aliases, by their position in ``tree.tensors``."""


def aliases_of(
    module: nn.Module, value: Any, tensors_in: Callable[[Any], Sequence[torch.Tensor]] = tree.tensors
) -> tuple[Aliases, list[str]]:
    """The tensors in *value* that share memory with what *module* holds.

    Args:
        module: The module.
        value: Arguments, or values of attributes.
        tensors_in: Returns the tensors in a value that the module holds.

    Returns:
        The aliases, and the names of what shares memory in a way that no view of it can have, as in another dtype.
    """
    wanted: dict[int, list[tuple[int, torch.Tensor]]] = {}
    for position, tensor in enumerate(tree.tensors(value)):
        if (memory := memory_of(tensor)) is not None and tensor.numel():
            wanted.setdefault(memory, []).append((position, tensor))
    aliases: dict[int, Alias] = {}
    sharing: dict[int, str] = {}
    if not wanted:
        return {}, []
    for path, part in parts_of(module).items():
        for kind, name, held_value in held_names(part):
            if kind in ("mode", "submodule") or isinstance(held_value, tree.PRIMITIVES):
                continue
            for index, held in enumerate(tensors_in(held_value)):
                for position, tensor in wanted.get(memory_of(held) or 0, ()):
                    view = _view_of(held, tensor)
                    if view is False:
                        sharing.setdefault(position, name)
                    elif position not in aliases or view is None:
                        detached = held.requires_grad and not tensor.requires_grad
                        aliases[position] = Alias(path, kind, name, index, view, detached)
    return aliases, list(dict.fromkeys(name for position, name in sharing.items() if position not in aliases))


def parts_of(module: nn.Module) -> dict[str, nn.Module]:
    """The parts of *module* by their paths, without the wrappers that torch.compile and autocast add."""
    return {dotted_path(p): part for p, part in without_autocast(module).named_modules(remove_duplicate=False)}


def bound(value: Any, aliases: Aliases, module: Any) -> dict[int, torch.Tensor]:
    """The tensors of *module* in place of those of *value* that are aliases, by the identity of these.

    A tensor of another module, such as a reference, takes the place only if it holds the same values.
    """
    if not aliases or not isinstance(module, nn.Module):
        return {}
    parts, tensors = parts_of(module), tree.tensors(value)
    found = [(tensors[position], alias.tensor_in(parts)) for position, alias in aliases.items()]
    return {id(tensor): held for tensor, held in found if held is not None and _holds_same(held, tensor)}


def _holds_same(held: torch.Tensor, tensor: torch.Tensor) -> bool:
    if held.shape != tensor.shape or held.dtype != tensor.dtype or held.device != tensor.device:
        return False
    if torch.equal(held, tensor) or not held.is_floating_point():
        return torch.equal(held, tensor)
    return torch.equal(held.nan_to_num(), tensor.nan_to_num())


def _view_of(held: torch.Tensor, tensor: torch.Tensor) -> Any:
    """How *tensor* is made of *held*: None if it is it, False if no view of *held* is like it."""
    if tensor is held:
        return None
    offset = tensor.storage_offset() - held.storage_offset()
    same_bits = (tensor.is_conj(), tensor.is_neg()) == (held.is_conj(), held.is_neg())
    inside = offset >= 0 and offset + extent(tensor) <= extent(held)
    if tensor.dtype != held.dtype or not same_bits or not inside:
        return False
    return tuple(tensor.shape), tensor.stride(), offset
