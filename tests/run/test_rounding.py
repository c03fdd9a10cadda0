"""Random rounding moves values by their last digit, and nothing else."""

from __future__ import annotations

import pytest
import torch

from ttprof.run.rounding import RandomRounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_value_moves_by_up_to_a_unit_in_the_last_place(dtype):
    moved = RandomRounding(dtype, seed=0)(torch.full((1000,), 4.0, dtype=torch.float64)) / 4
    error, eps = (moved - 1).abs(), torch.finfo(dtype).eps
    assert 0.9 * eps < float(error.max()) <= eps
    assert float((moved - 1).mean()) == pytest.approx(0, abs=0.1 * eps)


def test_zeros_move_only_if_all_values_are_zero():
    eps = torch.finfo(torch.float32).eps
    bias = RandomRounding(torch.float32, seed=0)(torch.zeros(100, dtype=torch.float64))
    assert 0 < float(bias.abs().max()) <= 0.01 * eps
    assert RandomRounding(torch.float32, seed=0)(torch.tensor([0.0, 1.0], dtype=torch.float64))[0] == 0


def test_masks_and_integers_are_left_alone_and_a_seed_repeats_the_movement():
    mask = torch.tensor([0.0, torch.finfo(torch.float32).min, -torch.inf], dtype=torch.float64)
    assert torch.equal(RandomRounding(torch.bfloat16, seed=0)(mask), mask)
    assert RandomRounding(torch.bfloat16, seed=0)(torch.arange(3)).tolist() == [0, 1, 2]
    first, again, other = (RandomRounding(torch.bfloat16, seed)(torch.ones(8)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
