"""What a model changes around its call of a submodule, so that a test of the submodule alone can run under the same.

Autocast and the attributes that a parent sets are brought back for the test; no_grad, and attributes that can't be
copied, are only said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan import tree
from ttprof.plan.copies import Memory

IGNORED = frozenset({"training", "forward"})
"""Attributes that differ because the test itself changes them."""

MAX_NAMES = 3
"""Attributes that a clause names."""

_ABSENT = object()


@dataclass(frozen=True, eq=False)
class Attribute:
    """An attribute, parameter or buffer that a model sets, or deletes, before it calls a module."""

    module: nn.Module
    name: str
    value: Any
    kind: str = "plain"

    def apply(self) -> Attribute:
        """Set the attribute. Returns what brings back the state before."""
        holder = _holders(self.module)[self.kind]
        before = Attribute(self.module, self.name, holder.get(self.name, _ABSENT), self.kind)
        if self.value is _ABSENT:
            holder.pop(self.name, None)
        else:
            holder[self.name] = self.value
        return before


@dataclass(frozen=True, eq=False)
class Context:
    """The surroundings of one call of a module.

    Attributes:
        autocast: The dtype of the autocast that the call runs under, or None.
        attributes: What the model has set on the module and its submodules.
        missing: A clause on what a test of the module alone lacks; empty if nothing.
    """

    autocast: torch.dtype | None = None
    attributes: tuple[Attribute, ...] = ()
    missing: str = ""

    @property
    def described(self) -> str:
        """A clause on what the test takes over from the model; empty if nothing."""
        clauses = [f"under autocast to {str(self.autocast).removeprefix('torch.')}"] if self.autocast else []
        clauses += [f"with {_listed(self.attributes)} as the model sets it before the call"] if self.attributes else []
        return " and ".join(clauses)

    def apply(self) -> list[Attribute]:
        """Set the attributes. Returns what brings back the state before."""
        return [attribute.apply() for attribute in self.attributes]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the attributes within the context."""
        before = self.apply()
        try:
            yield
        finally:
            for attribute in reversed(before):
                attribute.apply()


NO_CONTEXT = Context()


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The attributes of modules before the forward of the model, and whether it runs with gradients enabled."""

    at_rest: dict[nn.Module, dict[tuple[str, str], Any]]
    grad: bool
    originals: Mapping[nn.Module, nn.Module]
    running: set[nn.Module] = field(default_factory=set)

    @classmethod
    def of(cls, model: nn.Module, grad: bool, originals: Mapping[nn.Module, nn.Module]) -> Surroundings:
        """Note the attributes of the modules of *model* before its forward; of a copy with its *originals*."""
        return cls({module: _identities(module) for module in model.modules()}, grad, originals)

    def around(self, module: nn.Module) -> Context:
        """What differs at this moment, the start of a call of *module*.

        Before their first call it and its submodules can't have changed their own attributes: the model did.
        """
        device = next((p.device.type for p in module.parameters()), "cpu")
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        changed = [attribute for part in module.modules() for attribute in self._changed(part)]
        copied = _copied(changed)
        clauses = []
        if self.grad and not torch.is_grad_enabled():
            clauses.append("the model runs it under no_grad, so that training never runs its backward")
        if copied is None:
            clauses.append(f"the model sets {_listed(changed)} before the call, and that can't be copied")
        return Context(autocast, copied or (), "; ".join(clauses))

    def begin(self, module: nn.Module) -> None:
        """Note that a call of *module* begins: from now on it and its submodules may change their own attributes."""
        self.running.update(module.modules())

    def _changed(self, module: nn.Module) -> list[Attribute]:
        if module in self.running or module not in self.at_rest:
            return []
        before, now = self.at_rest[module], _identities(module)
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        holders = _holders(module)
        original = self.originals.get(module, module)
        return [Attribute(original, name, holders[kind].get(name, _ABSENT), kind) for kind, name in keys]


def _holders(module: nn.Module) -> Mapping[str, dict[str, Any]]:
    """The dicts in which a module keeps what it holds."""
    return {"plain": vars(module), "parameter": module._parameters, "buffer": module._buffers}


def _identities(module: nn.Module) -> dict[tuple[str, str], Any]:
    """What tells whether an attribute, parameter or buffer of *module* itself was set, by kind and name."""
    return {
        (kind, name): value if isinstance(value, tree.PRIMITIVES) else id(value)
        for kind, holder in _holders(module).items()
        for name, value in holder.items()
        if kind != "plain" or not (name.startswith("_") or name in IGNORED)
    }


def _copied(attributes: list[Attribute]) -> tuple[Attribute, ...] | None:
    """*attributes* with copies of their values, without the graph that computed them; None if one can't be copied."""
    try:
        values = Memory.of([attribute.value for attribute in attributes]).map(lambda t: t.detach().clone())
    except InputsError:
        return None
    pairs = zip(attributes, values, strict=True)
    return tuple(Attribute(a.module, a.name, _kept(a.value, value), a.kind) for a, value in pairs)


def _kept(value: Any, copied: Any) -> Any:
    """A parameter stays itself, as it is trained; any other value is the copy."""
    return value if isinstance(value, nn.Parameter) or value is _ABSENT else copied


def _listed(attributes: Iterable[Attribute]) -> str:
    names = list(dict.fromkeys(attribute.name for attribute in attributes))
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"its {', '.join(names[:MAX_NAMES])}{more}"
