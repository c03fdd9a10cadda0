"""Judges numerics: an output against a float64 run of the same module, or against a given reference.

Outputs are compared leaf by leaf in float64. A NaN or Inf in an output fails every case, even without a numerics test.
Errors are relative to the reference, as in numpy.testing and LAPACK: ‖a-b‖/‖b‖ and max|a-b|/max|b|.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ttprof.codes import Kind, VerdictCode
from ttprof.judge.output_leaves import (
    OutputLeaf,
    bitwise_difference,
    comparison_of,
    describe_constant,
    describe_nonfinite,
    describe_unchecked,
    dtype_name,
    same_nonfinite_positions,
)
from ttprof.observation import NumericError
from ttprof.result import Element, Number
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


OUTPUTS = Rounding({torch.float16: 2.5e-3, torch.bfloat16: 2e-2}, worst=0.03)
GRADIENTS = Rounding({torch.float16: 5e-2, torch.bfloat16: 1e-1}, worst=0.3)
"""Larger for gradients: here and there, rounding flips the sign before a ReLU or the maximum of a pool (measured on
nn.TransformerEncoderLayer: 0.03 in float16, 0.07 in bfloat16)."""

DETERMINISTIC = "deterministic output"

MAX_FACTOR = 5.0
"""The limit on the max error, as a multiple of the limit on the relative error."""

NOISE_FACTOR = 3.0
"""A module may be this many times as inaccurate as its reference in the same dtype."""


def deterministic_verdict(first: list[OutputLeaf], repeats: list[list[OutputLeaf]]) -> Verdict:
    """Judge whether outputs for the same inputs and seed are bitwise equal (NaN equals itself)."""
    for run, repeat in enumerate(repeats, 2):
        difference = bitwise_difference(first, repeat)
        if difference is not None:
            reason = f"run {run} differs from run 1 with the same inputs and seed: {difference}"
            return _deterministic(VerdictCode.NOT_DETERMINISTIC, Status.FAIL, reason)
    reason = f"{len(repeats) + 1} runs with the same inputs and seed are bitwise equal{describe_unchecked(first)}"
    return _deterministic(VerdictCode.DETERMINISTIC, Status.PASS, reason)


def _deterministic(code: VerdictCode, status: Status, reason: str) -> Verdict:
    return Verdict(kind=Kind.DETERMINISM, code=code, expectation=DETERMINISTIC, status=status, reason=reason)


def finite_verdict(output: list[OutputLeaf], reference: list[OutputLeaf] | None, allow_nonfinite: bool) -> Verdict:
    """Judge whether an output is finite or, with *allow_nonfinite*, non-finite exactly where the reference is."""
    nonfinite = describe_nonfinite(output)
    if nonfinite is None:
        constant = describe_constant(output)
        code = VerdictCode.CONSTANT_OUTPUT if constant else VerdictCode.FINITE
        return _finite(code, Status.PASS, f"every output value is finite{constant}{describe_unchecked(output)}")
    if not allow_nonfinite:
        return _finite(VerdictCode.NONFINITE, Status.FAIL, nonfinite)
    expectation = "non-finite values where the reference has them"
    if reference is None:
        reason = f"{nonfinite}; allow_nonfinite() needs .tolerance(...) or .compare_with(...) to check their positions"
        return _finite(VerdictCode.NONFINITE_WITHOUT_REFERENCE, Status.ERROR, reason, expectation)
    if not same_nonfinite_positions(output, reference):
        reason = f"{nonfinite}; the reference has them at other positions"
        return _finite(VerdictCode.NONFINITE_UNLIKE_REFERENCE, Status.FAIL, reason, expectation)
    reason = f"{nonfinite}; the reference has them at the same positions"
    return _finite(VerdictCode.NONFINITE_AS_REFERENCE, Status.PASS, reason, expectation)


def nonfinite_after_timing(nonfinite: str) -> Verdict:
    """The FAIL for an output that was finite before the timed iterations but not after them."""
    return _finite(VerdictCode.NONFINITE_AFTER_TIMING, Status.FAIL, f"after the timed iterations, {nonfinite}")


def _finite(code: VerdictCode, status: Status, reason: str, expectation: str = "finite output") -> Verdict:
    return Verdict(kind=Kind.FINITE, code=code, expectation=expectation, status=status, reason=reason)


def error_of(
    output: list[OutputLeaf],
    reference: list[OutputLeaf],
    reference_name: str,
    reference_error: NumericError | None = None,
) -> NumericError | None:
    """The largest error over all floating-point leaves of two outputs with the same structure.

    Positions that are non-finite on both sides are ignored. The pcc is the smallest over the leaves that are constant
    on neither side.

    Args:
        output: The leaves of the output under test.
        reference: The leaves of the reference's output, in float64 if possible.
        reference_name: The name of the reference in reasons.
        reference_error: The reference's own error in the dtype under test.

    Returns:
        The error; None if there was not a single value to compare.
    """
    count = sum(t.numel() for leaf in output if (t := leaf.tensor()) is not None and comparison_of(t) == "exact")
    rel, top, pcc, ulp, worst = 0.0, -1.0, math.inf, 0.0, None
    for leaf, a, b, finite in _floating(output, reference):
        count += finite
        difference = (a - b).abs()
        rel = max(rel, _ratio(float(difference.norm()), float(b.norm())))
        ulp = max(ulp, _ulps(leaf, b, difference))
        leaf_top = _ratio(float(difference.max()), float(b.abs().max()))
        if leaf_top > top:
            top, worst = leaf_top, _worst(leaf, a, b, difference, reference_name)
        if (correlation := _pcc(a, b)) is not None:
            pcc = min(pcc, correlation)
    if not count:
        return None
    return NumericError(
        rel=rel,
        max=max(top, 0.0),
        pcc=None if math.isinf(pcc) else pcc,
        worst=worst,
        reference=reference_name,
        ulp=ulp,
        reference_rel=reference_error.rel if reference_error else 0.0,
        reference_max=reference_error.max if reference_error else 0.0,
    )


def _floating(
    output: list[OutputLeaf], reference: list[OutputLeaf]
) -> Iterator[tuple[OutputLeaf, torch.Tensor, torch.Tensor, int]]:
    """Pairs of floating-point leaves in float64, and the number of positions that are finite on either side.

    All other positions are set to 0 on both sides; a leaf without a finite position is left out.
    """
    for leaf, other in zip(output, reference, strict=True):
        x, y = leaf.tensor(), other.tensor()
        if x is None or y is None or comparison_of(x) == "exact":
            continue
        a, b = (torch.view_as_real(t).double() if t.is_complex() else t.double() for t in (x, y.to(x.device)))
        nonfinite = ~torch.isfinite(a) & ~torch.isfinite(b)
        if count := int((~nonfinite).sum()):
            yield leaf, a.masked_fill(nonfinite, 0.0), b.masked_fill(nonfinite, 0.0), count


def _ratio(error: float, size: float) -> float:
    """The error relative to *size*; infinite if the error is not finite, or if the reference is all zeros."""
    if not math.isfinite(error):
        return math.inf
    return error / size if size else (0.0 if error == 0 else math.inf)


def _ulps(leaf: OutputLeaf, reference: torch.Tensor, difference: torch.Tensor) -> float:
    """The largest difference in units in the last place (Goldberg, 1991) of the reference, in the leaf's dtype."""
    tensor = leaf.tensor()
    kind = torch.finfo(torch.float32 if tensor is None else tensor.dtype)
    _, exponent = torch.frexp(reference.abs().clamp(min=kind.tiny))
    place = torch.ldexp(torch.full_like(reference, kind.eps), exponent - 1)
    largest = float((difference / place).max())
    return largest if math.isfinite(largest) else math.inf


