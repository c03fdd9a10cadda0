"""Judges an output, or gradients, against a float64 run of the same module or against a given reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import torch

from ttprof.codes import Kind, VerdictCode
from ttprof.judge.numeric_error import ZERO, count_off, describe_off, row_count, rows_off
from ttprof.judge.output_leaves import dtype_name
from ttprof.observation import NumericError
from ttprof.result import Element
from ttprof.spec import Tolerance
from ttprof.units import apart, significant
from ttprof.verdict import Status, Verdict


@dataclass(frozen=True)
class Rounding:
    """The relative error that rounding alone may cause.

    Attributes:
        floors: By dtype; a smaller tolerance is raised to it, and the reason says so.
        worst: The reference's own relative error above which it can't judge anything.
    """

    floors: dict[torch.dtype, float]
    worst: float


_FLOAT8_FLOORS = {torch.float8_e4m3fn: 0.125, torch.float8_e5m2: 0.25}
"""The spacing of the numbers just above 1: a scaled matmul resolves no more."""

OUTPUTS = Rounding({torch.float16: 2.5e-3, torch.bfloat16: 2e-2, **_FLOAT8_FLOORS}, worst=0.03)
GRADIENTS = Rounding({torch.float16: 5e-2, torch.bfloat16: 1e-1, **_FLOAT8_FLOORS}, worst=0.3)
"""Larger for gradients: here and there, rounding flips the sign before a ReLU or the maximum of a pool (measured on
nn.TransformerEncoderLayer: 0.03 in float16, 0.07 in bfloat16)."""

MAX_FACTOR = 5.0
"""The limit on the max error, as a multiple of the limit on the relative error."""

NARROW_ROUNDINGS = 10.0
"""A reference that computes parts in a dtype resolves no error below this many eps of it."""

SMOOTH_ROUNDINGS = 100.0
"""Rounding moves a smooth outcome by no more than this many eps, in a dtype without a floor."""

OWN_FACTOR = 4.0
"""An error more than four times as large as what rounding moves the reference by is the module's own. (Measured on
the gradients of correct modules with kinks, in bfloat16: at most 1.1 times as large.)"""

ROWS_FACTOR = 3.0
MIN_ROWS = 0.01
"""An error that affects three times as many rows, and 1 % of all rows more, is the module's own."""

RARE_ROWS = 8
"""Rows off, and 1 % of all rows more, up to which rounding may jump so rarely that three runs show no jump."""

NOISE_FACTOR = 3.0
"""A module may be this many times as inaccurate as its reference in the same dtype."""


def _describe_element(worst: Element) -> str:
    ours, theirs = apart(float(worst.value), float(worst.expected))
    return f"{worst.path}{worst.index} is {ours}, the reference has {theirs}"


@dataclass(frozen=True)
class Compared:
    """How an output was compared: its error, the dtype under test, and what its reference is.

    Attributes:
        error: The error against the reference.
        dtype: The dtype under test.
        given: Whether the user gave the reference; else it is the same module in float64.
        narrow: The dtype below 64 bits in which the reference computes parts whatever its inputs, or None.
        rounding: What rounding alone may cause.
    """

    error: NumericError
    dtype: torch.dtype
    given: bool = False
    narrow: torch.dtype | None = None
    rounding: Rounding = OUTPUTS

    @property
    def floor(self) -> tuple[float, torch.dtype]:
        """The error that rounding alone may cause, and the dtype that does: the one under test or a narrower part."""
        floors = self.rounding.floors
        dtypes = [self.dtype] if self.narrow is None else [self.dtype, self.narrow]
        return max(((floors.get(dtype, 0.0), dtype) for dtype in dtypes), key=lambda pair: pair[0])

    @property
    def resolution(self) -> float:
        """The smallest error that the reference can resolve: the floor of its narrowest dtype, or 10 eps of it."""
        if self.narrow is None:
            return 0.0
        return self.rounding.floors.get(self.narrow) or NARROW_ROUNDINGS * torch.finfo(self.narrow).eps


