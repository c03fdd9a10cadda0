"""Snapshots of plain attributes: the objects that they are, and the state of the containers and objects in them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from ttprof.plan import tree

PLUMBING = frozenset({"training", "forward", "_parameters", "_buffers", "_modules"})
"""Attributes of modules that are restored, but that are no state of the user's."""

REGISTRIES = frozenset({"_parameters", "_modules"})
"""Attributes whose items have names that the user knows; buffers are part of an outcome, and compared."""

MAX_VALUES = 20_000
"""Values in the attributes of a module that are looked at; more are not kept by anything that a forward changes."""

_MISSING = object()
_CONTAINERS = (dict, list, set, deque)


@dataclass(frozen=True)
class _Saved:
    """A value that can change in place: *read* returns its state as a list, *write* brings a state back."""

    name: str
    value: Any
    read: Callable[[Any], list[Any]]
    write: Callable[[Any, list[Any]], None]
    before: list[Any]


@dataclass(eq=False)
class Attributes:
    """The attributes of one module, and the states of the values in them, however deeply nested.

    Without ``plain``, they are only those in PLUMBING.
    """

    owner: nn.Module
    plain: bool
    values: dict[str, Any]
    states: list[_Saved]

    @classmethod
    def of(cls, module: nn.Module, entered: set[int], plain: bool = True) -> Attributes:
        """Save the attributes of *module*, without the values in *entered*, to which those saved here are added."""
        values = {name: vars(module)[name] for name in _saved_names(vars(module), plain)}
        states = [
            _Saved(name, held, read, write, read(held))
            for name, value in values.items()
            for held in _held_by(value, entered)
            for read, write in _accessors(held)
        ]
        return cls(module, plain, values, states)

    def tensors(self) -> list[torch.Tensor]:
        """The tensors that plain attributes hold, directly or in a container."""
        values = [value for name, value in self.values.items() if name not in PLUMBING]
        return [held for value in values for held in _held_by(value, set()) if isinstance(held, torch.Tensor)]

    def restore(self) -> list[str]:
        """Restore the attributes. Returns the names of those that had changed."""
        now, changed = vars(self.owner), []
        for name in _saved_names(now, self.plain):
            if name not in self.values:
                del now[name]
                changed.append(name)
        for name, value in self.values.items():
            if now.get(name, _MISSING) is not value:
                now[name] = value
                changed.append(name)
        for saved in self.states:
            state = saved.read(saved.value)
            if not _same(state, saved.before):
                changed += _differing_keys(state, saved.before) if saved.name in REGISTRIES else [saved.name]
                saved.write(saved.value, saved.before)
        return [name for name in dict.fromkeys(changed) if name not in PLUMBING]


def _saved_names(attributes: dict[str, Any], plain: bool) -> list[str]:
    return [name for name in attributes if name != "training" and (plain or name in PLUMBING)]


def _held_by(value: Any, entered: set[int]) -> Iterator[Any]:
    """*value* and the values in it, however deeply nested; modules, callables and what is in *entered* are left out."""
    pending, count = [value], 0
    while pending and count < MAX_VALUES:
        held = pending.pop()
        if isinstance(held, (*tree.PRIMITIVES, type, ModuleType, nn.Module)) or callable(held) or id(held) in entered:
            continue
        entered.add(id(held))
        count += 1
        yield held
        if isinstance(held, MutableMapping):
            pending += held.values()
        elif isinstance(held, (list, tuple, set, deque)):
            pending += held
        elif not isinstance(held, tree.ARRAYS):
            pending += vars(held).values() if hasattr(held, "__dict__") else ()


def _accessors(value: Any) -> list[tuple[Callable[[Any], list[Any]], Callable[[Any, list[Any]], None]]]:
    """How to read and write the state of a value that can change in place; empty for others, and for tensors."""
    if isinstance(value, _CONTAINERS):
        return [(_items, _refill)]
    if isinstance(value, np.ndarray):
        return [(lambda array: [array.tobytes()], _refill_array)]
    if isinstance(value, torch.Generator):
        return [(lambda g: [g.get_state().cpu().numpy().tobytes()], _set_generator)]
    if isinstance(value, np.random.Generator):
        return [(lambda g: [repr(g.bit_generator.state), g.bit_generator.state], _set_bit_generator)]
    if isinstance(value, (random.Random, np.random.RandomState)):
        return [(_random_state, _set_random_state)]
    if isinstance(value, torch.Tensor) or not hasattr(value, "__dict__"):
        return []
    return [(lambda held: list(vars(held).items()), lambda held, items: _refill(vars(held), items))]


def _items(container: Any) -> list[Any]:
    return list(container.items()) if isinstance(container, dict) else list(container)


def _refill(container: Any, items: list[Any]) -> None:
    container.clear()
    container.update(items) if isinstance(container, (dict, set)) else container.extend(items)


def _refill_array(array: np.ndarray, state: list[Any]) -> None:
    array[...] = np.frombuffer(state[0], dtype=array.dtype).reshape(array.shape)


def _set_generator(generator: torch.Generator, state: list[Any]) -> None:
    generator.set_state(torch.frombuffer(bytearray(state[0]), dtype=torch.uint8))


def _set_bit_generator(generator: np.random.Generator, state: list[Any]) -> None:
    generator.bit_generator.state = state[1]


def _random_state(generator: Any) -> list[Any]:
    state = generator.getstate() if isinstance(generator, random.Random) else generator.get_state(legacy=False)
    return [repr(state), state]


def _set_random_state(generator: Any, state: list[Any]) -> None:
    generator.setstate(state[1]) if isinstance(generator, random.Random) else generator.set_state(state[1])


def _same(one: list[Any], other: list[Any]) -> bool:
    """Whether two states are alike: the same objects, or equal primitive values."""
    return len(one) == len(other) and all(map(_same_item, one, other))


def _same_item(one: Any, other: Any) -> bool:
    if one is other or (isinstance(one, tree.PRIMITIVES) and type(one) is type(other) and one == other):
        return True
    pair = isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other)
    return (pair and all(map(_same_item, one, other))) or (isinstance(one, dict) and isinstance(other, dict))


def _differing_keys(one: list[tuple[str, Any]], other: list[tuple[str, Any]]) -> list[str]:
    """The keys of items that only one of two dicts has, or whose values are other objects."""
    mine, theirs = dict(one), dict(other)
    return [key for key in {**theirs, **mine} if mine.get(key, _MISSING) is not theirs.get(key, _MISSING)]
