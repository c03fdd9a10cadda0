"""Gradients under ``.backward()``: compared with those of a float64 copy, or of the reference."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from single_case import reasons, run_case
from tiny_models import Attention
from torch import nn

from ttprof import Status, TestSuite
from ttprof.codes import VerdictCode
from ttprof.run.gradients import GradientReference, Gradients, comparable


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


def run(module, change=lambda case: case, shape=(4, 8)):
    """Run a case with a backward."""
    return run_case(module, lambda case: change(case.backward(inputs=True)), shape, seed=1)


def plain_square(module):
    return lambda x: module.linear(x) ** 2


def gradient_verdict(case):
    return next(verdict for verdict in case.verdicts if verdict.expectation == "gradients")


@pytest.mark.parametrize(
    ("factor", "status", "reason"),
    [(1.0, "PASS", "gradients of 3 tensors"), (1.01, "FAIL", "gradient w.r.t."), (float("nan"), "FAIL", "NaN")],
)
def test_a_wrong_backward_fails_against_a_reference(factor, status, reason):
    module = Squared(factor)
    reference = Squared(1.0)
    reference.load_state_dict(module.state_dict())
    case = run(module, lambda case: case.compare_with(reference).tolerance(1e-4))
    verdict = gradient_verdict(case)
    assert verdict.status == status, verdict.reason
    assert reason in verdict.reason
    assert case.status == status


def test_a_nonfinite_gradient_fails_even_without_a_tolerance():
    verdict = gradient_verdict(run(Squared(float("inf"))))
    assert verdict.status == "FAIL"
    assert "Inf" in verdict.reason
    assert gradient_verdict(run(Squared(1.0))).reason == "the gradients of 3 tensors are finite"


def test_gradients_of_inputs_are_compared_if_the_reference_has_other_parameters():
    module = Squared(1.5)
    verdict = gradient_verdict(run(module, lambda case: case.compare_with(plain_square(module)).tolerance(1e-4)))
    assert verdict.status == "FAIL"
    assert (
        "not compared, because only one side has them or the shapes differ: parameter linear.weight" in verdict.reason
    )


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
def test_healthy_modules_pass_even_if_some_gradients_vanish(module, shape):
    torch.manual_seed(0)
    case = run(module, lambda case: case.tolerance(1e-4), shape)
    assert case.status == "PASS", case.errors


def test_low_precision_gradients_have_the_floor_of_their_dtype():
    verdict = gradient_verdict(run(nn.Linear(8, 8), lambda case: case.dtype(torch.bfloat16).tolerance(1e-6)))
    assert verdict.status == "PASS", verdict.reason
    assert "tolerance raised from 1e-06 to the floor of bfloat16" in verdict.reason


def test_a_module_without_gradients_is_an_error():
    class Rounded(nn.Module):
        def forward(self, x):
            return x.detach().round()

    case = run(Rounded(), lambda case: case.tolerance(1e-3))
    assert case.status == "ERROR"


def test_only_gradients_that_vanish_on_both_sides_are_left_out():
    ones, zeros, tiny = torch.ones(3), torch.zeros(3), torch.full((3,), 1e-5)
    ours = Gradients({"a": ones, "gone": tiny, "lost": zeros, "bad": torch.full((3,), float("nan")), "other": ones})
    theirs = Gradients({"a": ones, "gone": zeros, "lost": ones, "bad": zeros, "else": ones})
    assert comparable(ours, GradientReference(theirs, "x"), torch.float32) == ["a", "lost", "bad"]
    noisy = GradientReference(theirs, "x", same_dtype=Gradients({name: torch.zeros(3) for name in theirs}))
    assert comparable(ours, noisy, torch.float32) == ["a", "gone", "lost", "bad"]


class Detached(nn.Module):
    """Two branches, one of which may be detached."""

    def __init__(self, detach: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.detach = nn.Linear(8, 8), nn.Linear(8, 8), detach

    def forward(self, x):
        side = self.a(x.detach())
        return 2 * self.b(x) + 0.5 * (side.detach() if self.detach else side)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gradient_missing_from_the_reference_is_no_zero_to_agree_with(dtype):
    change = lambda case: case.dtype(dtype).compare_with(Detached(True), share_weights=True)  # noqa: E731
    verdict = gradient_verdict(run(Detached(False), change))
    assert (verdict.status, verdict.code) == ("INCONCLUSIVE", VerdictCode.REFERENCE_WITHOUT_GRADIENT)
    assert "no gradient reaches parameter a.weight, parameter a.bias in the reference Detached" in verdict.reason
    assert gradient_verdict(run(Detached(True), change)).status == "PASS"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gradient_missing_from_the_module_fails_in_every_dtype(dtype):
    change = lambda case: case.dtype(dtype).compare_with(Detached(False), share_weights=True)  # noqa: E731
    assert gradient_verdict(run(Detached(True), change)).status == "FAIL"


def test_a_reference_that_runs_without_gradients_is_named():
    reference = torch.no_grad()(lambda x: torch.relu(x))
    case = run(nn.ReLU(), lambda case: case.compare_with(reference))
    verdict = gradient_verdict(case)
    assert (verdict.status, len(case.errors)) == ("ERROR", 1)
    assert "no output of the reference <lambda> depends on a parameter or an input" in verdict.reason
    assert "no_grad" in verdict.reason


def test_compiled_modules_compare_their_parameters_too():
    module, reference = Squared(1.5), Squared(1.0)
    change = lambda case: case.compare_with(reference, share_weights=True).tolerance(1e-3)  # noqa: E731
    verdict = gradient_verdict(run(torch.compile(module, backend="eager"), change))
    assert (verdict.status, "not compared" in verdict.reason) == ("FAIL", False)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (2, 16, 32)),
        (nn.Sequential(nn.Conv1d(8, 16, 3), nn.ReLU(), nn.MaxPool1d(2)), (2, 8, 32)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_sign_flip_at_a_relu_by_rounding_passes(module, shape, dtype):
    torch.manual_seed(0)
    fresh = copy.deepcopy(module)
    for parameter in fresh.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    verdict = gradient_verdict(run(fresh, lambda case: case.dtype(dtype).tolerance(1e-3), shape))
    assert verdict.status == "PASS", verdict.reason


def test_a_sign_flip_by_rounding_is_distinguished_from_a_wrong_gradient():
    """Some seeds flip a ReLU by rounding, with an error beyond the floor; a wrong backward still fails."""
    flips = 0
    for seed in range(60):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16))
        verdict = gradient_verdict(run(module, lambda case: case.dtype(torch.bfloat16).tolerance(1e-3), (4, 16)))
        assert verdict.status == "PASS", verdict.reason
        if "so rounding explains the other failures" in verdict.reason:
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


def test_gradients_of_a_float64_module_are_not_compared_with_themselves():
    verdict = gradient_verdict(run(nn.Linear(8, 8), lambda case: case.dtype(torch.float64).tolerance(1e-3)))
    assert verdict.reason == "the gradients of 3 tensors are finite"


def test_deterministic_covers_gradients():
    class Counting(torch.autograd.Function):
        calls = 0

        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            Counting.calls += 1
            return gradient + 0.01 * Counting.calls

    class Nondeterministic(nn.Module):
        def forward(self, x):
            return Counting.apply(x)

    case = run(Nondeterministic(), lambda case: case.deterministic())
    assert any("gradient w.r.t. input 0" in error for error in case.errors)


@dataclasses.dataclass
class Output:
    hidden: torch.Tensor
    score: torch.Tensor


def test_gradients_start_from_the_fields_of_a_dataclass():
    class Scored(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return Output(y, y.sum())

    verdict = gradient_verdict(run(Scored(8, 8), lambda case: case.tolerance(1e-4)))
    assert (verdict.status, "gradients of 3 tensors" in verdict.reason) == ("PASS", True)


def test_gradients_of_a_reentrant_checkpoint():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return torch.utils.checkpoint.checkpoint(self.linear, x, use_reentrant=True)

    case = run(Checkpointed(), lambda case: case.tolerance(1e-3))
    assert case.status is Status.PASS, case.errors
    assert "gradients of 3 tensors" in reasons(case)["gradients"]
