"""Gradients under ``.backward()``: compared with the module's own in float64, or with the reference's."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from tiny_models import Attention
from torch import nn

from ttprof import TestSuite
from ttprof.run.gradients import GradientReference, comparable


class Square(torch.autograd.Function):
    """x², whose backward is off by *factor*."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient * ctx.factor, None


class Squared(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(8, 8), factor

    def forward(self, x):
        return Square.apply(self.linear(x), self.factor)


def plain_square(module):
    return lambda x: module.linear(x) ** 2


def run(module, change=lambda case: case, shape=(4, 8)):
    suite = TestSuite(module, quiet=True, seconds_per_case=0.2, seed=1)
    case = suite.test(module).input_shape(shape).backward().profile(1, 2)
    change(case)
    return suite.run()[0]


def gradient_verdict(result):
    return next(verdict for verdict in result.verdicts if verdict.expectation == "gradients")


@pytest.mark.parametrize(
    ("factor", "status", "reason"),
    [(1.0, "PASS", "gradients of 3 tensors"), (1.01, "FAIL", "'s gradient w.r.t."), (float("nan"), "FAIL", "NaN")],
)
def test_a_wrong_backward_fails_against_a_reference(factor, status, reason):
    module = Squared(factor)
    reference = Squared(1.0)
    reference.load_state_dict(module.state_dict())
    found = run(module, lambda case: case.compare_with(reference).tolerance(1e-4))
    assert gradient_verdict(found).status == status, gradient_verdict(found).reason
    assert reason in gradient_verdict(found).reason
    assert found.status == status


def test_a_gradient_that_is_not_finite_fails_without_a_tolerance_too():
    found = gradient_verdict(run(Squared(float("inf"))))
    assert found.status == "FAIL"
    assert "Inf" in found.reason
    assert gradient_verdict(run(Squared(1.0))).reason == "the gradients of 3 tensors are finite"


def test_inputs_are_compared_where_the_reference_has_no_parameters_of_that_name():
    module = Squared(1.5)
    found = gradient_verdict(run(module, lambda case: case.compare_with(plain_square(module)).tolerance(1e-4)))
    assert found.status == "FAIL"
    assert "not compared, because only one side has them or the shapes differ: parameter linear.weight" in found.reason


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.LayerNorm(8), (4, 8)),
        (nn.Sequential(nn.Linear(8, 8), nn.Softmax(-1)), (4, 8)),
        (Attention(8), (2, 6, 8)),
        (nn.Sequential(nn.Linear(8, 4, bias=True), nn.LayerNorm(4)), (4, 8)),
        (nn.GRU(8, 8, batch_first=True), (2, 5, 8)),
        (nn.BatchNorm1d(8), (16, 8)),
    ],
)
def test_healthy_modules_pass_though_some_of_their_gradients_vanish(module, shape):
    torch.manual_seed(0)
    found = run(module, lambda case: case.tolerance(1e-4), shape)
    assert found.status == "PASS", found.errors


def test_low_precision_gradients_have_the_floor_of_their_dtype():
    found = gradient_verdict(run(nn.Linear(8, 8), lambda case: case.dtype(torch.bfloat16).tolerance(1e-6)))
    assert found.status == "PASS", found.reason
    assert "tolerance raised from 1e-06 to the floor of bfloat16" in found.reason


def test_a_module_without_gradients_is_an_error():
    class Rounded(nn.Module):
        def forward(self, x):
            return x.detach().round()

    found = run(Rounded(), lambda case: case.tolerance(1e-3))
    assert found.status == "ERROR"


def test_only_gradients_that_vanish_on_both_sides_are_left_out():
    ones, zeros, tiny = torch.ones(3), torch.zeros(3), torch.full((3,), 1e-5)
    ours = {"a": ones, "gone": tiny, "lost": zeros, "bad": torch.full((3,), float("nan")), "other": ones}
    theirs = {"a": ones, "gone": zeros, "lost": ones, "bad": zeros, "else": ones}
    assert comparable(ours, GradientReference(theirs, "x"), torch.float32) == ["a", "lost", "bad"]
    noisy = GradientReference(theirs, "x", same_dtype={name: torch.zeros(3) for name in theirs})
    assert comparable(ours, noisy, torch.float32) == ["a", "gone", "lost", "bad"]


