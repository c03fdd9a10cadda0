"""Random numbers that are the same in every dtype and on every device, so that dropout drops the same on both sides.

A seeded generator of the CPU gives what a random op asks for in float64; the op's own result is rounded from it. On a
CPU the seed alone would do for dropout; on a GPU, and for ``torch.rand_like``, each dtype has its own numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Tensor = torch.Tensor


def _drawn(like: Tensor, fill: Callable[[Tensor], Any]) -> Tensor:
    drawn = torch.empty(like.shape, dtype=torch.float64)
    fill(drawn)
    return drawn.to(device=like.device, dtype=like.dtype)


def _made(fill: Callable[[Tensor], Any]) -> Callable[..., Tensor]:
    """A random op that makes a tensor of a given size."""

    def make(size: Any, *, dtype: torch.dtype | None = None, device: Any = None, **_: Any) -> Tensor:
        like = torch.empty(size, dtype=dtype or torch.get_default_dtype(), device=device or "cpu")
        return _drawn(like, fill)

    return make


def _dropout(given: Tensor, p: float, train: bool | None = True) -> tuple[Tensor, Tensor]:
    """As aten::native_dropout: the output, and which values are kept."""
    if train is False:
        return given.clone(), torch.ones_like(given, dtype=torch.bool)
    kept = _drawn(given, lambda t: t.bernoulli_(1 - p))
    return given * kept * (0.0 if p == 1 else 1 / (1 - p)), kept.bool()


def _bernoulli(given: Tensor, *_: Any, **__: Any) -> Tensor:
    chance = given.detach().to("cpu", torch.float64)
    return _drawn(given, lambda t: t.copy_(torch.rand(chance.shape, dtype=torch.float64) < chance))


_aten = torch.ops.aten
_ALIKE: dict[Any, Callable[..., Any]] = {
    _aten.native_dropout.default: _dropout,
    _aten.bernoulli.default: _bernoulli,
    _aten.bernoulli_.float: lambda t, p=0.5, **_: t.copy_(_drawn(t, lambda drawn: drawn.bernoulli_(p))),
    _aten.uniform_.default: lambda t, low=0.0, high=1.0, **_: t.copy_(
        _drawn(t, lambda drawn: drawn.uniform_(low, high))
    ),
    _aten.normal_.default: lambda t, mean=0.0, std=1.0, **_: t.copy_(_drawn(t, lambda drawn: drawn.normal_(mean, std))),
    _aten.rand.default: _made(lambda drawn: drawn.uniform_()),
    _aten.randn.default: _made(lambda drawn: drawn.normal_()),
    _aten.exponential_.default: lambda t, rate=1.0, **_: t.copy_(_drawn(t, lambda drawn: drawn.exponential_(rate))),
    _aten.rand_like.default: lambda like, **_: _drawn(like, lambda drawn: drawn.uniform_()),
    _aten.randn_like.default: lambda like, **_: _drawn(like, lambda drawn: drawn.normal_()),
}


class OneStream(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, random ops draw from the CPU's default generator in float64, whatever their dtype and device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: skipping the compiler means importing it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _ALIKE.get(func, func)(*args, **(kwargs or {}))
