"""Checks of outputs of every type; a comparison that proves nothing does not pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from single_case import reasons, run_case
from tiny_models import Block
from torch import nn

from ttprof import Status, TestSuite


class Apply(nn.Module):
    """Applies a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@dataclass
class Output:
    hidden: torch.Tensor
    count: int = 3


@pytest.mark.parametrize(
    ("function", "status"),
    [
        (lambda x: Output(x), "PASS"),
        (lambda x: Output(x * math.nan), "FAIL"),
        (lambda x: (x, math.nan), "FAIL"),
        (lambda x: (x, np.array([1.0, np.inf])), "FAIL"),
        (lambda x: x.to(torch.float8_e4m3fn), "PASS"),
        (lambda x: x.to_sparse(), "PASS"),
        (lambda x: torch.nested.nested_tensor([x, x * 2], layout=torch.jagged), "PASS"),
        (lambda x: {"ids": x > 0, "none": None}, "PASS"),
        (lambda x: float(x.sum()), "PASS"),
        (lambda x: [], "ERROR"),
    ],
    ids=[
        "dataclass",
        "nan in dataclass",
        "nan float",
        "inf array",
        "float8",
        "sparse",
        "nested",
        "bools",
        "float",
        "empty",
    ],
)
def test_outputs_of_every_type(suite, function, status):
    suite.test(Apply(function)).inputs(torch.ones(2, 3)).profile(1, 2)
    (case,) = suite.run()
    assert case.status == status, case.verdicts


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        (lambda x: x, lambda x: x, "PASS"),
        (lambda x: torch.zeros(3, dtype=torch.int64), lambda x: torch.full((3,), 0.9), "FAIL"),
        (lambda x: x > 0, lambda x: 2.0 * (x > 0), "FAIL"),
        (lambda x: x, lambda x: torch.complex(x, x), "FAIL"),
        (lambda x: x[:0], lambda x: x[:0], "ERROR"),
        (lambda x: -x, lambda x: x + torch.randn_like(x), "FAIL"),
        (lambda x: x * 0, lambda x: (x + 1e9) - 1e9, "ERROR"),
        (lambda x: x, lambda x: (x + 1e9) - 1e9, "PASS"),
    ],
    ids=[
        "same",
        "int",
        "bool",
        "complex",
        "nothing",
        "random",
        "imprecise reference",
        "more precise than the reference",
    ],
)
def test_comparisons_that_prove_nothing_do_not_pass(suite, ours, theirs, status):
    suite.test(Apply(ours)).inputs(torch.rand(3)).compare_with(Apply(theirs)).profile(1, 2)
    (case,) = suite.run()
    if status == "FAIL":
        assert case.status in ("FAIL", "ERROR")
    else:
        assert case.status == status, case.verdicts


def test_an_output_of_nan_only_is_an_error_even_with_allow_nonfinite(suite):
    nan_only = suite.test(Apply(lambda x: x * math.nan)).inputs(torch.rand(3))
    nan_only.allow_nonfinite().tolerance(1e-3).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.ERROR
    assert "contains no values to compare" in " ".join(case.errors)