class Stopped(nn.Module):
    """Two paths of which one may have no gradient."""

    def __init__(self, stop: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.stop = nn.Linear(8, 8), nn.Linear(8, 8), stop

    def forward(self, x):
        side = self.a(x.detach())
        return 2 * self.b(x) + 0.5 * (side.detach() if self.stop else side)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gradient_that_the_reference_does_not_have_is_found_in_every_dtype(dtype):
    change = lambda case: case.dtype(dtype).compare_with(Stopped(True), share_weights=True)  # noqa: E731
    assert gradient_verdict(run(Stopped(False), change)).status == "FAIL"
    assert gradient_verdict(run(Stopped(True), change)).status == "PASS"


def test_compiled_modules_compare_their_parameters_too():
    module, reference = Squared(1.5), Squared(1.0)
    change = lambda case: case.compare_with(reference, share_weights=True).tolerance(1e-3)  # noqa: E731
    found = gradient_verdict(run(torch.compile(module, backend="eager"), change))
    assert (found.status, "not compared" in found.reason) == ("FAIL", False)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (2, 16, 32)),
        (nn.Sequential(nn.Conv1d(8, 16, 3), nn.ReLU(), nn.MaxPool1d(2)), (2, 8, 32)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_at_a_relu_is_no_wrong_gradient(module, shape, dtype):
    torch.manual_seed(0)
    fresh = copy.deepcopy(module)
    for parameter in fresh.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    found = gradient_verdict(run(fresh, lambda case: case.dtype(dtype).tolerance(1e-3), shape))
    assert found.status == "PASS", found.reason


def test_a_flip_by_chance_is_told_from_a_wrong_gradient():
    """Seeds at which rounding flips a ReLU so that the error is beyond the floor; and the same module, really wrong."""
    flips = 0
    for seed in range(60):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16))
        found = gradient_verdict(run(module, lambda case: case.dtype(torch.bfloat16).tolerance(1e-3), (4, 16)))
        assert found.status == "PASS", found.reason
        if "so rounding explains the other failures" in found.reason:
            flips += 1
            strict = run(module, lambda case: case.dtype(torch.bfloat16).tolerance(0.1, strict=True), (4, 16))
            assert gradient_verdict(strict).status == "FAIL"
    assert flips > 0
    wrong = run(Squared(1.3), lambda case: case.dtype(torch.bfloat16).compare_with(Squared(1.0), share_weights=True))
    assert gradient_verdict(wrong).status == "FAIL"


def test_sparse_gradients():
    module = nn.Embedding(50, 16, sparse=True)
    suite = TestSuite(module, quiet=True, seconds_per_case=0.2)
    suite.test(module).inputs(torch.randint(0, 50, (4,))).backward().tolerance(1e-3).profile(1, 2)
    assert suite.run().passed


def test_a_float64_module_is_not_compared_with_itself():
    found = gradient_verdict(run(nn.Linear(8, 8), lambda case: case.dtype(torch.float64).tolerance(1e-3)))
    assert found.reason == "the gradients of 3 tensors are finite"


def test_deterministic_looks_at_gradients_too():
    class Counting(torch.autograd.Function):
        calls = 0

        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            Counting.calls += 1
            return gradient + 0.01 * Counting.calls

    class Wobbly(nn.Module):
        def forward(self, x):
            return Counting.apply(x)

    found = run(Wobbly(), lambda case: case.deterministic())
    assert any("'s gradient w.r.t. input 0" in reason for reason in found.errors)


@dataclasses.dataclass
class Output:
    hidden: torch.Tensor
    score: torch.Tensor


def test_gradients_start_from_the_fields_of_a_dataclass():
    class Scored(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return Output(y, y.sum())

    found = gradient_verdict(run(Scored(8, 8), lambda case: case.tolerance(1e-4)))
    assert (found.status, "gradients of 3 tensors" in found.reason) == ("PASS", True)
