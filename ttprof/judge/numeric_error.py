"""Measures the error of an output against a reference, leaf by leaf in float64.

Errors are relative to the reference, as in numpy.testing and LAPACK: ‖a-b‖/‖b‖ and max|a-b|/max|b|.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ttprof.judge.output_leaves import OutputLeaf, bitwise_difference, comparison_of, dtype_name
from ttprof.observation import NumericError
from ttprof.result import Element, Number
from ttprof.units import significant

ZERO = 1e-6
"""A value is 0 beside an error that is so much larger."""


def error_of(
    output: list[OutputLeaf],
    reference: list[OutputLeaf],
    reference_name: str,
    reference_error: NumericError | None = None,
) -> NumericError | None:
    """The largest error over all floating-point leaves of two outputs with the same structure.

    Positions that hold the same infinity, or NaN, on both sides are ignored; the largest finite values of a dtype, with
    which masks are filled, count as infinite. The pcc is the smallest over the leaves that are constant on neither
    side. Integers and bools must be equal: if they are not, all errors are infinite.

    Args:
        output: The leaves of the output under test.
        reference: The leaves of the reference's output, in float64 if possible.
        reference_name: The name of the reference in reasons.
        reference_error: The reference's own error in the dtype under test.

    Returns:
        The error; None if there was not a single value to compare.
    """
    count, rel, top, pcc, ulp, worst, beside_zero = 0, 0.0, -1.0, math.inf, 0.0, None, 0.0
    rows, exact = [], [e for e in map(_exact, output, reference) if e is not None]
    for values in exact:
        count += values.total
        rows.append(np.where(values.rows_off, math.inf, 0.0))
    differences = [values.clause for values in exact if values.off]
    for leaf, a, b, finite in _floating(output, reference):
        count += finite
        difference = (a - b).abs()
        rel = max(rel, _ratio(float(difference.norm()), float(b.norm())))
        nonzero = b.abs() > ZERO * difference
        beside_zero = max(beside_zero, _ratio(float(difference[nonzero].norm()), float(b.norm())))
        rows.append(_row_errors(difference, b))
        ulp = max(ulp, _ulps(leaf, b, difference))
        leaf_top = _ratio(float(difference.max()), float(b.abs().max()))
        if leaf_top > top:
            top, worst = leaf_top, _worst(leaf, a, b, difference, reference_name)
        if (correlation := _pcc(a, b)) is not None:
            pcc = min(pcc, correlation)
    if not count:
        return None
    return NumericError(
        rel=math.inf if differences else rel,
        max=math.inf if differences else max(top, 0.0),
        pcc=None if math.isinf(pcc) else pcc,
        worst=worst,
        reference=reference_name,
        ulp=ulp,
        reference_rel=reference_error.rel if reference_error else 0.0,
        reference_max=reference_error.max if reference_error else 0.0,
        rows=tuple(rows),
        rel_beside_zero=beside_zero,
        exact_difference=_first_of(differences),
        differing=(sum(e.off for e in exact), count) if worst is None and exact else None,
    )


@dataclass(frozen=True, eq=False)
class _ExactValues:
    """Values of one leaf that must be equal: their number, how many differ, and whether each row does."""

    clause: str
    total: int
    off: int
    rows_off: np.ndarray


def _exact(leaf: OutputLeaf, other: OutputLeaf) -> _ExactValues | None:
    """The comparison of two leaves of integers or bools; None for others."""
    x, y = leaf.tensor(), other.tensor()
    if x is None or y is None or comparison_of(x) != "exact":
        return None
    differ = x != y.to(x)
    width = x.shape[-1] if x.dim() > 1 else max(1, x.numel())
    rows = np.asarray(differ.reshape(-1, width).any(dim=1).cpu()) if x.numel() else np.zeros(0, dtype=bool)
    off = int(differ.sum())
    clause = f"{off:,} of {x.numel():,} values of {leaf.name} ({dtype_name(x.dtype)}) differ"
    return _ExactValues(clause, x.numel(), off, rows)


def _first_of(differences: list[str]) -> str:
    """The first clause on a leaf that differs, and the number of the others."""
    others = len(differences) - 1
    return differences[0] + (f", and {others} more outputs" if others > 0 else "") if differences else ""


def rows_off(error: NumericError, limit: float) -> int:
    """The number of rows, of all tensors, whose relative error exceeds *limit*."""
    return sum(int((rows > limit).sum()) for rows in error.rows)


def row_count(error: NumericError) -> int:
    """The number of rows of all tensors."""
    return sum(len(rows) for rows in error.rows)


def has_rows(error: NumericError) -> bool:
    """Whether a tensor has more than one row: a vector or a scalar has none to speak of."""
    return row_count(error) > len(error.rows)


def count_off(error: NumericError, limit: float) -> int:
    """The number of rows off by more than *limit*; of values that differ, if they are integers without rows."""
    return error.differing[0] if error.differing is not None and not has_rows(error) else rows_off(error, limit)


def describe_off(error: NumericError, limit: float) -> str:
    """What ``count_off`` counts: ``4 of 1,024 rows off by more than 0.02``, ``3 of 12 values differ``.

    Numbers without rows count as one for each tensor.
    """
    off, total = f"{count_off(error, limit):,}", f"{row_count(error):,}"
    if error.differing is None:
        return f"{off} of {total} {'rows' if has_rows(error) else 'tensors'} off by more than {significant(limit)}"
    return f"{off} of {total} rows differ" if has_rows(error) else f"{off} of {error.differing[1]:,} values differ"


def equal_bits(output: list[OutputLeaf], reference: list[OutputLeaf]) -> bool:
    """Whether two outputs are equal bit by bit."""
    return bitwise_difference(output, reference) is None


def _row_errors(difference: torch.Tensor, reference: torch.Tensor) -> np.ndarray:
    """The relative error ‖a-b‖/‖b‖ of each row, a row being the last dimension; one of a vector or scalar.

    The norm of a row counts at least as a thousandth of the mean one, so that rows of zeros can be compared.
    """
    width = reference.shape[-1] if reference.dim() > 1 else reference.numel()
    errors = difference.reshape(-1, width).norm(dim=1)
    sizes = reference.reshape(-1, width).norm(dim=1)
    relative = errors / sizes.clamp(min=max(1e-3 * float(sizes.mean()), torch.finfo(torch.float64).tiny))
    return np.asarray(relative.nan_to_num(nan=math.inf, posinf=math.inf).cpu())


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
        limits = {torch.finfo(t.dtype).max for t in (x, y)}
        a, b = (_in_float64(t, limits) for t in (x, y.to(x.device)))
        nonfinite = (torch.isnan(a) & torch.isnan(b)) | (torch.isinf(a) & (a == b))
        if count := int((~nonfinite).sum()):
            yield leaf, a.masked_fill(nonfinite, 0.0), b.masked_fill(nonfinite, 0.0), count


def _in_float64(tensor: torch.Tensor, limits: set[float]) -> torch.Tensor:
    """A tensor in float64 with the values in *limits*, the largest of the dtypes of both sides, as infinities."""
    double = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()
    extreme = torch.isin(double.abs(), torch.tensor(sorted(limits), dtype=torch.float64, device=double.device))
    return torch.where(extreme, double.sign() * math.inf, double) if extreme.any() else double


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
    # not torch.unravel_index, whose first use imports sympy
    index = [int(i) for i in np.unravel_index(position, tuple(difference.shape))] if difference.dim() else []
    value, expected = (_number(float(side.flatten()[position])) for side in (a, b))
    return Element(reference=reference_name, path=leaf.name, index=index, value=value, expected=expected)


def _number(value: float) -> Number:
    if math.isnan(value):
        return "nan"
    return value if math.isfinite(value) else "inf" if value > 0 else "-inf"


def _pcc(a: torch.Tensor, b: torch.Tensor) -> float | None:
    """The Pearson correlation; None if a side is constant."""
    x, y = a.flatten() - a.mean(), b.flatten() - b.mean()
    size = float(x.norm()) * float(y.norm())
    return float(x @ y) / size if 0 < size < math.inf else None
