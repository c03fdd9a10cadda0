"""A defect in a module fails its case with a message that names the defect; the healthy module passes."""

from __future__ import annotations

import pytest
import torch
from fakes import FakeClock
from single_case import run_registered
from tiny_models import Attention
from torch import nn

from ttprof.engine import case_passes
from ttprof.run.timers import CpuTimer


class Mutated(nn.Module):
    """Applies *change* to the output of a healthy module."""

    def __init__(self, healthy: nn.Module, change) -> None:
        super().__init__()
        self.healthy, self.change = healthy, change

    def forward(self, *args, **kwargs):
        return self.change(self.healthy(*args, **kwargs))


def mutate(parent: nn.Module, name: str, change) -> None:
    """Apply *change* to the output of a submodule of *parent*."""
    setattr(parent, name, Mutated(getattr(parent, name), change))


CLOCK = FakeClock()


def slow(y):
    """Take ten milliseconds of fake time."""
    CLOCK.now += 10_000_000
    return y


def healthy_time(y):
    """Take one millisecond of fake time."""
    CLOCK.now += 1_000_000
    return y


def hungry(y):
    torch.empty(2**20, dtype=torch.uint8)
    return y


def with_nan(y):
    y = y.clone()
    y.flatten()[7] = float("nan")
    return y


class Leak:
    def __init__(self):
        self.leaked = []

    def __call__(self, y):
        self.leaked.append(torch.empty(1024))
        return y


@pytest.mark.parametrize(
    ("expect", "defect", "message"),
    [
        (lambda case: case.expect(latency_ms=8).profile(2, 10), slow, "over the limit of 8 ms"),
        (lambda case: case.expect(memory_mb=0.5).profile(1, 3), hungry, "over the limit of 0.5 MB"),
        (lambda case: case.profile(1, 2), with_nan, "has 1 NaN and 0 Inf"),
        (lambda case: case.tolerance(1e-3).profile(1, 2), with_nan, "has 1 NaN and 0 Inf"),
        (lambda case: case.expect(leak_mb=0).profile(1, 4), Leak(), "leak_mb is 0.00391 MB, over the limit of 0 MB"),
    ],
    ids=["slow forward", "extra allocation", "NaN without expectations", "NaN under a tolerance", "leak"],
)
def test_a_defect_in_a_forward_fails_the_case(model, monkeypatch, expect, defect, message):
    def check(suite):
        expect(suite.test("ffn"))

    monkeypatch.setattr(case_passes, "timer_for", lambda device: CpuTimer(CLOCK))
    mutate(model, "ffn", healthy_time)
    healthy = run_registered(model, check)
    assert healthy.status == "PASS", healthy.errors
    mutate(model, "ffn", defect)
    broken = run_registered(model, check)
    assert broken.status == "FAIL"
    assert message in " ".join(broken.errors)


def copy_of(attention: Attention) -> Attention:
    copy = Attention(32)
    copy.load_state_dict(attention.state_dict())
    return copy


def transposed_heads(y):
    return y.reshape(*y.shape[:-1], 4, 8).transpose(-1, -2).flatten(-2)


@pytest.mark.parametrize(
    "introduce_bug",
    [
        lambda model: setattr(model.attention, "scale", 1.5),
        lambda model: mutate(model.attention, "value_proj", transposed_heads),
        lambda model: mutate(model, "attention", lambda y: y * 1.01),
    ],
    ids=["softmax scale", "wrong head order", "output scale"],
)
def test_a_logic_bug_fails_the_comparison_with_a_reference(model, introduce_bug):
    reference = copy_of(model.attention)

    def check(suite):
        suite.test("attention").compare_with(reference).tolerance(1e-3).profile(1, 2)

    assert run_registered(model, check).status == "PASS"
    introduce_bug(model)
    assert run_registered(model, check).status == "FAIL"


def test_a_model_that_a_bug_keeps_from_running_is_an_error(model):
    mutate(model, "attention", lambda y: (y, y))
    case = run_registered(model, lambda suite: suite.test("attention").tolerance(1e-3).profile(1, 2))
    assert case.status == "ERROR" and "no inputs found for Block" in case.errors[0]


def test_lost_precision_fails_the_tolerance(model):
    """The float64 copy of a module shows its cancellation errors."""

    class Lossy(nn.Module):
        def forward(self, x):
            return (x + 1e5) - 1e5

    case = run_registered(
        model, lambda suite: suite.test(Lossy()).inputs(torch.randn(64)).tolerance(1e-3).profile(1, 2)
    )
    assert case.status == "FAIL"
    assert "relative error" in case.errors[0] and "worst: output[" in case.errors[0]


class Quadratic(nn.Module):
    """A feed-forward network with an accidental product over all pairs of positions."""

    def __init__(self, ffn: nn.Module) -> None:
        super().__init__()
        self.ffn = ffn

    def forward(self, x):
        return self.ffn(x) + 1e-6 * ((x @ x.transpose(-2, -1)) @ x)


def test_a_quadratic_term_fails_linear_memory_scaling(model):
    def check(suite):
        case = suite.test("ffn").with_seq_lengths([128, 256, 512, 1024, 2048]).profile(1, 2)
        case.expect_scaling("linear", metric="memory_mb")

    assert run_registered(model, check).status == "PASS"
    model.ffn = Quadratic(model.ffn)
    broken = run_registered(model, check)
    assert broken.status == "FAIL"
    assert "seq_len²" in broken.errors[0]


class Stateful(nn.Module):
    """Changes its output from the third call on, with state that is in no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + (self.calls > 2) * 1e-3


@pytest.mark.parametrize(("inner", "status"), [(nn.Dropout(0.5), "PASS"), (Stateful(), "FAIL")])
def test_an_output_that_depends_on_earlier_calls_fails_deterministic(inner, status):
    model = nn.Sequential(nn.Linear(8, 8), inner)
    case = run_registered(model, lambda suite: suite.test(inner).input_shape((2, 8)).deterministic().profile(1, 2))
    assert case.status == status, case.errors
    if status == "FAIL":
        assert "differs from run 1 with the same inputs and seed" in case.errors[0]
