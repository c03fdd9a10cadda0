"""Makes random ops return the same numbers in every dtype and on every device.

With dropout, a module and its reference then drop the same values. Each random op draws from the CPU's seeded generator
in float64 and rounds the result to its dtype. The seed alone is not enough: on a GPU, and for ``torch.rand_like`` on a
CPU too, torch draws different numbers for each dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Tensor = torch.Tensor


def _draw(like: Tensor, fill: Callable[[Tensor], Any]) -> Tensor:
    """A tensor like *like* with the values that *fill* writes into a float64 tensor on the CPU."""
    values = torch.empty(like.shape, dtype=torch.float64)
    fill(values)
    return values.to(device=like.device, dtype=like.dtype)


def _factory(fill: Callable[[Tensor], Any]) -> Callable[..., Tensor]:
    """A random op that makes a tensor of a given size."""

    def make(size: Any, *, dtype: torch.dtype | None = None, device: Any = None, **_: Any) -> Tensor:
        like = torch.empty(size, dtype=dtype or torch.get_default_dtype(), device=device or "cpu")
        return _draw(like, fill)

    return make


def _dropout(values: Tensor, p: float, train: bool | None = True) -> tuple[Tensor, Tensor]:
    """Like aten::native_dropout: the output, and the mask of the values that are not dropped."""
    if train is False:
        return values.clone(), torch.ones_like(values, dtype=torch.bool)
    mask = _draw(values, lambda t: t.bernoulli_(1 - p))
    return values * mask * (0.0 if p == 1 else 1 / (1 - p)), mask.bool()


def _bernoulli(probabilities: Tensor, *_: Any, **__: Any) -> Tensor:
    p = probabilities.detach().to("cpu", torch.float64)
    return _draw(probabilities, lambda t: t.copy_(torch.rand(p.shape, dtype=torch.float64) < p))


_aten = torch.ops.aten
_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    _aten.native_dropout.default: _dropout,
    _aten.bernoulli.default: _bernoulli,
    _aten.bernoulli_.float: lambda t, p=0.5, **_: t.copy_(_draw(t, lambda values: values.bernoulli_(p))),
    _aten.uniform_.default: lambda t, low=0.0, high=1.0, **_: t.copy_(
        _draw(t, lambda values: values.uniform_(low, high))
    ),
    _aten.normal_.default: lambda t, mean=0.0, std=1.0, **_: t.copy_(
        _draw(t, lambda values: values.normal_(mean, std))
    ),
    _aten.rand.default: _factory(lambda values: values.uniform_()),
    _aten.randn.default: _factory(lambda values: values.normal_()),
    _aten.exponential_.default: lambda t, rate=1.0, **_: t.copy_(_draw(t, lambda values: values.exponential_(rate))),
    _aten.rand_like.default: lambda like, **_: _draw(like, lambda values: values.uniform_()),
    _aten.randn_like.default: lambda like, **_: _draw(like, lambda values: values.normal_()),
}


class SharedRandomNumbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode in which random ops of any dtype and device draw from the CPU's default generator, in float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to skip dynamo torch would have to import it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))
