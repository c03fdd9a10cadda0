"""Rounds at random, to see how far the outcome of a float64 run depends on the last digit."""

from __future__ import annotations

from typing import Any

import torch

from ttprof.plan.compiled import TransparentMode

EXTREMES = torch.tensor(
    [torch.finfo(dtype).max for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)],
    dtype=torch.float64,
)
"""The largest values of dtypes, which stand for infinity in masks: rounding does not move them."""

ZERO_SCALE = 0.01
"""The size that the values of an all-zero tensor, such as a bias at its initialisation, are assumed to have."""


class RandomRounding:
    """Moves each value of a floating-point tensor by up to a unit in the last place of *dtype*.

    The method of CESTAC (Vignes, 1978), applied to parameters and inputs only: an outcome that moves is ill-conditioned
    or jumps, whatever the algorithm. What an algorithm loses by rounding in between is an error of the module.
    """

    def __init__(self, dtype: torch.dtype, seed: int) -> None:
        self._eps = torch.finfo(dtype).eps
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """A moved copy of *tensor*; *tensor* itself if it has no floating-point values, or none that can be changed."""
        if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.is_nested:
            return tensor
        noise = 2 * torch.rand(tensor.shape, dtype=torch.float64, generator=self._generator) - 1
        change = (self._eps * noise).to(tensor)
        moved = tensor * (1 + change) if bool(tensor.any()) else ZERO_SCALE * change
        return torch.where(torch.isin(tensor.abs(), EXTREMES.to(tensor)), tensor, moved)


class OperatorRounding(TransparentMode):
    """A mode that moves what each operator returns by up to a unit in the last place of *dtype*.

    Monte Carlo arithmetic (Parker, 1997): float64 runs under it differ as those of a correct module in *dtype* may.
    Views, and operators in place, return what they return otherwise.
    """

    def __init__(self, dtype: torch.dtype, seed: int) -> None:
        super().__init__()
        self._round = RandomRounding(dtype, seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        schema = getattr(func, "_schema", None)
        if schema is None or any(returned.alias_info is not None for returned in schema.returns):
            return result
        if isinstance(result, torch.Tensor):
            return self._moved(result)
        return type(result)(map(self._moved, result)) if isinstance(result, (tuple, list)) else result

    def _moved(self, value: Any) -> Any:
        return self._round(value) if isinstance(value, torch.Tensor) and bool(value.any()) else value
