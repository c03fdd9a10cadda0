"""Specs reject invalid sweeps, numbers, schedules and laws."""

from __future__ import annotations

import pytest
from torch import nn

from ttprof.bounds import number
from ttprof.errors import SpecError, UnknownNameError
from ttprof.spec import LAWS, CaseSpec, Scaling, Schedule, SourceLine, Sweep, scaling_law


def test_sweeps_are_sorted_and_checked():
    assert Sweep("seq_len", (8, 2, 4)).values == (2, 4, 8)
    for values, message in (
        ((), "empty"),
        ((2, 2), "repeats"),
        ((0, 1), "at least 1"),
        ((True,), "integer"),
        ((1.5,), "integer"),
    ):
        with pytest.raises(SpecError, match=message):
            Sweep("seq_len", values)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "5", None, True])
def test_numbers_are_finite_and_not_negative(value):
    with pytest.raises(SpecError, match="tolerance must be"):
        number("tolerance", value)


def test_schedules_are_checked():
    for arguments in ((-1, 5), (1, 0), (1, 5, 0), (1.5, 5)):
        with pytest.raises(SpecError):
            Schedule(*arguments)


def test_an_unknown_law_suggests_the_nearest():
    assert scaling_law("linear").exponent == 1
    with pytest.raises(UnknownNameError, match="did you mean 'quadratic'"):
        scaling_law("quadritic")
    with pytest.raises(SpecError, match="must be a name such as 'linear', got 2"):
        scaling_law(2)


def test_a_law_needs_three_sizes_over_a_range_of_four():
    for sizes in ((1, 100), (100, 200, 300)):
        with pytest.raises(SpecError, match="at least 3 sizes of seq_len over a range of 4x"):
            CaseSpec(
                "x",
                nn.Identity(),
                None,
                SourceLine("f", 1),
                sweeps=(Sweep("seq_len", sizes),),
                scaling=Scaling(LAWS["linear"]),
            )