@dataclass(frozen=True)
class _ErrorLimits:
    """The limits of an error: ``tolerance`` is the user's, raised to the rounding floor unless strict.

    ``rel`` and ``max`` bound the two errors; the reference's own error may raise them further.
    """

    tolerance: float
    rel: float
    max: float

    @classmethod
    def of(cls, tolerance: float) -> _ErrorLimits:
        return cls(tolerance, tolerance, MAX_FACTOR * tolerance)

    def admit(self, error: NumericError) -> bool:
        return error.rel <= self.rel and error.max <= self.max


def tolerance_verdict(tolerance: Tolerance, compared: Compared) -> Verdict:
    """PASS if rel <= T and max <= 5 T, with T the tolerance, raised to the dtype's rounding floor unless strict.

    With ``rows``, PASS if in each tensor at least that share of the rows has a relative error <= T. With
    ``compare_with``, three times the reference's own error in the module's dtype also passes, because a module can't be
    expected to resolve more than its reference. A reference whose own error exceeds the bound of its rounding (it is
    nondeterministic, or overflows) can't judge: ERROR, unless the module is within T anyway. A tolerance below what a
    reference resolves that computes parts in a narrow dtype is INCONCLUSIVE.
    """
    error = compared.error
    raised = tolerance.value if tolerance.strict else max(tolerance.value, compared.floor[0])
    limits = _ErrorLimits.of(raised)
    if limits.tolerance < compared.resolution >= error.rel:
        return _tolerance(tolerance, compared, VerdictCode.REFERENCE_NARROW, _narrow_reference(compared), raised)
    if tolerance.rows is not None:
        return _rows_verdict(tolerance, tolerance.rows, compared, raised)
    if not limits.admit(error) and compared.given and not tolerance.strict:
        if error.same_bits:
            reason = f"bitwise equal to the reference's output in {dtype_name(compared.dtype)}"
            return _tolerance(tolerance, compared, VerdictCode.SAME_AS_REFERENCE, reason, raised)
        worst = compared.rounding.worst
        if error.reference_rel > worst or error.reference_max > MAX_FACTOR * worst:
            reason = _inaccurate_reference(compared)
            return _tolerance(tolerance, compared, VerdictCode.REFERENCE_INACCURATE, reason, raised)
        noise_rel, noise_max = NOISE_FACTOR * error.reference_rel, NOISE_FACTOR * error.reference_max
        limits = _ErrorLimits(raised, max(limits.rel, noise_rel), max(limits.max, noise_max))
    code = _code_within(tolerance, limits.admit(error), limits.rel)
    return _tolerance(tolerance, compared, code, _tolerance_reason(tolerance, compared, code, limits), limits.rel)


_STATUSES = {
    VerdictCode.WITHIN_TOLERANCE: Status.PASS,
    VerdictCode.WITHIN_RAISED_TOLERANCE: Status.PASS,
    VerdictCode.SAME_AS_REFERENCE: Status.PASS,
    VerdictCode.OUTSIDE_TOLERANCE: Status.FAIL,
    VerdictCode.REFERENCE_INACCURATE: Status.ERROR,
    VerdictCode.REFERENCE_NARROW: Status.INCONCLUSIVE,
    VerdictCode.REFERENCE_UNSTABLE: Status.INCONCLUSIVE,
}


def _tolerance(tolerance: Tolerance, compared: Compared, code: VerdictCode, reason: str, limit: float) -> Verdict:
    rel = compared.error.rel
    return Verdict(
        kind=Kind.TOLERANCE,
        code=code,
        expectation=str(tolerance),
        status=_STATUSES[code],
        reason=reason,
        metric="rel_error" if tolerance.rows is None else None,
        measured=rel if math.isfinite(rel) and tolerance.rows is None else None,
        bound=(None, limit) if tolerance.rows is None else None,
    )


def _code_within(tolerance: Tolerance, within: bool, limit: float) -> VerdictCode:
    if not within:
        return VerdictCode.OUTSIDE_TOLERANCE
    return VerdictCode.WITHIN_RAISED_TOLERANCE if limit > tolerance.value else VerdictCode.WITHIN_TOLERANCE


def _rows_verdict(tolerance: Tolerance, share: float, compared: Compared, limit: float) -> Verdict:
    """PASS if in each tensor at least *share* of the rows have a relative error of at most *limit*."""
    error = compared.error
    allowed = [math.floor((1 - share) * len(rows) + 1e-9) for rows in error.rows]
    counts = [int((rows > limit).sum()) for rows in error.rows]
    code = _code_within(tolerance, all(off <= most for off, most in zip(counts, allowed, strict=True)), limit)
    clauses = [f"{describe_off(error, limit)}, allowed {sum(allowed):,}, against {error.reference}"]
    clauses += _raised_clauses(tolerance, compared, limit)
    return _tolerance(tolerance, compared, code, "; ".join(clauses), limit)


