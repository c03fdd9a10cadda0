"""The watch over a reference: which narrow dtypes it computes in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ttprof.plan.inputs import Inputs
from ttprof.run import gradients
from ttprof.run.gradients import Backward
from ttprof.run.narrow_watch import NarrowWatch
from ttprof.run.outputs import default_reference, given_reference


class Through(nn.Module):
    """A linear layer whose output goes through another dtype."""

    def __init__(self, *dtypes: torch.dtype) -> None:
        super().__init__()
        self.linear, self.dtypes = nn.Linear(4, 4), dtypes

    def forward(self, x):
        y = self.linear(x)
        for dtype in self.dtypes:
            y = y.to(dtype)
        return y.to(x.dtype)


@pytest.mark.parametrize(
    ("dtypes", "narrow"),
    [
        ((), None),
        ((torch.float32,), torch.float32),
        ((torch.float16,), torch.float16),
        ((torch.bfloat16,), torch.bfloat16),
        ((torch.float16, torch.bfloat16), torch.bfloat16),
        ((torch.bfloat16, torch.float16), torch.bfloat16),
        ((torch.float8_e4m3fn,), torch.float8_e4m3fn),
        ((torch.int8,), None),
    ],
    ids=str,
)
def test_the_narrowest_dtype_below_64_bits_is_noted(dtypes, narrow):
    module = Through(*dtypes).double()
    watch = NarrowWatch()
    with watch:
        module(torch.ones(1, 4, dtype=torch.float64))
    assert watch.dtype is narrow
    assert bool(watch.describe()) is (narrow not in (None, torch.float32))  # float32 parts matter to no usual tolerance


def test_the_line_that_casts_is_named():
    watch = NarrowWatch()
    with watch:
        Through(torch.bfloat16)(torch.ones(1, 4))
    line = Through.forward.__code__.co_firstlineno + 3
    assert watch.describe() == f", which computes parts in bfloat16 (test_narrow_watch.py:{line})"


def test_a_reference_says_in_which_dtype_it_computes_parts():
    inputs = Inputs("given", (torch.ones(1, 4),))
    own = default_reference(Through(torch.float16), inputs, torch.float32)
    given = given_reference(Through(torch.float16), "the rival", inputs, torch.float32)
    assert own.narrow is given.narrow is torch.float16
    assert own.described.startswith(
        "the same module in float64, which computes parts in float16 (test_narrow_watch.py:"
    )
    assert given.described.startswith("the rival in float64, which computes parts in float16 (")
    assert default_reference(Through(), inputs, torch.float32).narrow is None


def test_narrow_inputs_are_no_narrow_computation():
    """The reference of a bfloat16 module runs in float64 throughout."""
    inputs = Inputs("given", (torch.ones(1, 4, dtype=torch.bfloat16),))
    assert default_reference(Through().bfloat16(), inputs, torch.bfloat16).narrow is None
    backward = Backward(inputs, None, 0)
    assert gradients.default_reference(Through().bfloat16(), backward).narrow is None
    assert gradients.default_reference(Through(torch.float16), backward).narrow is torch.float16
