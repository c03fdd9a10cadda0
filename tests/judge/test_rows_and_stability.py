"""Verdicts on the share of rows, on references that compute in a narrow dtype, and on outcomes that rounding moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ttprof.codes import VerdictCode
from ttprof.judge.numeric_error import describe_off, error_of, rows_off
from ttprof.judge.numerics import GRADIENTS, OUTPUTS, Compared, is_rare, tolerance_verdict, unless_unstable
from ttprof.judge.output_leaves import OutputLeaf
from ttprof.observation import NumericError
from ttprof.spec import Tolerance
from ttprof.verdict import Status


def error(rel: float, off: int = 0, total: int = 1000, size: float = 1.0, noise: float = 0.0) -> NumericError:
    """An error of *off* rows by *size*, and of none of the others."""
    rows = np.zeros(total)
    rows[:off] = size
    return NumericError(rel, 5 * rel, None, None, "the reference", reference_rel=noise, rows=(rows,))


def of_rows(off: int, share: float, **options) -> tuple[Status, str]:
    verdict = tolerance_verdict(Tolerance(1e-2, rows=share), Compared(error(0.5, off), torch.float32, **options))
    return verdict.status, verdict.reason


@pytest.mark.parametrize(
    ("off", "share", "status"),
    [
        (9, 0.99, Status.PASS),
        (10, 0.99, Status.PASS),
        (11, 0.99, Status.FAIL),
        (0, 1.0, Status.PASS),
        (1, 1.0, Status.FAIL),
        (500, 0.5, Status.PASS),
        (501, 0.5, Status.FAIL),
    ],
)
def test_the_share_of_rows_just_under_at_and_just_over(off, share, status):
    assert of_rows(off, share)[0] is status


def test_the_share_holds_for_each_tensor_by_itself():
    """A loss that is off is not one row of a thousand: it is all rows of the loss."""
    measured = NumericError(0.3, 0.3, None, None, "the reference", rows=(np.ones(1), np.zeros(1024)))
    verdict = tolerance_verdict(Tolerance(1e-2, rows=0.99), Compared(measured, torch.float32))
    assert verdict.status is Status.FAIL


def test_the_reason_counts_the_rows():
    assert of_rows(4, 0.99) == (
        Status.PASS,
        "4 of 1,000 rows off by more than 0.01, allowed 10, against the reference",
    )
    assert describe_off(error(0.5, 4, 1024), 0.02) == "4 of 1,024 rows off by more than 0.02"


@pytest.mark.parametrize(("size", "off"), [(0.01, 0), (0.010001, 4)])
def test_a_row_at_its_limit_is_not_off(size, off):
    assert rows_off(error(0.5, 4, size=size), 0.01) == off


def test_the_limit_of_a_row_is_raised_to_the_floor_of_its_dtype():
    compared = Compared(error(0.5, off=100, size=0.015), torch.bfloat16)
    raised = tolerance_verdict(Tolerance(1e-2, rows=0.99), compared)
    assert raised.status is Status.PASS and raised.code is VerdictCode.WITHIN_RAISED_TOLERANCE
    assert raised.reason.endswith("tolerance raised from 0.01 to the floor of bfloat16")
    assert tolerance_verdict(Tolerance(1e-2, strict=True, rows=0.99), compared).status is Status.FAIL


def test_a_failure_of_the_whole_output_counts_the_rows_too():
    verdict = tolerance_verdict(Tolerance(1e-2), Compared(error(0.06, off=4), torch.float32))
    assert verdict.status is Status.FAIL and "relative error 0.06 (limit 0.01)" in verdict.reason


def of_integers(*shape: int, off: int) -> NumericError:
    """An error of *off* integers of a tensor of zeros."""
    theirs, ours = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    ours.view(-1)[:off] = 1
    return error_of([OutputLeaf("", ours)], [OutputLeaf("", theirs)], "the reference")


@pytest.mark.parametrize(
    ("measured", "off"),
    [
        (of_integers(12, off=3), "3 of 12 values differ"),
        (of_integers(off=1), "1 of 1 values differ"),
        (of_integers(4, 3, off=3), "1 of 4 rows differ"),
        (error(0.5, 1, total=1), "1 of 1 tensors off by more than 0.01"),
        (error(0.5, 1, total=3), "1 of 3 rows off by more than 0.01"),
    ],
    ids=["integers", "an integer", "rows of integers", "a vector", "rows"],
)
def test_what_is_off_is_counted_in_rows_only_where_there_are_rows(measured, off):
    assert describe_off(measured, 0.01) == off
    verdict = tolerance_verdict(Tolerance(1e-2, rows=0.9), Compared(measured, torch.float32))
    assert verdict.status is Status.FAIL and verdict.reason.startswith(f"{off}, allowed 0, against")


def test_integers_that_rounding_changes_too_are_counted_as_values():
    """The argmax of a vector of scores that are nearly equal."""
    moved = stable(of_integers(12, off=3), of_integers(12, off=2), dtype=torch.bfloat16)
    assert moved.status is Status.INCONCLUSIVE
    assert moved.reason == (
        "3 of 12 values of output (int64) differ, but rounding inputs and parameters to bfloat16 changes 2 of 12 "
        "in the reference"
    )


def test_a_vector_that_rounding_moves_has_no_rows_to_count():
    moved = stable(error(0.06, 1, total=1), error(0.05, 1, total=1))
    assert moved.status is Status.INCONCLUSIVE
    assert moved.reason.endswith("rounding inputs and parameters to bfloat16 moves the reference by 0.05")
    own = stable(error(0.6, 1, total=1), error(0.05, 1, total=1))
    assert own.status is Status.FAIL and "1 of 1" not in own.reason


def narrow(tolerance: Tolerance, rel: float, dtype=torch.float32):
    return tolerance_verdict(tolerance, Compared(error(rel), dtype, narrow=torch.bfloat16))


def test_nothing_below_the_floor_of_a_narrow_reference_can_be_judged():
    """The float64 copy of a module rounds to bfloat16 wherever the module does: it can't show the loss."""
    verdict = narrow(Tolerance(1e-6, strict=True), 0.0)
    assert (verdict.status, verdict.code) == (Status.INCONCLUSIVE, VerdictCode.REFERENCE_NARROW)
    assert "no error below 0.02 can be judged" in verdict.reason
    assert narrow(Tolerance(1e-6, strict=True), 0.03).status is Status.FAIL
    assert narrow(Tolerance(0.03, strict=True), 0.02).status is Status.PASS