NOISE_ROUNDINGS = 256
"""Normalisations amplify rounding by up to 1/sqrt(1e-5) = 316."""


def is_rare(tolerance: Tolerance, compared: Compared) -> bool:
    """Whether so few rows are off that the outcome may jump there, although rounding seldom makes it jump."""
    error, limit = compared.error, max(tolerance.value, compared.floor[0])
    return rows_off(error, limit) <= RARE_ROWS + MIN_ROWS * row_count(error)


def unless_unstable(
    verdict: Verdict,
    tolerance: Tolerance,
    compared: Compared,
    movements: Iterable[NumericError | None],
    in_operators: bool = False,
) -> Verdict:
    """*verdict*, unless rounding moves the reference's own outcome as much: then INCONCLUSIVE.

    So it is where the outcome jumps: another expert is chosen, or a sample lies on the border of a pixel. An error that
    is more than four times as large, or that affects more than three times as many rows, is the module's all the same:
    FAIL.

    Args:
        verdict: A FAIL, or an ERROR since the reference is too inaccurate.
        tolerance: The tolerance that it judges.
        compared: The comparison that it judges.
        movements: The errors of float64 runs of the reference on inputs and parameters rounded at random, None for a
            run that can't be compared. No more are taken once one explains the error.
        in_operators: Whether the results of all operators were rounded too. This moves nothing by jumps, so movements
            count from a quarter of the limit on.
    """
    if tolerance.strict:
        return verdict
    limit = max(tolerance.value, compared.floor[0])
    least = limit / OWN_FACTOR if in_operators else limit
    smooth = max(least, SMOOTH_ROUNDINGS * torch.finfo(compared.dtype).eps if compared.floor[0] == 0 else 0.0)
    largest = None
    for moved in movements:
        if moved is None or _ErrorLimits.of(smooth).admit(moved):
            continue
        if _explains(moved, compared.error, limit, least):
            rounded = "the results of its operators" if in_operators else "inputs and parameters"
            return _unstable(tolerance, compared, moved, limit, rounded)
        largest = moved if largest is None or moved.rel > largest.rel else largest
    if largest is None:
        return verdict
    code = VerdictCode.OUTSIDE_TOLERANCE
    reason = _tolerance_reason(tolerance, compared, code, _ErrorLimits.of(limit), largest)
    return _tolerance(tolerance, compared, code, reason, limit)


def unless_noise(verdict: Verdict, tolerance: Tolerance, compared: Compared, size: float) -> Verdict:
    """*verdict*, but INCONCLUSIVE if it is off where the exact outcome is 0 only, by what rounding of *size* leaves."""
    worst = compared.error.worst
    if verdict.code is not VerdictCode.OUTSIDE_TOLERANCE or tolerance.strict or worst is None:
        return verdict
    value, expected = float(worst.value), float(worst.expected)
    noise = NOISE_ROUNDINGS * torch.finfo(compared.dtype).eps * size
    if compared.error.rel_beside_zero > max(tolerance.value, compared.floor[0]):
        return verdict
    if not abs(expected) <= ZERO * abs(value) <= ZERO * noise:
        return verdict
    reason = f"{_describe_element(worst)}; so near 0 it is what rounding leaves of inputs up to {significant(size)}"
    return _tolerance(tolerance, compared, VerdictCode.REFERENCE_UNSTABLE, reason, tolerance.value)


def unless_random(verdict: Verdict, drawn_by: str) -> Verdict:
    """*verdict*, but INCONCLUSIVE if it is a FAIL, since the two sides may have dropped different values."""
    if verdict.code is not VerdictCode.OUTSIDE_TOLERANCE:
        return verdict
    reason = f"{drawn_by} draws random numbers of its own, so the two sides need not agree: {verdict.reason}"
    code, status = VerdictCode.RANDOM_NUMBERS_DIFFER, Status.INCONCLUSIVE
    return msgspec.structs.replace(verdict, code=code, status=status, reason=reason)