def _worst(
    leaf: OutputLeaf, a: torch.Tensor, b: torch.Tensor, difference: torch.Tensor, reference_name: str
) -> Element:
    position = int(difference.argmax())
    index = [int(i) for i in torch.unravel_index(torch.tensor(position), difference.shape)]
    value, expected = (_number(float(side.flatten()[position])) for side in (a, b))
    return Element(reference=reference_name, path=leaf.name, index=index, value=value, expected=expected)


def _number(value: float) -> Number:
    if math.isnan(value):
        return "nan"
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"


def _describe_element(worst: Element) -> str:
    ours, theirs = apart(float(worst.value), float(worst.expected))
    return f"{worst.path}{worst.index} is {ours}, the reference has {theirs}"


def _pcc(a: torch.Tensor, b: torch.Tensor) -> float | None:
    """The Pearson correlation; None if a side is constant."""
    x, y = a.flatten() - a.mean(), b.flatten() - b.mean()
    size = float(x.norm()) * float(y.norm())
    return float(x @ y) / size if 0 < size < math.inf else None


@dataclass(frozen=True)
class _ErrorLimits:
    """The limits of an error: ``tolerance`` is the user's, raised to the rounding floor unless strict.

    ``rel`` and ``max`` bound the two errors; the reference's own error may raise them further.
    """

    tolerance: float
    rel: float
    max: float

    def admit(self, error: NumericError) -> bool:
        return error.rel <= self.rel and error.max <= self.max


