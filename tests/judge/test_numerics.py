from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from ttprof.errors import ModuleRaised
from ttprof.judge import numerics
from ttprof.observation import NumericError
from ttprof.result import Element
from ttprof.spec import Tolerance
from ttprof.verdict import Status


def leaves(output):
    return numerics.leaves(output, "x")


def error(a, b) -> NumericError:
    return numerics.error_of(leaves(a), leaves(b), "the reference")


def judged(rel=0.0, top=0.0, *, tolerance=1e-3, dtype=torch.float32, strict=False, compared=False, own=(0.0, 0.0)):
    found = NumericError(rel, top, 1.0, None, "the reference", *own)
    return numerics.tolerance_verdict(Tolerance(tolerance, strict), found, dtype, compared)


def test_errors_by_hand():
    found = error(torch.tensor([3.0, 4.0, 1.0]), torch.tensor([3.0, 4.0, 0.0]))
    assert found.rel == pytest.approx(1 / 5)
    assert found.max == pytest.approx(1 / 4)
    assert found.worst == Element(reference="the reference", path="output", index=[2], value=1.0, expected=0.0)
    failed = numerics.tolerance_verdict(Tolerance(1e-3), found, torch.float32, compared=False)
    assert failed.reason.endswith("worst: output[2] is 1, the reference has 0")


def test_the_worst_leaf_counts_and_is_named():
    good, bad = torch.ones(2, 2), torch.tensor([[1.0, 1.0], [1.0, 2.0]])
    found = error({"h": good, "c": (good, bad)}, {"h": good, "c": (good, good)})
    assert found.rel == pytest.approx(0.5)
    assert (found.worst.path, found.worst.index, found.worst.value) == ("output['c'][1]", [1, 1], 2.0)


def test_the_worst_of_an_equal_output_is_known_too():
    same = torch.ones(2)
    assert error(same, same).worst.value == error(same, same).worst.expected == 1.0
    exact = error(torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64))
    assert exact.worst is None and judged(0.0, 0.0).status is Status.PASS


def test_a_nan_is_never_a_small_error():
    found = error(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 1.0]))
    assert found.rel == found.max == math.inf and found.worst.value == "nan"
    assert judged(found.rel, found.max).status is Status.FAIL


def test_an_error_where_the_reference_is_zero_is_infinite():
    assert error(torch.tensor([0.0]), torch.tensor([0.0])).rel == 0
    assert error(torch.tensor([1e-9]), torch.tensor([0.0])).rel == math.inf


def test_pcc_ignores_scale_and_is_undefined_for_constants():
    x = torch.arange(5.0)
    assert error(3 * x, x).pcc == pytest.approx(1)
    assert error(-x, x).pcc == pytest.approx(-1)
    assert error(torch.ones(4), torch.ones(4)).pcc is None


@pytest.mark.parametrize(
    ("rel", "top", "status"),
    [(1e-3, 0, Status.PASS), (1.01e-3, 0, Status.FAIL), (0, 5e-3, Status.PASS), (0, 5.01e-3, Status.FAIL)],
)
def test_at_just_under_and_just_over(rel, top, status):
    assert judged(rel, top).status is status


def test_the_floor_of_a_dtype_raises_a_tolerance_and_says_so():
    verdict = judged(1e-2, dtype=torch.bfloat16)
    assert verdict.status is Status.PASS
    assert "raised from 0.001 to the floor of bfloat16" in verdict.reason
    assert judged(1e-2, dtype=torch.bfloat16, strict=True).status is Status.FAIL
    assert judged(1e-2, dtype=torch.float32).status is Status.FAIL


def test_the_references_own_error_is_allowed_three_times():
    assert judged(2.9e-3, compared=True, own=(1e-3, 1e-3)).status is Status.PASS
    assert judged(3.1e-3, compared=True, own=(1e-3, 1e-3)).status is Status.FAIL
    assert judged(2.9e-3, compared=False, own=(1e-3, 1e-3)).status is Status.FAIL


def test_finite_verdict_counts_and_places():
    bad = torch.tensor([[1.0, math.inf], [math.nan, 1.0]])
    verdict = numerics.finite_verdict(leaves(bad), None, allowed=False)
    assert verdict.status is Status.FAIL
    assert verdict.reason == "output has 1 NaN and 1 Inf of 4 values, first at (0, 1)"


def test_allowed_non_finite_values_must_be_where_the_reference_has_them():
    a, same, other = (torch.tensor(x) for x in ([1.0, math.inf], [1.0, math.inf], [math.inf, 1.0]))
    opposite = torch.tensor([1.0, -math.inf])
    assert numerics.finite_verdict(leaves(a), leaves(same), allowed=True).status is Status.PASS
    assert numerics.finite_verdict(leaves(a), leaves(other), allowed=True).status is Status.FAIL
    assert numerics.finite_verdict(leaves(a), leaves(opposite), allowed=True).status is Status.FAIL
    assert numerics.finite_verdict(leaves(a), None, allowed=True).status is Status.ERROR
    assert error(a, same).rel == 0


@dataclass
class Cache:
    def get_seq_length(self) -> int:
        return 3


def test_structures():
    x = torch.ones(2)
    assert numerics.structure_difference(leaves((x, None, Cache(), 3)), leaves((x, None, Cache(), 3))) is None
    assert "output[0]" in (numerics.structure_difference(leaves((x, x)), leaves(x)) or "")
    assert "shape (2,)" in (numerics.structure_difference(leaves(x), leaves(torch.ones(3))) or "")
    assert "is 3, the reference's 4" in (numerics.structure_difference(leaves((x, 3)), leaves((x, 4))) or "")
    ids = torch.tensor([1, 2])
    assert "differs at 1 of 2" in (numerics.structure_difference(leaves(ids), leaves(torch.tensor([1, 3]))) or "")


def test_an_output_without_a_tensor_can_not_be_tested():
    with pytest.raises(ModuleRaised, match="x returned str 'hello', which holds no tensor"):
        leaves("hello")


def test_complex_and_empty_leaves():
    z = torch.complex(torch.ones(3), torch.zeros(3))
    assert error(z, z).rel == 0
    assert error(z * 2, z).rel == pytest.approx(1)
    assert error((torch.ones(0), torch.ones(1)), (torch.ones(0), torch.ones(1))).rel == 0
