"""Errors by hand: per row, with infinities and their finite stand-ins, with a reference's own error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ttprof.judge.numeric_error import equal_bits, error_of
from ttprof.judge.output_leaves import OutputLeaf, bitwise_difference, leaves, structure_difference
from ttprof.observation import NumericError

LOWEST = torch.finfo(torch.float32).min


def error(a, b, noise=None) -> NumericError:
    return error_of(leaves(a, "x"), leaves(b, "x"), "the reference", noise)


def rows(a, b) -> list[float]:
    (of_the_tensor,) = error(torch.tensor(a), torch.tensor(b)).rows
    return of_the_tensor.tolist()


def test_each_row_has_an_error_relative_to_its_own_norm():
    ours = [[3.0, 4.0], [0.0, 10.0], [6.0, 8.0]]
    theirs = [[3.0, 4.0], [0.0, 5.0], [6.0, 6.0]]
    assert rows(ours, theirs) == pytest.approx([0.0, 1.0, 2 / math.sqrt(72)])


def test_a_row_is_the_last_dimension_and_a_vector_is_one_row():
    assert len(error(torch.ones(2, 3, 4), torch.ones(2, 3, 4)).rows[0]) == 6
    assert rows([3.0, 4.0], [3.0, 0.0]) == pytest.approx([4 / 3])
    assert len(error(torch.tensor(2.0), torch.tensor(2.0)).rows[0]) == 1


def test_each_leaf_has_rows_of_its_own():
    a, b = torch.ones(2, 2), torch.full((1, 2), 2.0)
    assert [rows.tolist() for rows in error((a, b), (a, b / 2)).rows] == [[0.0, 0.0], [1.0]]


def test_a_row_of_zeros_counts_against_the_mean_row():
    """Else any rounding there would be an infinite error: here 1e-6 is judged against a thousandth of 1."""
    theirs = torch.zeros(2, 1)
    theirs[0] = 2.0  # the mean norm is 1
    assert error(theirs + torch.tensor([[0.0], [1e-6]]), theirs).rows[0].tolist() == pytest.approx(
        [0.0, 1e-3], rel=1e-3
    )
    assert min(error(torch.ones(2, 1), torch.zeros(2, 1)).rows[0]) > 1e300


def test_a_nan_makes_its_own_row_infinite_only():
    assert rows([[math.nan, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]) == [math.inf, 0.0]


def test_one_row_off_in_many_barely_moves_the_total():
    theirs = torch.ones(1000, 4)
    ours = theirs.clone()
    ours[7] = 0
    measured = error(ours, theirs)
    assert measured.rel == pytest.approx(1000**-0.5) and int((measured.rows[0] > 0.01).sum()) == 1
    assert measured.worst.index == [7, 0]


@pytest.mark.parametrize("other", [LOWEST, -math.inf, torch.finfo(torch.float64).min])
def test_the_lowest_finite_value_of_a_dtype_stands_for_minus_infinity(other):
    ours = torch.tensor([1.0, LOWEST])
    theirs = torch.tensor([1.0, other], dtype=torch.float32 if other == LOWEST else torch.float64)
    assert error(ours, theirs).rel == 0.0


@pytest.mark.parametrize("value", [1.0, math.inf, math.nan])
def test_it_does_not_stand_for_anything_else(value):
    measured = error(torch.tensor([1.0, LOWEST]), torch.tensor([1.0, value], dtype=torch.float64))
    assert measured is None or measured.rel > 0 or value != 1.0


def test_a_stand_in_against_a_finite_value_is_an_infinite_error():
    assert error(torch.tensor([1.0, LOWEST]), torch.tensor([1.0, 1.0])).rel == math.inf
    assert error(torch.tensor([1.0, 1.0]), torch.tensor([1.0, LOWEST])).max == math.inf


def test_opposite_extremes_differ():
    assert error(torch.tensor([1.0, LOWEST]), torch.tensor([1.0, -LOWEST])).rel == math.inf
    assert error(torch.tensor([1.0, math.inf]), torch.tensor([1.0, -math.inf])).rel == math.inf


def test_the_extreme_of_the_narrower_side_counts_on_both_sides():
    assert error(torch.tensor([1.0, LOWEST]), torch.tensor([1.0, LOWEST], dtype=torch.float64)).rel == 0.0


def test_integers_that_differ_make_every_error_infinite_and_their_rows_off():
    ours, theirs = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 5]])
    measured = error((ours, torch.ones(3)), (theirs, torch.ones(3)))
    assert (measured.rel, measured.max) == (math.inf, math.inf)
    assert [rows.tolist() for rows in measured.rows] == [[0.0, math.inf], [0.0]]
    assert measured.exact_difference == "1 of 4 values of output[0] (int64) differ"
    assert measured.differing is None, "some values are no integers"


def test_of_several_integer_outputs_that_differ_the_first_is_described_and_the_others_are_counted():
    zeros = (torch.zeros(3, dtype=torch.int64), torch.zeros(4, dtype=torch.bool))
    measured = error((torch.arange(3), torch.ones(4, dtype=torch.bool)), zeros)
    assert measured.exact_difference == "2 of 3 values of output[0] (int64) differ, and 1 more outputs"
    assert measured.differing == (6, 7)


def test_half_the_lowest_value_is_a_number():
    assert error(torch.tensor([LOWEST / 2]), torch.tensor([LOWEST / 2])).rel == 0.0
    assert error(torch.tensor([LOWEST / 2]), torch.tensor([LOWEST / 4])).rel == pytest.approx(1.0)


def test_arrays_and_floats_are_compared_as_tensors():
    assert error((np.array([2.0]), 1.5, torch.ones(1)), (np.array([1.0]), 1.5, torch.ones(1))).rel == pytest.approx(1.0)


def test_nested_sparse_and_quantised_leaves_are_compared():
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)], layout=torch.jagged)
    assert error(nested * 2, nested).rel == pytest.approx(1.0)
    assert error(torch.eye(2).to_sparse() * 2, torch.eye(2).to_sparse()).rel == pytest.approx(1.0)
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)
    assert error(quantised, torch.full((2,), 0.5)).rel == pytest.approx(1.0)


def test_equal_bits():
    ones = leaves(torch.ones(2), "x")
    assert equal_bits(ones, leaves(torch.ones(2), "x"))
    assert not equal_bits(ones, leaves(torch.ones(2) + 1e-7, "x"))
    assert not equal_bits(leaves(torch.tensor(0.0), "x"), leaves(torch.tensor(-0.0), "x"))
    assert equal_bits(leaves(torch.tensor(math.nan), "x"), leaves(torch.tensor(math.nan), "x"))


def test_a_buffer_or_input_that_differs_is_called_by_its_name():
    ours = [OutputLeaf("", torch.ones(3), of="buffer running_var")]
    theirs = [OutputLeaf("", torch.ones(3) * 2, of="buffer running_var")]
    measured = error_of(ours, theirs, "the reference")
    assert measured.worst.path == "buffer running_var" and measured.rel == pytest.approx(0.5)
    assert bitwise_difference(ours, theirs) == "3 of 3 values of buffer running_var differ, the first at [0]"


def test_a_cache_of_another_length_differs_in_structure():
    ours = [OutputLeaf("", torch.ones(4, 2), of="input.past.keys")]
    theirs = [OutputLeaf("", torch.ones(5, 2), of="input.past.keys")]
    assert structure_difference(ours, theirs) == "input.past.keys has shape (4, 2), the reference has (5, 2)"
    dropped = [OutputLeaf("", None, of="input.past.keys")]
    assert structure_difference(dropped, theirs) == "input.past.keys is NoneType, the reference has Tensor"
