"""Gradients that cancel are rounding noise beside the others, and no error of the module; a wrong one still is."""

from __future__ import annotations

import pytest
import torch
from mutations.models import DoublesGradient
from single_case import run_case
from torch import nn
from whole_model import run

from ttprof.codes import VerdictCode


class AlikeTokens(nn.Module):
    """Attention over tokens that are nearly the same: the gradient of the keys' projection cancels almost to 0."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.wrong = wrong

    def forward(self, x):
        tokens = x[:, :1] + 1e-5 * x
        query, key, value = self.query(x), self.key(tokens), self.value(x)
        if self.wrong:
            key = DoublesGradient.apply(key)
        return (query @ key.transpose(1, 2)).softmax(-1) @ value


@pytest.mark.parametrize(("wrong", "status"), [(False, "INCONCLUSIVE"), (True, "FAIL")])
def test_only_a_wrong_gradient_fails_where_it_cancels(wrong, status):
    torch.manual_seed(0)
    module, right = AlikeTokens(wrong), AlikeTokens(wrong=False)
    change = lambda case: (  # noqa: E731
        case.backward(inputs=False).tolerance(1e-3, strict=False).compare_with(right, share_weights=True)
    )
    case = run_case(
        module, change if wrong else lambda c: c.backward(inputs=False).tolerance(1e-3), (2, 64, 16), seed=1
    )
    verdict = next(v for v in case.verdicts if v.expectation == "gradients")
    assert verdict.status == status, verdict.reason
    assert (verdict.code is VerdictCode.REFERENCE_UNSTABLE) is not wrong
    if not wrong:
        assert "rounding the results of its operators to float32 moves" in verdict.reason


class Gate(nn.Module):
    """Passes a chunk with gaps, and two that overlap, to its submodules."""

    def __init__(self, detach: bool = False) -> None:
        super().__init__()
        self.project, self.act, self.both = nn.Linear(6, 10), Act(detach), Both(detach)

    def forward(self, x):
        hidden = self.project(x)
        value, gate = hidden.chunk(2, -1)
        return value * self.act(gate) + self.both(hidden[:, 1:6], hidden[:, 3:8])


class Act(nn.Module):
    def __init__(self, detach: bool) -> None:
        super().__init__()
        self.detach = detach

    def forward(self, x):
        return x.detach() * 1 + 0 * x.sum() if self.detach else nn.functional.silu(x)


class Both(Act):
    def forward(self, x, y):
        return x * (y.detach() if self.detach else y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("part", ["act", "both"])
def test_the_gradients_of_chunks_with_gaps_are_compared(part, dtype):
    torch.manual_seed(0)
    x = torch.randn(3, 6, dtype=dtype)
    right, wrong = Gate().to(dtype), Gate(detach=True).to(dtype)
    for model, status in ((right, "PASS"), (wrong, "FAIL")):
        reference = getattr(right, part)
        (case,) = run(
            model, x, lambda s, r=reference: s.test(part).backward().compare_with(r).tolerance(1e-3).profile(1, 2)
        )
        assert next(v for v in case.verdicts if v.expectation == "gradients").status == status, case.errors
