"""Rounds parameters and inputs at random, to see how far the outcome of a float64 run depends on their last digit."""

from __future__ import annotations

import torch

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