class Rotary(nn.Module):
    """Rotary position embedding with a complex buffer, as in the original Llama."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(8, 8)
        angles = torch.outer(torch.arange(16.0), torch.tensor([1.0, 0.1, 0.01, 0.001]))
        self.register_buffer("turns", torch.polar(torch.ones(16, 4), angles))

    def forward(self, x):
        pairs = torch.view_as_complex(self.proj(x).float().unflatten(-1, (4, 2)))
        return torch.view_as_real(pairs * self.turns).flatten(-2).to(x.dtype)


class Unrotated(Rotary):
    def forward(self, x):
        return self.proj(x)


def test_complex_buffers_keep_their_imaginary_part_in_every_dtype(suite):
    suite.test(Rotary(), name="float32").inputs(torch.randn(2, 16, 8)).tolerance(1e-5).profile(1, 2)
    suite.test(Rotary(), name="bfloat16").inputs(torch.randn(2, 16, 8)).dtype(torch.bfloat16).tolerance(1e-2).profile(
        1, 2
    )
    wrong = Unrotated()
    right = Rotary()
    right.load_state_dict(wrong.state_dict())
    case = suite.test(wrong, name="wrong").inputs(torch.randn(2, 16, 8)).dtype(torch.bfloat16).compare_with(right)
    case.profile(1, 2)
    assert [c.status for c in suite.run()] == ["PASS", "PASS", "FAIL"]


def test_the_floor_of_a_dtype_applies_to_modules_without_parameters_too():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Softmax(-1)).bfloat16()
    suite = TestSuite(model, seq_len=64, quiet=True)
    suite.test_all_modules().tolerance(1e-3).profile(1, 2)
    suite.test("1", name="handwritten").compare_with(lambda x: x * 0.5 * (1 + torch.erf(x * 0.5**0.5))).profile(1, 2)
    suite.test("1", name="strict").tolerance(1e-4, strict=True).profile(1, 2)
    assert [case.status for case in suite.run()] == ["PASS", "PASS", "PASS", "PASS", "FAIL"]


def test_a_float64_module_is_not_compared_with_itself():
    suite = TestSuite(Block().double(), seq_len=8, quiet=True)
    suite.test("ffn").tolerance(1e-3).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.INCONCLUSIVE


class Rms(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def test_a_norm_is_also_compared_on_small_inputs():
    good = run_case(Rms(1e-6), lambda case: case.compare_with(Rms(1e-6)))
    assert good.status is Status.PASS
    assert "with inputs × 0.01: relative error " in reasons(good)["tolerance 0.001 at inputs × 0.01"]
    bad = run_case(Rms(1e-6), lambda case: case.compare_with(Rms(1e-5)))
    assert [v.status for v in bad.verdicts if "tolerance" in v.expectation] == ["PASS", "FAIL"]
    plain = run_case(nn.Linear(8, 8), lambda case: case.tolerance(1e-3))
    assert not any("0.01" in expectation for expectation in reasons(plain))


class NormOfProbabilities(nn.Module):
    """Only accepts rows that sum to 1."""

    def forward(self, x):
        if not torch.allclose(x.sum(-1), torch.ones(len(x), dtype=x.dtype)):
            raise ValueError("rows must sum to 1")
        return x / x.norm(dim=-1, keepdim=True)


def test_a_norm_that_rejects_small_inputs_skips_that_comparison():
    probabilities = torch.softmax(torch.randn(4, 8), -1)
    suite = TestSuite(NormOfProbabilities(), inputs=probabilities, quiet=True)
    suite.test(suite.model).tolerance(1e-3).expect(latency_ms=1000).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.PASS, case.errors
    skipped = next(v for v in case.verdicts if v.status is Status.SKIP)
    assert skipped.reason.startswith("with inputs × 0.01: not tried: ") and "sum to 1" in skipped.reason


def test_an_output_less_precise_than_the_reference_gets_the_floor_of_the_reference():
    class DropsPrecision(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, x):
            return (self.linear(x) * 1.015).bfloat16()

    linear = nn.Linear(8, 8)
    case = run_case(DropsPrecision(linear), lambda case: case.compare_with(linear).tolerance(1e-4))
    assert case.status is Status.FAIL
    assert (
        run_case(DropsPrecision(linear).bfloat16(), lambda case: case.compare_with(linear).tolerance(1e-4)).status
        is Status.PASS
    )


def test_dicts_are_compared_by_key_not_by_order():
    same = lambda x: {"a": x, "b": 2 * x}  # noqa: E731

    class Reordered(nn.Module):
        def forward(self, x):
            return {"b": 2 * x, "a": x}

    assert run_case(Reordered(), lambda case: case.compare_with(same)).status is Status.PASS
    swapped = lambda x: {"a": 2 * x, "b": x}  # noqa: E731
    assert run_case(Reordered(), lambda case: case.compare_with(swapped)).status is Status.FAIL


def test_ulp_error_counts_units_in_the_last_place():
    class OffByUlps(nn.Module):
        def forward(self, x):
            return torch.full_like(x, 1.0) + torch.finfo(torch.float32).eps * torch.arange(x.shape[-1])

    ones = lambda x: torch.full_like(x, 1.0)  # noqa: E731
    case = run_case(OffByUlps(), lambda case: case.compare_with(ones).expect(ulp_error=7))
    assert (case.status, case.metrics["ulp_error"]) == (Status.PASS, 7)
    limited = run_case(nn.Tanh(), lambda case: case.expect(ulp_error=2))  # a limit alone triggers the comparison
    assert limited.status is Status.PASS and 0 < limited.metrics["ulp_error"] <= 2


def test_a_constant_output_is_reported():
    case = run_case(nn.Hardtanh(5, 6), lambda case: case.tolerance(1e-3))
    assert case.status is Status.PASS
    assert "output is constant (5): its pcc is undefined" in reasons(case)["finite output"]
    assert run_case(nn.Hardtanh(5, 6), lambda case: case.expect(pcc=0.9)).status is Status.ERROR
