"""Walks the values held by arguments and outputs, into containers, dataclasses and objects of any type.

torch's pytree sees only registered types: it would miss a tensor in a dataclass, a graph batch or a key-value cache.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

PRIMITIVES = (type(None), bool, int, float, complex, str, bytes)
CALLABLES = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, nn.Module, torch.Generator)
"""Types that a value refers to but does not own; the walk does not enter them."""


ARRAYS = (torch.Tensor, np.ndarray, np.generic)
_LEAVES = (*ARRAYS, *PRIMITIVES, *CALLABLES)


class Leaf(NamedTuple):
    """A value without further values in it, and the path to it, for example ``[0]`` or ``.layers[1].keys``.

    ``opaque``: the path leads through an object that is neither a container nor a dataclass.
    """

    path: str
    value: Any
    opaque: bool = False


def leaves(value: Any) -> list[Leaf]:
    """All leaves of *value* in order; an object that is reached twice is entered once."""
    return list(_walk(value, "", opaque=False, entered={}))


def tensors(value: Any) -> list[torch.Tensor]:
    """The distinct tensors in *value*, in the order in which they are reached."""
    found: dict[int, torch.Tensor] = {}
    entered: dict[int, Any] = {}
    pending = [value]
    while pending:  # no recursion and no paths: values may be long lists of numbers, or deeply nested
        item = pending.pop()
        if isinstance(item, torch.Tensor):
            found.setdefault(id(item), item)
        elif not isinstance(item, _LEAVES) and id(item) not in entered:
            entered[id(item)] = item
            pending += [child for child in reversed(_values(item)) if not isinstance(child, PRIMITIVES)]
    return list(found.values())


def _walk(value: Any, path: str, opaque: bool, entered: dict[int, Any]) -> Iterator[Leaf]:
    inside = None if isinstance(value, _LEAVES) else children(value)
    if inside is None:
        yield Leaf(path, value, opaque)
    elif id(value) not in entered:
        entered[id(value)] = value  # also keeps temporary objects alive, so that no id is used twice
        opaque = opaque or not (is_container(value) or dataclasses.is_dataclass(value))
        for key, child in inside:
            yield from _walk(child, path + key, opaque, entered)


def is_container(value: Any) -> bool:
    """Whether *value* is a container whose items the walk enters."""
    return isinstance(value, (Mapping, list, tuple, deque, set, frozenset))


def children(value: Any) -> list[tuple[str, Any]] | None:
    """The values in *value* with their path components; None if *value* can't be entered."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{name}", item) for name, item in zip(value._fields, value, strict=True)]
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        return [(f"[{i}]", item) for i, item in enumerate(value)]
    return [(f".{name}", item) for name, item in _attributes(value).items()] or None


def _values(value: Any) -> list[Any]:
    """The values in *value*, in the order of ``children``."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        return list(value)
    return list(_attributes(value).values())


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots first."""
    kind: Any = type(value)
    return {
        **{name: getattr(value, name) for name in slots_of(kind) if hasattr(value, name)},
        **getattr(value, "__dict__", {}),
    }


@functools.cache
def slots_of(kind: Any) -> tuple[str, ...]:
    """The names of the slots of a class and of its bases."""
    return tuple(name for base in kind.__mro__ for name in _slots(base))


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))
