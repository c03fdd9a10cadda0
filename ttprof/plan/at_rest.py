"""What modules hold before the forward of their model, and what of it differs at a later moment of that forward."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ttprof.plan import tree
from ttprof.plan.copies import extent
from ttprof.plan.held import State, held_by, same_item, same_items

ABSENT = object()
"""The value of an attribute that a module does not have."""

HOOKS = ("_forward_pre_hooks", "_forward_hooks")
BACKWARD_HOOKS = ("_backward_pre_hooks", "_backward_hooks")

SAMPLED = 8
"""About so many elements of a tensor show whether NumPy or C code has written to it, unseen by torch."""

_PLUMBING = frozenset(vars(nn.Module())) | {"forward"}
"""The attributes that every module has, and the one that the capture replaces."""

_CONTAINERS = (dict, list, tuple, set)


@dataclass(frozen=True, eq=False)
class Attribute:
    """An attribute, parameter, buffer, submodule or mode of a module, by its ``kind``, with a value of its own."""

    module: nn.Module
    name: str
    value: Any
    kind: str = "plain"

    def apply(self) -> Attribute:
        """Set the attribute. Returns what brings back the state before."""
        holder = holders(self.module)[self.kind]
        before = Attribute(self.module, self.name, holder.get(self.name, ABSENT), self.kind)
        if self.value is ABSENT:
            holder.pop(self.name, None)
        else:
            holder[self.name] = self.value
        return before

    def holding(self, value: Any) -> Attribute:
        """This attribute with another value, unless it is absent."""
        return self if self.value is ABSENT else replace(self, value=value)


def holders(module: nn.Module) -> Mapping[str, dict[str, Any]]:
    """The dicts in which a module keeps what it holds, by kind."""
    own = vars(module)
    return {
        "plain": own,
        "mode": own,
        "parameter": module._parameters,
        "buffer": module._buffers,
        "submodule": module._modules,
    }


def held_names(module: nn.Module) -> Iterable[tuple[str, str, Any]]:
    """Kind, name and value of everything that *module* itself holds."""
    for kind, holder in holders(module).items():
        for name, value in holder.items():
            if (name == "training") if kind == "mode" else (kind != "plain" or name not in _PLUMBING):
                yield kind, name, value


@dataclass(eq=False)
class AtRest:
    """What modules held at one moment.

    ``written`` has the identity of the memory of each tensor that operators have written to since then, ``hooks`` the
    hooks around the forward of each module.
    """

    written: Container[int]
    hooks: dict[nn.Module, list[Any]] = field(default_factory=dict)
    _values: dict[nn.Module, dict[tuple[str, str], Any]] = field(default_factory=dict)
    _forwards: dict[nn.Module, list[Any]] = field(default_factory=dict)
    _inside: dict[int, list[Callable[[], bool]]] = field(default_factory=dict)
    _tensors: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, written: Container[int]) -> AtRest:
        """Note what the modules of *model* hold now."""
        at_rest = cls(written)
        for module in model.modules():
            values = {(kind, name): value for kind, name, value in held_names(module) if not _is_lazy(value)}
            at_rest._values[module] = values
            names = (*HOOKS, *BACKWARD_HOOKS)
            at_rest.hooks[module] = [hook for name in names for hook in vars(module).get(name, {}).values()]
            at_rest._forwards[module] = _forward_of(module)
            for value in values.values():
                if id(value) not in at_rest._inside and not isinstance(value, (*tree.PRIMITIVES, nn.Module)):
                    held = list(held_by(value, set()))
                    at_rest._inside[id(value)] = [at_rest._change_of(item) for item in held]
                    at_rest._tensors[id(value)] = [item for item in held if isinstance(item, torch.Tensor)]
        return at_rest

    def changed(self, module: nn.Module) -> list[Attribute]:
        """The attributes of *module* and its parts that are others now, or whose values have changed."""
        known: dict[int, bool] = {}
        return [attribute for part in module.modules() for attribute in self._changed(part, known)]

    def _changed(self, part: nn.Module, known: dict[int, bool]) -> list[Attribute]:
        if part not in self._values:
            return []
        before = self._values[part]
        now = {(kind, name): value for kind, name, value in held_names(part)}
        keys = [key for key in {**before, **now} if self._differs(before.get(key, ABSENT), now.get(key, ABSENT), known)]
        return [Attribute(part, name, now.get((kind, name), ABSENT), kind) for kind, name in keys]

    def _differs(self, before: Any, now: Any, known: dict[int, bool]) -> bool:
        if before is not now and not _alike(before, now):
            return not _is_lazy(now)
        if id(before) not in self._inside:
            return False
        if id(before) not in known:
            known[id(before)] = any(changed() for changed in self._inside[id(before)])
        return known[id(before)]

    def _change_of(self, held: Any) -> Callable[[], bool]:
        """What tells whether a value has changed in place."""
        if isinstance(held, torch.Tensor):
            return self._writes_to(held)
        state = State.of(held)
        return (lambda: False) if state is None else (lambda: state.now() is not None)

    def _writes_to(self, tensor: torch.Tensor) -> Callable[[], bool]:
        before, memory = _marks(tensor), memory_of(tensor)
        return lambda: memory in self.written or _marks(tensor) != before

    def tensors_in(self, value: Any) -> list[torch.Tensor]:
        """The tensors in a value that a module holds now."""
        if isinstance(value, torch.Tensor):
            return [value]
        unchanged = id(value) in self._inside and not any(changed() for changed in self._inside[id(value)])
        if unchanged and not self._tensors[id(value)]:
            return []  # the usual case, such as of a configuration that all modules hold
        return tree.tensors(value)

    def replaces_forward(self, module: nn.Module) -> bool:
        """Whether the forward of *module* or of a part of it has been replaced."""
        parts = (part for part in module.modules() if part in self._forwards)
        return any(not same_items(self._forwards[part], _forward_of(part)) for part in parts)


def _forward_of(module: nn.Module) -> list[Any]:
    """The forward of a module itself, and that of its class."""
    return [vars(module).get("forward"), type(module).__dict__.get("forward")]


def memory_of(tensor: torch.Tensor) -> int | None:
    """The identity of the memory of a plain strided tensor; None for others, as nested or quantised ones."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter, nn.Buffer) and tensor.layout is torch.strided
    if not plain or tensor.is_nested or tensor.is_quantized or tensor.device.type == "meta":
        return None
    identity: int = tensor.untyped_storage()._cdata
    return identity


def is_backed(tensor: torch.Tensor) -> bool:
    """Whether the memory of a strided tensor is there: FSDP frees that of parameters between forwards."""
    needed = (tensor.storage_offset() + extent(tensor)) * tensor.element_size()
    return tensor.untyped_storage().nbytes() >= needed


def _is_lazy(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and is_lazy(value)


def _alike(before: Any, now: Any) -> bool:
    """Whether two values are equal primitives, or containers of the same values."""
    if isinstance(before, _CONTAINERS) and type(before) is type(now):
        return same_items(*(list(value.items() if isinstance(value, dict) else value) for value in (before, now)))
    return isinstance(before, tree.PRIMITIVES) and same_item(before, now)


def _marks(tensor: torch.Tensor) -> Any:
    """The version, gradient flag and memory of a tensor, and a few of its elements if they lie in the host's memory."""
    version = (0 if tensor.is_inference() else tensor._version), tensor.requires_grad
    plain = memory_of(tensor) is not None and tensor.device.type == "cpu"
    if not plain or not tensor.is_contiguous() or not is_backed(tensor):
        return version
    values = tensor.detach().view(-1)
    return version, tensor.data_ptr(), repr(values[:: max(1, len(values) // SAMPLED)].tolist())
