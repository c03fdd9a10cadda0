"""Random operators draw the same numbers in every dtype, with the distribution that torch documents."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ttprof.run.randomness import SharedRandomNumbers

OPERATORS = {
    "rand": lambda t: torch.rand(t.shape, dtype=t.dtype),
    "randn": lambda t: torch.randn(t.shape, dtype=t.dtype),
    "rand_like": torch.rand_like,
    "randn_like": torch.randn_like,
    "uniform_": lambda t: t.clone().uniform_(2, 3),
    "normal_": lambda t: t.clone().normal_(1, 2),
    "exponential_": lambda t: t.clone().exponential_(2.0),
    "log_normal_": lambda t: t.clone().log_normal_(),
    "cauchy_": lambda t: t.clone().cauchy_(),
    "geometric_": lambda t: t.clone().geometric_(0.5),
    "bernoulli_": lambda t: t.clone().bernoulli_(0.3),
    "bernoulli": lambda t: torch.bernoulli(torch.full_like(t, 0.3)),
    "bernoulli_tensor_": lambda t: t.clone().bernoulli_(torch.full_like(t, 0.3)),
    "bernoulli(t, p)": lambda t: torch.bernoulli(t, 0.3),
    "poisson": lambda t: torch.poisson(4 * t),
    "trunc_normal_": lambda t: nn.init.trunc_normal_(t.clone()),
    "normal(t, t)": lambda t: torch.normal(torch.zeros_like(t), torch.ones_like(t)),
    "normal(t, 1)": lambda t: torch.normal(torch.zeros_like(t), 1.0),
    "normal(0, t)": lambda t: torch.normal(0.0, torch.ones_like(t)),
    "normal(0, 1, size)": lambda t: torch.normal(0.0, 1.0, t.shape, dtype=t.dtype),
    "dropout": lambda t: F.dropout(torch.ones_like(t), 0.3, training=True),
    "alpha_dropout": lambda t: F.alpha_dropout(torch.ones_like(t), 0.3, training=True),
    "dropout1d": lambda t: F.dropout1d(torch.ones_like(t)[None], 0.3, training=True),
    "gumbel_softmax": lambda t: F.gumbel_softmax(torch.zeros_like(t).view(8, -1)),
    "rrelu": lambda t: F.rrelu(-torch.ones_like(t), training=True),
    "multinomial": lambda t: torch.multinomial(torch.ones_like(t), 4),
    "randint": lambda t: torch.randint(0, 100, t.shape),
    "randperm": lambda t: torch.randperm(len(t)),
}


def drawn(operator, dtype):
    torch.manual_seed(0)
    with SharedRandomNumbers():
        return operator(torch.ones(64, dtype=dtype))


@pytest.mark.parametrize("name", OPERATORS)
def test_both_sides_draw_the_same_numbers_in_eval_mode_too(name):
    exact = drawn(OPERATORS[name], torch.float64)
    for dtype in (torch.float32, torch.bfloat16):
        other = drawn(OPERATORS[name], dtype)
        assert other.dtype is (dtype if exact.is_floating_point() else torch.int64)
        torch.testing.assert_close(other.double(), exact.double(), rtol=4 * torch.finfo(dtype).eps, atol=0.02)


def test_without_the_mode_the_dtypes_draw_other_numbers():
    """The reason for the mode, and the proof that the test above can fail."""
    torch.manual_seed(0)
    exact = torch.randn(64, dtype=torch.float64)
    torch.manual_seed(0)
    assert not torch.allclose(torch.randn(64).double(), exact, atol=0.1)


@pytest.mark.parametrize(
    ("name", "mean", "spread"),
    [
        ("rand", 0.5, 12**-0.5),
        ("randn", 0, 1),
        ("uniform_", 2.5, 12**-0.5),
        ("normal_", 1, 2),
        ("exponential_", 0.5, 0.5),
        ("geometric_", 2, 2**0.5),
        ("bernoulli_", 0.3, 0.21**0.5),
        ("bernoulli", 0.3, 0.21**0.5),
        ("normal(t, t)", 0, 1),
        ("dropout", 1, (0.3 / 0.7) ** 0.5),
    ],
)
def test_the_distribution_is_that_of_the_operator(name, mean, spread):
    torch.manual_seed(0)
    with SharedRandomNumbers():
        values = OPERATORS[name](torch.ones(20_000)).double()
    assert float(values.mean()) == pytest.approx(mean, abs=0.05 * spread)
    assert float(values.std()) == pytest.approx(spread, rel=0.05)


def test_dropout_of_a_training_backward_masks_the_gradient_alike():
    x = torch.ones(100, requires_grad=True)
    with SharedRandomNumbers():
        y = F.dropout(x, 0.5, training=True)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and set(y.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    "draw",
    [
        lambda g, t: torch.rand(64, dtype=t, generator=g),
        lambda g, t: torch.empty(64, dtype=t).normal_(generator=g),
        lambda g, t: torch.bernoulli(torch.full((64,), 0.3, dtype=t), generator=g),
    ],
    ids=["factory", "in place", "bernoulli"],
)
def test_a_generator_of_the_modules_own_is_used_and_advanced(draw):
    """Its numbers must depend neither on the seed of the test nor on the dtype."""

    def twice(seed, dtype):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(5)
        with SharedRandomNumbers():
            numbers = draw(generator, dtype), draw(generator, dtype)
        assert torch.default_generator.get_state().equal(torch.Generator().manual_seed(seed).get_state())
        return torch.stack(numbers).double()

    first, again = twice(0, torch.float64), twice(1, torch.float32)
    assert torch.allclose(first, again) and not torch.equal(first[0], first[1])