def tolerance_verdict(
    tolerance: Tolerance, error: NumericError, dtype: torch.dtype, compared: bool, rounding: Rounding = OUTPUTS
) -> Verdict:
    """PASS if rel <= T and max <= 5 T, with T the tolerance, raised to the dtype's rounding floor unless strict.

    With ``compare_with`` (*compared*), three times the reference's own error in the module's dtype also passes, because
    a module can't be expected to resolve more than its reference. A reference whose own error exceeds the bound of
    *rounding* (it is nondeterministic, or overflows) can't judge: ERROR, unless the module is within T anyway.
    """
    raised = max(tolerance.value, 0.0 if tolerance.strict else rounding.floors.get(dtype, 0.0))
    reference_rel, reference_max = error.reference_rel, error.reference_max
    if tolerance.strict or not compared:
        reference_rel = reference_max = 0.0
    limits = _ErrorLimits(raised, raised, MAX_FACTOR * raised)
    within = limits.admit(error)
    inaccurate = not within and (reference_rel > rounding.worst or reference_max > MAX_FACTOR * rounding.worst)
    if not within:
        noise_rel, noise_max = NOISE_FACTOR * reference_rel, NOISE_FACTOR * reference_max
        limits = _ErrorLimits(raised, max(limits.rel, noise_rel), max(limits.max, noise_max))
    if inaccurate:
        status, code = Status.ERROR, VerdictCode.REFERENCE_INACCURATE
        reason = _inaccurate_reference(error, dtype, rounding)
    else:
        status, code = _within_limits(limits, tolerance, error)
        reason = _tolerance_reason(tolerance, error, dtype, status, limits)
    return Verdict(
        kind=Kind.TOLERANCE,
        code=code,
        expectation=f"tolerance {significant(tolerance.value)}" + (" strict" if tolerance.strict else ""),
        status=status,
        reason=reason,
        metric="rel_error",
        measured=error.rel if math.isfinite(error.rel) else None,
        bound=(None, raised if inaccurate else limits.rel),
    )


def _within_limits(limits: _ErrorLimits, tolerance: Tolerance, error: NumericError) -> tuple[Status, VerdictCode]:
    if not limits.admit(error):
        return Status.FAIL, VerdictCode.OUTSIDE_TOLERANCE
    is_raised = limits.rel > tolerance.value
    return Status.PASS, VerdictCode.WITHIN_RAISED_TOLERANCE if is_raised else VerdictCode.WITHIN_TOLERANCE


def _inaccurate_reference(error: NumericError, dtype: torch.dtype, rounding: Rounding) -> str:
    """The reason why a reference can't judge, with the error that decided it."""
    if error.reference_rel > rounding.worst:
        name, value, limit = "relative error", error.reference_rel, rounding.worst
    else:
        name, value, limit = "max error", error.reference_max, MAX_FACTOR * rounding.worst
    return (
        f"{error.reference} is too inaccurate to compare with: its {name} in {dtype_name(dtype)} against its float64 "
        f"result is {significant(value)}, limit {significant(limit)} (is it nondeterministic, or does it overflow?)"
    )


def _tolerance_reason(
    tolerance: Tolerance, error: NumericError, dtype: torch.dtype, status: Status, limits: _ErrorLimits
) -> str:
    clauses = [
        f"relative error {significant(error.rel)} (limit {significant(limits.rel)}), max error "
        f"{significant(error.max)} (limit {significant(limits.max)}) against {error.reference}"
    ]
    if status is Status.FAIL and error.worst is not None:
        clauses.append(f"worst: {_describe_element(error.worst)}")
    if limits.tolerance > tolerance.value:
        clauses.append(f"tolerance raised from {significant(tolerance.value)} to the floor of {dtype_name(dtype)}")
    if limits.rel > limits.tolerance:
        clauses.append(f"limit raised from {significant(limits.tolerance)} to 3 times the reference's own error")
    return "; ".join(clauses)
