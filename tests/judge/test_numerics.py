"""Errors by hand, tolerances at their limits, and the reasons of the verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from ttprof.codes import VerdictCode
from ttprof.errors import ModuleRaised
from ttprof.judge import numerics, output_leaves, soundness
from ttprof.judge.numeric_error import error_of
from ttprof.judge.numerics import Compared
from ttprof.observation import NumericError
from ttprof.result import Element
from ttprof.spec import Tolerance
from ttprof.verdict import Status


def leaves(output):
    return output_leaves.leaves(output, "x")


def error(a, b) -> NumericError:
    return error_of(leaves(a), leaves(b), "the reference")


def judged(rel=0.0, top=0.0, *, tolerance=1e-3, dtype=torch.float32, strict=False, compared=False, noise=(0.0, 0.0)):
    rel_noise, max_noise = noise
    measured = NumericError(rel, top, 1.0, None, "the reference", reference_rel=rel_noise, reference_max=max_noise)
    return numerics.tolerance_verdict(Tolerance(tolerance, strict), Compared(measured, dtype, given=compared))


def test_errors_by_hand():
    measured = error(torch.tensor([3.0, 4.0, 1.0]), torch.tensor([3.0, 4.0, 0.0]))
    assert measured.rel == pytest.approx(1 / 5)
    assert measured.max == pytest.approx(1 / 4)
    assert measured.worst == Element(reference="the reference", path="output", index=[2], value=1.0, expected=0.0)
    failed = numerics.tolerance_verdict(Tolerance(1e-3), Compared(measured, torch.float32))
    assert failed.reason.endswith("worst: output[2] is 1, the reference has 0")


def test_the_worst_leaf_counts_and_is_named():
    good, bad = torch.ones(2, 2), torch.tensor([[1.0, 1.0], [1.0, 2.0]])
    measured = error({"h": good, "c": (good, bad)}, {"h": good, "c": (good, good)})
    assert measured.rel == pytest.approx(0.5)
    assert (measured.worst.path, measured.worst.index, measured.worst.value) == ("output['c'][1]", [1, 1], 2.0)


def test_an_equal_output_has_a_worst_element_too():
    same = torch.ones(2)
    assert error(same, same).worst.value == error(same, same).worst.expected == 1.0
    exact = error(torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64))
    assert exact.worst is None and judged(0.0, 0.0).status is Status.PASS


def test_a_nan_is_never_a_small_error():
    measured = error(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 1.0]))
    assert measured.rel == measured.max == math.inf and measured.worst.value == "nan"
    assert judged(measured.rel, measured.max).status is Status.FAIL


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
    assert "tolerance raised from 0.001 to the floor of bfloat16" in verdict.reason
    assert judged(1e-2, dtype=torch.bfloat16, strict=True).status is Status.FAIL
    assert judged(1e-2, dtype=torch.float32).status is Status.FAIL


def test_three_times_the_references_own_error_passes():
    assert judged(2.9e-3, compared=True, noise=(1e-3, 1e-3)).status is Status.PASS
    assert judged(3.1e-3, compared=True, noise=(1e-3, 1e-3)).status is Status.FAIL
    assert judged(2.9e-3, compared=False, noise=(1e-3, 1e-3)).status is Status.FAIL


@pytest.mark.parametrize(
    ("noise", "evidence"),
    [
        ((0.04, 0.1), "its relative error in float16 against its float64 result is 0.04, limit 0.03 "),
        ((0.01, 0.2), "its max error in float16 against its float64 result is 0.2, limit 0.15 "),
        ((0.04, 0.2), "its relative error in float16 against its float64 result is 0.04, limit 0.03 "),
    ],
)
def test_an_inaccurate_reference_is_an_error_that_names_the_deciding_error(noise, evidence):
    verdict = judged(0.01, dtype=torch.float16, compared=True, noise=noise)
    assert (verdict.status, verdict.code) == (Status.ERROR, VerdictCode.REFERENCE_INACCURATE)
    assert verdict.reason.startswith("the reference is too inaccurate to compare with: " + evidence)
    assert verdict.bound == (None, 2.5e-3)
    assert judged(1e-3, dtype=torch.float16, compared=True, noise=noise).status is Status.PASS


def test_finite_verdict_counts_and_places():
    bad = torch.tensor([[1.0, math.inf], [math.nan, 1.0]])
    verdict = soundness.finite_verdict(leaves(bad), None, allow_nonfinite=False)
    assert verdict.status is Status.FAIL
    assert verdict.reason == "output has 1 NaN and 1 Inf of 4 values, first at (0, 1)"


@pytest.mark.parametrize(
    ("inputs", "clause"),
    [
        ([1.0, math.nan], "; its input already holds NaN"),
        ([1.0, math.inf], "; its input already holds Inf"),
        ([math.nan, -math.inf], "; its input already holds NaN and -Inf"),
        ([0.0, -math.inf], "; its input already holds -Inf, as masks do"),
        ([0.0, 1.0], ""),
    ],
)
def test_an_input_that_is_not_finite_is_named_beside_an_output_that_is_not(inputs, clause):
    bad = leaves(torch.tensor([math.nan, 1.0]))
    verdict = soundness.finite_verdict(bad, None, False, [torch.ones(2), torch.tensor(inputs)])
    assert verdict.reason == f"output has 1 NaN and 0 Inf of 2 values, first at (0,){clause}"
    finite = soundness.finite_verdict(leaves(torch.tensor([1.0, 2.0])), None, False, [torch.tensor(inputs)])
    assert finite.status is Status.PASS and finite.reason == "every output value is finite"


def test_allowed_non_finite_values_must_be_where_the_reference_has_them():
    a, same, other = (torch.tensor(x) for x in ([1.0, math.inf], [1.0, math.inf], [math.inf, 1.0]))
    opposite = torch.tensor([1.0, -math.inf])
    assert soundness.finite_verdict(leaves(a), leaves(same), allow_nonfinite=True).status is Status.PASS
    assert soundness.finite_verdict(leaves(a), leaves(other), allow_nonfinite=True).status is Status.FAIL
    assert soundness.finite_verdict(leaves(a), leaves(opposite), allow_nonfinite=True).status is Status.FAIL
    assert soundness.finite_verdict(leaves(a), None, allow_nonfinite=True).status is Status.ERROR
    assert error(a, same).rel == 0


@dataclass
class Cache:
    def get_seq_length(self) -> int:
        return 3


def test_structures():
    def difference(a, b):
        return output_leaves.structure_difference(leaves(a), leaves(b))

    x = torch.ones(2)
    assert difference((x, None, Cache(), 3), (x, None, Cache(), 3)) is None
    assert difference((x, x), x) == "only the output has output[0], output[1]; only the reference has output"
    eight, nine = {f"layer{i}": x for i in range(8)}, {f"layer{i}": x for i in range(9)}
    assert difference(eight, nine) == "only the reference has output['layer8']"
    assert difference({**nine, "a": x, "b": x, "c": x, "d": x}, nine) == (
        "only the output has output['a'], output['b'], output['c'] and 1 more"
    )
    assert difference((x, 3), (x, x)) == "output[1] is int, the reference has Tensor"
    assert difference((x, 3), (x, 4)) == "output[1] is 3, the reference has 4"
    assert difference(x, torch.ones(3)) == "output has shape (2,), the reference has (3,)"
    ids = torch.tensor([1, 2])
    assert difference(ids, x) == "output is int64, the reference has float32"
    assert difference(ids, torch.tensor([1, 3])) is None  # an error, and no difference of structure


def test_an_output_without_a_tensor_is_an_error():
    with pytest.raises(ModuleRaised, match="x returned str 'hello', which contains no tensor to test"):
        leaves("hello")


def test_complex_and_empty_leaves():
    z = torch.complex(torch.ones(3), torch.zeros(3))
    assert error(z, z).rel == 0
    assert error(z * 2, z).rel == pytest.approx(1)
    assert error((torch.ones(0), torch.ones(1)), (torch.ones(0), torch.ones(1))).rel == 0
