"""Random numbers that compiled code and fused kernels draw themselves: a difference is no error of the module."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes
from whole_model import check, verdict

from ttprof import Status
from ttprof.codes import VerdictCode

PASS, FAIL, INCONCLUSIVE = Status.PASS, Status.FAIL, Status.INCONCLUSIVE
X = torch.linspace(-1, 1, 64).view(16, 4)


def draws_by_itself(graph, example_inputs):
    """A backend whose kernels no dispatch mode sees, as those of inductor."""

    def run(*args):
        with _disable_current_modes():
            torch.rand(1)
            return graph.forward(*args)

    return run


class Drops(nn.Module):
    """Drops values in compiled code, or in eager code, and may be wrong."""

    def __init__(self, compiled, p, factor=1.0):
        super().__init__()
        self.linear, self.p, self.factor = nn.Linear(4, 4), p, factor
        drop = lambda x: nn.functional.dropout(x, p, training=True)  # noqa: E731
        self.drop = torch.compile(drop, backend=draws_by_itself) if compiled else drop

    def forward(self, x):
        return self.factor * self.drop(self.linear(x))


@pytest.mark.parametrize(
    ("compiled", "p", "factor", "status"),
    [
        (True, 0.5, 1.0, INCONCLUSIVE),
        (False, 0.5, 1.0, PASS),
        (False, 0.5, 1.1, FAIL),
        (True, 0.0, 1.0, PASS),
        (True, 0.0, 1.1, FAIL),
    ],
)
def test_only_compiled_code_that_draws_can_not_be_judged(compiled, p, factor, status):
    torch._dynamo.reset()
    model, reference = Drops(compiled, p, factor), Drops(False, p)
    case = check(model, X, lambda c: c.compare_with(reference, share_weights=True).tolerance(1e-4).backward())
    judged = verdict(case, "tolerance")
    assert judged.status is status, judged.reason
    if status is INCONCLUSIVE:
        assert judged.code is VerdictCode.RANDOM_NUMBERS_DIFFER
        assert "draws random numbers of its own" in judged.reason


@torch.library.custom_op("ttprof_tests::attention", mutates_args=())
def attention(x: torch.Tensor, dropout_p: float) -> torch.Tensor:
    with _disable_current_modes():
        torch.rand(x.element_size())  # kernels of other dtypes draw other numbers
        return nn.functional.dropout(x.clone(), dropout_p, training=True)


class Fused(nn.Module):
    def __init__(self, p, factor=1.0):
        super().__init__()
        self.p, self.factor = p, factor

    def forward(self, x):
        return self.factor * torch.ops.ttprof_tests.attention(x, self.p)


@pytest.mark.parametrize(("p", "factor", "status"), [(0.5, 1.0, INCONCLUSIVE), (0.0, 1.0, PASS), (0.0, 1.1, FAIL)])
def test_a_fused_kernel_that_drops_values_can_not_be_judged(p, factor, status):
    reference = lambda x: nn.functional.dropout(x, p, training=True)  # noqa: E731
    case = check(Fused(p, factor), X, lambda c: c.compare_with(reference).tolerance(1e-4))
    assert verdict(case, "tolerance").status is status
