"""The inputs of one call: its arguments, where they came from, and how to clone, cast and describe them.

Tensors are never shared with the model: each use works on clones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from ttprof.codes import Note
from ttprof.errors import InputsError, user_code
from ttprof.plan.state import cast

InputSource = Literal["given", "captured", "synthesised"]


@dataclass(frozen=True)
class Size:
    """The sizes that inputs are made for.

    ``explicit``: the user chose the sequence length. ``named``: further sizes, which only the user's factory or shape
    can follow.
    """

    batch_size: int
    seq_len: int
    explicit: bool = True
    named: tuple[tuple[str, int], ...] = ()

    @property
    def by_name(self) -> dict[str, int]:
        """All sizes by name."""
        return {"batch_size": self.batch_size, "seq_len": self.seq_len, **dict(self.named)}


@dataclass(frozen=True, eq=False)
class Inputs:
    """Positional and keyword arguments of one call of a module, and a ``note`` that the trial has to show."""

    source: InputSource
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    note: Note | None = None

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """Apply *change* to every tensor, however deeply nested."""
        args, kwargs = pytree.tree_map_only(torch.Tensor, change, (self.args, self.kwargs))
        return replace(self, args=args, kwargs=kwargs)

    def cloned(self) -> Inputs:
        """Copies that share no memory with these and carry no gradient history."""
        return self.map(lambda t: t.detach().clone())

    def floating(self, dtype: torch.dtype) -> Inputs:
        """Cast every floating-point tensor to *dtype*, and complex ones to its complex counterpart."""
        return self.map(lambda t: cast(t, dtype))

    def scaled(self, factor: float) -> Inputs:
        """Multiply every floating-point tensor by *factor*."""
        return self.map(lambda t: t * factor if t.is_floating_point() else t)

    def jittered(self, seed: int) -> Inputs:
        """Add Gaussian noise to every floating-point tensor, at a tenth of its standard deviation."""
        generator = torch.Generator().manual_seed(seed)

        def add_noise(t: torch.Tensor) -> torch.Tensor:
            if not t.is_floating_point() or not t.numel():
                return t
            noise = torch.randn(t.shape, dtype=torch.float64, generator=generator).to(t)
            return t + 0.1 * t.double().std(correction=0).to(t) * noise

        return self.map(add_noise)

    def requiring_grad(self) -> Inputs:
        """Detach every tensor, and make the floating-point ones leaves that require gradients."""
        return self.map(lambda t: t.detach().requires_grad_(t.is_floating_point()))

    def tensors(self) -> list[torch.Tensor]:
        """All tensors, in the order of the arguments."""
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of every tensor, in the order of the arguments."""
        return [tuple(t.shape) for t in self.tensors()]

    def describe(self) -> str:
        """The tensors on one line, for example ``2x512x64 float32, attention_mask=2x512 int64``."""
        parts = [_describe(arg) for arg in self.args if _holds_tensor(arg)]
        parts += [f"{name}={_describe(value)}" for name, value in self.kwargs.items() if _holds_tensor(value)]
        return ", ".join(parts) or "no tensor"


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(value))


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        shape = "x".join(map(str, value.shape)) or "scalar"
        return f"{shape} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(_describe(v) for v in value) + ")"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_describe(v)}" for k, v in value.items()) + "}"
    return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else type(value).__name__


def as_inputs(value: Any) -> Inputs:
    """Interpret a user's inputs: a tensor, a tuple of arguments, a dict of keywords, or a pair (args, kwargs)."""
    if isinstance(value, Inputs):
        return value
    if isinstance(value, Mapping):
        return Inputs("given", kwargs=dict(value))
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], tuple) and isinstance(value[1], dict):
        return Inputs("given", args=value[0], kwargs=dict(value[1]))
    if isinstance(value, (tuple, list)):
        return Inputs("given", args=tuple(value))
    return Inputs("given", args=(value,))


def from_factory(factory: Callable[..., Any], size: Size) -> Inputs:
    """Call *factory* with the sizes that it has parameters for: ``batch_size``, ``seq_len`` and those of sweeps.

    Raises:
        ModuleRaised: the factory raised.
        InputsError: the factory returned None.
    """
    with user_code(f"the input factory {getattr(factory, '__name__', factory)!r}"):
        parameters = inspect.signature(factory).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        value = factory(**{name: number for name, number in size.by_name.items() if takes_any or name in parameters})
    if value is None:
        raise InputsError(f"the input factory {getattr(factory, '__name__', factory)!r} returned None")
    return as_inputs(value)


def follows_sizes(factory: Callable[..., Any], axis: str) -> bool:
    """Whether *factory* has a parameter for the size called *axis*."""
    parameters = inspect.signature(factory).parameters
    return axis in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