def _explains(moved: NumericError, error: NumericError, limit: float, least: float) -> bool:
    """Whether an outcome that rounding moves by *moved*, in rows by *least*, may as well be off by *error*."""
    few_enough = rows_off(error, limit) <= ROWS_FACTOR * rows_off(moved, least) + MIN_ROWS * row_count(error)
    return error.rel <= OWN_FACTOR * moved.rel and few_enough


def _off_of_both(error: NumericError, moved: NumericError | None, limit: float) -> str:
    rounded = f", and {count_off(moved, limit):,} when its inputs and parameters are rounded at random" if moved else ""
    return describe_off(error, limit) + rounded


def _unstable(tolerance: Tolerance, compared: Compared, moved: NumericError, limit: float, rounded: str) -> Verdict:
    """The INCONCLUSIVE for an error that *moved* explains."""
    error = compared.error
    measured = error.exact_difference or f"relative error {significant(error.rel)} (limit {significant(limit)})"
    movement = "the same" if moved.exact_difference else significant(moved.rel)
    rounding = f"rounding {rounded} to {dtype_name(compared.dtype)}"
    if error.differing is not None and moved.differing is not None:
        changed, total = moved.differing
        reason = f"{measured}, but {rounding} changes {changed:,} of {total:,} in {error.reference}"
    else:
        reason = f"{measured}, but {rounding} moves {error.reference} by {movement}"
        reason += f": {_off_of_both(error, moved, limit)}" if row_count(error) > 1 else ""
    few = rows_off(error, limit) < row_count(error) / 2
    if compared.rounding is OUTPUTS and tolerance.rows is None and few:
        reason += f"; .tolerance({significant(tolerance.value)}, rows=0.99) judges the share of rows"
    return _tolerance(tolerance, compared, VerdictCode.REFERENCE_UNSTABLE, reason, limit)


def _narrow_reference(compared: Compared) -> str:
    assert compared.narrow is not None
    return (
        f"relative error {significant(compared.error.rel)} against {compared.error.reference}; parts of it run in "
        f"{dtype_name(compared.narrow)}, so no error below {significant(compared.resolution)} can be judged"
    )


def _inaccurate_reference(compared: Compared) -> str:
    """The reason why a reference can't judge, with the error that decided it."""
    error, worst = compared.error, compared.rounding.worst
    if error.reference_rel > worst:
        name, value, limit = "relative error", error.reference_rel, worst
    else:
        name, value, limit = "max error", error.reference_max, MAX_FACTOR * worst
    return (
        f"{error.reference} is too inaccurate to compare with: its {name} in {dtype_name(compared.dtype)} against its "
        f"float64 result is {significant(value)}, limit {significant(limit)} (is it nondeterministic, or does it "
        "overflow?)"
    )


def _tolerance_reason(
    tolerance: Tolerance,
    compared: Compared,
    code: VerdictCode,
    limits: _ErrorLimits,
    moved: NumericError | None = None,
) -> str:
    """The errors and their limits and, beyond these, what is off, and how much of *moved*, a run that was rounded."""
    error = compared.error
    clauses = [
        f"relative error {significant(error.rel)} (limit {significant(limits.rel)}), max error "
        f"{significant(error.max)} (limit {significant(limits.max)}) against {error.reference}"
    ]
    if error.exact_difference:
        clauses = [f"against {error.reference}: {error.exact_difference}"]
    if code is VerdictCode.OUTSIDE_TOLERANCE:
        clauses += [f"worst: {_describe_element(error.worst)}"] if error.worst is not None else []
        countable = row_count(error) > 1 if error.differing is None else moved is not None
        if countable and rows_off(error, limits.rel):
            clauses.append(_off_of_both(error, moved, limits.rel))
    clauses += _raised_clauses(tolerance, compared, limits.tolerance)
    if limits.rel > limits.tolerance:
        clauses.append(f"limit raised from {significant(limits.tolerance)} to 3 times the reference's own error")
    return "; ".join(clauses)


def _raised_clauses(tolerance: Tolerance, compared: Compared, limit: float) -> list[str]:
    if limit <= tolerance.value:
        return []
    return [f"tolerance raised from {significant(tolerance.value)} to the floor of {dtype_name(compared.floor[1])}"]
