"""Snapshots of plain attributes: the objects that they are, and the state of the containers and objects in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ttprof.plan import tree
from ttprof.plan.held import State, held_by

PLUMBING = frozenset({"training", "forward", "_parameters", "_buffers", "_modules"})
"""Attributes of modules that are restored, but that are no state of the user's."""

REGISTRIES = frozenset({"_parameters", "_modules"})
"""Attributes whose items have names that the user knows; buffers are part of an outcome, and compared."""

_VALUES = (*tree.PRIMITIVES, *tree.ARRAYS, dict, list, set, tuple, deque, torch.Generator)
"""Types of class attributes that are values."""

_MISSING = object()


@dataclass(eq=False)
class Attributes:
    """The attributes of one module, and the states of the values in them, however deeply nested.

    Without ``plain``, they are only those in PLUMBING.
    """

    owner: nn.Module
    plain: bool
    values: dict[str, Any]
    states: list[tuple[str, State]]

    @classmethod
    def of(cls, module: nn.Module, entered: set[int], plain: bool = True) -> Attributes:
        """Save the attributes of *module*, without the values in *entered*, to which those saved here are added."""
        values = {name: vars(module)[name] for name in _saved_names(vars(module), plain)}
        states = [
            (name, state)
            for name, value in values.items()
            for held in held_by(value, entered)
            if (state := State.of(held)) is not None
        ]
        return cls(module, plain, values, states)

    def tensors(self) -> list[torch.Tensor]:
        """The tensors that plain attributes hold, directly or in a container."""
        values = [value for name, value in self.values.items() if name not in PLUMBING]
        return [held for value in values for held in held_by(value, set()) if isinstance(held, torch.Tensor)]

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
        for name, saved in self.states:
            if (state := saved.now()) is not None:
                changed += _differing_keys(state, saved.before) if name in REGISTRIES else [name]
                saved.restore()
        return [name for name in dict.fromkeys(changed) if name not in PLUMBING]


@dataclass(eq=False)
class ClassAttributes:
    """The values that a class of modules holds for all of them, such as a counter or a cache, and their states."""

    owner: type
    values: dict[str, Any]
    states: list[tuple[str, State]]

    @classmethod
    def of(cls, owner: type, entered: set[int]) -> ClassAttributes:
        """Save the attributes of *owner* itself that hold values, without its methods and descriptors."""
        values = {n: v for n, v in vars(owner).items() if isinstance(v, _VALUES) and not n.startswith("__")}
        held = ((name, State.of(item)) for name, value in values.items() for item in held_by(value, entered))
        return cls(owner, values, [(name, state) for name, state in held if state is not None])

    def restore(self) -> list[str]:
        """Restore the attributes. Returns the names of those that had changed, for example ``Attention.calls``."""
        changed = []
        now = {name: value for name, value in vars(self.owner).items() if isinstance(value, _VALUES)}
        for name in now.keys() - self.values.keys():
            if not name.startswith("__"):
                delattr(self.owner, name)
                changed.append(name)
        for name, value in self.values.items():
            if now.get(name, _MISSING) is not value:
                setattr(self.owner, name, value)
                changed.append(name)
        for name, saved in self.states:
            if saved.now() is not None:
                saved.restore()
                changed.append(name)
        return [f"{self.owner.__name__}.{name}" for name in dict.fromkeys(changed)]


def classes_of(modules: Iterable[nn.Module]) -> list[type]:
    """The classes of *modules* and their bases, outside torch."""
    kinds = {kind for module in modules for kind in type(module).__mro__}
    return [kind for kind in kinds if kind.__module__.partition(".")[0] not in ("torch", "builtins", "abc", "typing")]


def _saved_names(attributes: dict[str, Any], plain: bool) -> list[str]:
    return [name for name in attributes if name != "training" and (plain or name in PLUMBING)]


def _differing_keys(one: list[tuple[str, Any]], other: list[tuple[str, Any]]) -> list[str]:
    """The keys of items that only one of two dicts has, or whose values are other objects."""
    mine, theirs = dict(one), dict(other)
    return [key for key in {**theirs, **mine} if mine.get(key, _MISSING) is not theirs.get(key, _MISSING)]