def test_without_strict_the_floor_of_the_narrow_dtype_applies():
    assert narrow(Tolerance(1e-6), 0.019).code is VerdictCode.WITHIN_RAISED_TOLERANCE
    assert narrow(Tolerance(1e-6), 0.021).status is Status.FAIL
    assert tolerance_verdict(Tolerance(1e-6), Compared(error(0.019), torch.float32)).status is Status.FAIL


@pytest.mark.parametrize(
    ("dtype", "narrower", "floor"),
    [
        (torch.float32, None, (0.0, torch.float32)),
        (torch.float16, None, (2.5e-3, torch.float16)),
        (torch.float16, torch.bfloat16, (2e-2, torch.bfloat16)),
        (torch.bfloat16, torch.float16, (2e-2, torch.bfloat16)),
    ],
)
def test_the_floor_is_that_of_the_least_precise_dtype(dtype, narrower, floor):
    assert Compared(error(0.0), dtype, narrow=narrower).floor == floor


def stable(ours: NumericError, *moved: NumericError | None, dtype=torch.bfloat16, tolerance=0.01, **options):
    compared = Compared(ours, dtype, **options)
    verdict = tolerance_verdict(Tolerance(tolerance), compared)
    assert verdict.status in (Status.FAIL, Status.ERROR)
    return unless_unstable(verdict, Tolerance(tolerance), compared, moved)


def test_an_error_that_rounding_alone_explains_is_inconclusive():
    """A router that sends 4 of 1,000 tokens to another expert, as any rounding does."""
    verdict = stable(error(0.06, off=4), error(0.05, off=3))
    assert (verdict.status, verdict.code) == (Status.INCONCLUSIVE, VerdictCode.REFERENCE_UNSTABLE)
    assert "rounding inputs and parameters to bfloat16 moves the reference by 0.05" in verdict.reason
    assert "4 of 1,000 rows off by more than 0.02, and 3 when its inputs and parameters are rounded" in verdict.reason
    assert verdict.reason.endswith(".tolerance(0.01, rows=0.99) judges the share of rows")


