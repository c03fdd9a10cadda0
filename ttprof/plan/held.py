"""The values that an attribute holds, however deeply nested, and how to read and write the state of each."""

from __future__ import annotations

import operator
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ttprof.plan import tree

MAX_VALUES = 20_000
"""Values in one attribute that are looked at; more are not kept by anything that a forward changes."""

_CONTAINERS = (dict, list, set, deque)
_NO_STATE = (*tree.PRIMITIVES, *(kind for kind in tree.CALLABLES if kind is not torch.Generator))


def _is_machinery(value: Any) -> bool:
    return callable(value) and type(value).__module__.partition(".")[0] == "torch"


@dataclass(frozen=True)
class State:
    """The state of a value that can change in place: *read* returns it as a list, *write* brings one back."""

    value: Any
    read: Callable[[Any], list[Any]]
    write: Callable[[Any, list[Any]], None]
    before: list[Any]

    @classmethod
    def of(cls, value: Any) -> State | None:
        """The state of *value* itself, without those of the values in it; None for tensors and what can't change."""
        accessors = _accessors(value)
        return None if accessors is None else cls(value, *accessors, accessors[0](value))

    def now(self) -> list[Any] | None:
        """The present state; None if it is that of before."""
        state = self.read(self.value)
        return None if same_items(state, self.before) else state

    def restore(self) -> None:
        """Bring the state of before back."""
        self.write(self.value, self.before)


def held_by(value: Any, entered: set[int]) -> Iterator[Any]:
    """*value* and the values in it, however deeply nested.

    Modules, functions, primitive values, callable objects of torch, such as what torch.compile keeps, and what is in
    *entered* are left out; what is yielded is added to *entered*.
    """
    pending, count = [value], 0
    while pending and count < MAX_VALUES:
        held = pending.pop()
        if isinstance(held, _NO_STATE) or id(held) in entered or _is_machinery(held):
            continue
        entered.add(id(held))
        count += 1
        yield held
        if isinstance(held, MutableMapping):
            inside: Iterable[Any] = [*held.values(), *(item for _, item in _fields(held))]
        elif isinstance(held, (list, tuple, set, deque)):
            inside = held
        else:
            inside = () if isinstance(held, tree.ARRAYS) else (item for _, item in _fields(held))
        pending += (item for item in inside if not isinstance(item, _NO_STATE))


def _accessors(value: Any) -> tuple[Callable[[Any], list[Any]], Callable[[Any, list[Any]], None]] | None:
    """How to read and write the state of a value that can change in place; None for others, and for tensors."""
    if isinstance(value, _CONTAINERS):
        return _items, _refill
    if isinstance(value, bytearray):
        return (lambda held: [bytes(held)]), (lambda held, state: held.__setitem__(slice(None), state[0]))
    if isinstance(value, np.ndarray):
        return (lambda array: [array.tobytes()]), _refill_array
    if isinstance(value, torch.Generator):
        return (lambda g: [g.get_state().cpu().numpy().tobytes()]), _set_generator
    if isinstance(value, np.random.Generator):
        return (lambda g: [repr(g.bit_generator.state), g.bit_generator.state]), _set_bit_generator
    if isinstance(value, (random.Random, np.random.RandomState)):
        return _random_state, _set_random_state
    if isinstance(value, torch.Tensor) or not _fields(value):
        return None
    return _fields, _set_fields


def _fields(value: Any) -> list[tuple[str, Any]]:
    """The attributes of an object, in its ``__dict__`` and its slots."""
    slots = [(name, getattr(value, name)) for name in _slots_of(value) if hasattr(value, name)]
    return [*slots, *getattr(value, "__dict__", {}).items()]


def _slots_of(value: Any) -> tuple[str, ...]:
    """The names of the slots of an object; none for the classes of Python's library, which cache values in theirs."""
    kind: Any = type(value)
    return () if kind.__module__.partition(".")[0] in sys.stdlib_module_names else tree.slots_of(kind)


def _set_fields(value: Any, fields: list[tuple[str, Any]]) -> None:
    slots = _slots_of(value)
    if hasattr(value, "__dict__"):
        _refill(vars(value), [field for field in fields if field[0] not in slots])
    for name, item in fields:
        if name in slots:
            object.__setattr__(value, name, item)


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


def same_items(one: list[Any], other: list[Any]) -> bool:
    """Whether two states are alike: the same objects, or equal primitive values."""
    return len(one) == len(other) and (all(map(operator.is_, one, other)) or all(map(same_item, one, other)))


def same_item(one: Any, other: Any) -> bool:
    """Whether two values are the same object, or equal primitive ones, NaNs being equal."""
    if one is other:
        return True
    if isinstance(one, tree.PRIMITIVES):
        return type(one) is type(other) and (one == other or (one != one and other != other))
    pair = isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other)
    return (pair and all(map(same_item, one, other))) or (isinstance(one, dict) and isinstance(other, dict))
