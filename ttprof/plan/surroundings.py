"""What a model changes around the call of a submodule: a test of the submodule alone does not have it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

IGNORED = frozenset({"training", "forward"})
"""Attributes that differ because the test itself changes them."""

MAX_NAMES = 3
"""Attributes that a clause names."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The attributes of modules before the forward of the model, and whether it runs with gradients enabled."""

    at_rest: dict[nn.Module, dict[str, int]]
    grad: bool

    @classmethod
    def of(cls, modules: Iterable[nn.Module], grad: bool) -> Surroundings:
        """Note the attributes of *modules* before the forward of the model."""
        return cls({module: _identities(module) for module in modules}, grad)

    def around(self, module: nn.Module, first: bool) -> str:
        """A clause on what differs at this moment, the start of a call of *module*; empty if nothing does.

        Before its *first* call a module can't have changed its own attributes: the model did.
        """
        clauses = []
        device = next((p.device.type for p in module.parameters()), "cpu")
        if torch.is_autocast_enabled(device):
            dtype = str(torch.get_autocast_dtype(device)).removeprefix("torch.")
            clauses.append(f"the model runs it under autocast to {dtype}: .autocast(torch.{dtype}) tests that")
        if self.grad and not torch.is_grad_enabled():
            clauses.append("the model runs it under no_grad, so that training never runs its backward")
        names = self._changed(module) if first else []
        if names:
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            clauses.append(f"the model sets its {', '.join(names[:MAX_NAMES])}{more} before the call")
        return "; ".join(clauses)

    def _changed(self, module: nn.Module) -> list[str]:
        before, now = self.at_rest.get(module, {}), _identities(module)
        return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def _identities(module: nn.Module) -> dict[str, int]:
    """The identity of each attribute, parameter and buffer of *module* itself."""
    own = {name: value for name, value in vars(module).items() if not name.startswith("_") and name not in IGNORED}
    registered = {**module._parameters, **module._buffers}
    return {name: id(value) for name, value in {**own, **registered}.items()}