@pytest.mark.parametrize(
    ("ours", "moved"),
    [
        (error(0.06, off=1000), error(0.05, off=3)),  # a real bug of 6 % in every row
        (error(0.6, off=4), error(0.05, off=3)),  # few rows, but twelve times as far off
        (error(0.06, off=4), None),
        (error(0.06, off=4), error(0.0)),
        (error(0.06, off=4), error(0.019, off=3, size=0.001)),  # rounding stays within the tolerance
    ],
    ids=["more rows", "larger", "not known", "not moved", "within the tolerance"],
)
def test_a_larger_error_or_one_in_more_rows_is_the_modules_own(ours, moved):
    assert stable(ours, moved).status is Status.FAIL


def test_one_run_that_jumps_explains_an_error_and_is_the_last():
    """A single token near the border between two experts: most roundings leave it where it is."""
    runs = iter([error(0.0), None, error(0.05, off=1), error(0.05, off=1)])
    ours = Compared(error(0.06, off=1), torch.bfloat16)
    verdict = unless_unstable(tolerance_verdict(Tolerance(0.01), ours), Tolerance(0.01), ours, runs)
    assert verdict.code is VerdictCode.REFERENCE_UNSTABLE
    assert len(list(runs)) == 1


def test_many_runs_that_jump_elsewhere_do_not_add_up():
    rows = [error(0.05, off=3) for _ in range(20)]
    assert stable(error(0.06, off=20), *rows).status is Status.FAIL
    assert stable(error(0.06, off=19), *rows).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("rounding", [OUTPUTS, GRADIENTS])
def test_an_error_more_than_four_times_the_movement_is_the_modules_own(rounding):
    assert stable(error(0.8, off=9), error(0.2, off=9), rounding=rounding).status is Status.INCONCLUSIVE
    verdict = stable(error(0.81, off=9), error(0.1, off=9), error(0.2, off=8), rounding=rounding)
    assert verdict.status is Status.FAIL
    assert ", and 8 when its inputs and parameters are rounded at random" in verdict.reason


@pytest.mark.parametrize(("off", "total", "rare"), [(8, 10, True), (9, 10, False), (18, 1000, True), (19, 1000, False)])
def test_few_rows_may_jump_rarely(off, total, rare):
    assert is_rare(Tolerance(0.01), Compared(error(0.5, off, total), torch.bfloat16)) is rare


def test_a_bug_beyond_an_inaccurate_reference_is_a_failure_and_no_error():
    noisy = error(0.1, off=1000, noise=0.05)
    verdict = stable(noisy, error(0.04, off=4), given=True)
    assert (verdict.status, verdict.code) == (Status.FAIL, VerdictCode.OUTSIDE_TOLERANCE)
    assert "1,000 of 1,000 rows off by more than 0.02" in verdict.reason


def test_an_equal_copy_of_an_unstable_module_is_inconclusive():
    verdict = stable(error(0.05, off=4, noise=0.05), error(0.04, off=4), given=True)
    assert verdict.status is Status.INCONCLUSIVE


def test_float32_too_has_kinks():
    verdict = stable(error(0.3, off=200), error(0.2, off=180), dtype=torch.float32, tolerance=1e-3, rounding=GRADIENTS)
    assert verdict.status is Status.INCONCLUSIVE and "rows=0.99" not in verdict.reason


@pytest.mark.parametrize("same_bits", [True, False])
def test_an_output_with_the_bits_of_the_reference_passes_whatever_its_noise(same_bits):
    measured = NumericError(0.5, 0.5, None, None, "r", reference_rel=0.5, reference_max=0.5, same_bits=same_bits)
    verdict = tolerance_verdict(Tolerance(1e-3), Compared(measured, torch.bfloat16, given=True))
    assert verdict.status is (Status.PASS if same_bits else Status.ERROR)
    strict = tolerance_verdict(Tolerance(1e-3, strict=True), Compared(measured, torch.bfloat16, given=True))
    assert strict.status is Status.FAIL
