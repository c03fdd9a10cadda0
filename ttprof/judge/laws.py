"""Fits growth laws to one value per size and estimates the exponent of the growing part.

Residuals are relative, so that small sizes weigh as much as large ones. Coefficients are non-negative, as times are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttprof.scaling_fit import LawFit
from ttprof.spec import LAWS, ScalingLaw

MAX_SIZE_RATIO = 8
"""Ratio of the largest size to the smallest one used for the exponent: smaller sizes are mostly overhead."""

MIN_SIZES = 3
"""Minimum number of sizes for a slope: two points always lie on a line."""

MIN_GROWING_FRACTION = 0.02
"""Smallest growing fraction of a value whose logarithm is meaningful; below it, noise dominates."""

NEGLIGIBLE = 1e-6
"""Fraction of the largest value below which a term is rounding error."""

FLAT = 0.1
"""Growing fraction of the largest value below which the values count as constant."""


@dataclass(frozen=True)
class Terms:
    """The constant, linear and quadratic fractions of the largest value.

    ``crossover`` is the size at which the linear and the quadratic term are equal, None if either is negligible.
    """

    constant: float
    linear: float
    quadratic: float
    crossover: float | None


def fit(law: ScalingLaw, sizes: Sequence[int], values: Sequence[float]) -> LawFit:
    """Fit one law by non-negative least squares on relative residuals."""
    shape = np.array([law.shape(n) for n in sizes], dtype=np.float64)
    if law.name == "constant":
        intercept, factor = 0.0, float(1 / np.mean(1 / np.array(values)))
    else:
        intercept, factor = _nnls([np.ones(len(sizes)), shape], values)
    residuals = np.log(values) - np.log(intercept + factor * shape)
    spread = np.log(values) - np.mean(np.log(values))
    free = 1 if law.name == "constant" else 2
    total = float(spread @ spread)
    unexplained = float(residuals @ residuals) / total * (len(sizes) - 1) / max(1, len(sizes) - free) if total else 0.0
    return LawFit(law=law.name, intercept=intercept, factor=factor, r2=1 - unexplained)


def ranked(sizes: Sequence[int], values: Sequence[float]) -> list[LawFit]:
    """Fit every law, best first by adjusted r²; "constant" comes first if the best law hardly grows."""
    fits = sorted((fit(law, sizes, values) for law in LAWS.values()), key=lambda candidate: -candidate.r2)
    if grows(fits[0], max(sizes)) < FLAT:
        fits.sort(key=lambda candidate: candidate.law != "constant")
    return fits


def grows(fitted: LawFit, size: int) -> float:
    """The fraction of the value at *size* that the fitted law attributes to growth."""
    if fitted.law == "constant":
        return 0.0
    growing = fitted.factor * LAWS[fitted.law].shape(size)
    return growing / (growing + fitted.intercept) if growing else 0.0


def exponent(sizes: Sequence[int], values: Sequence[float], intercept: float) -> float | None:
    """The slope of log(value - intercept) over log(size) at the largest sizes; None if too few clear the intercept."""
    from scipy.stats import linregress  # imported lazily: it takes most of a second

    points = [(n, v) for n, v in zip(sizes, values, strict=True) if n * MAX_SIZE_RATIO >= max(sizes)]
    if len(points) < MIN_SIZES:
        points = list(zip(sizes, values, strict=True))[-MIN_SIZES:]
    points = [(n, v - intercept) for n, v in points if v - intercept > MIN_GROWING_FRACTION * v]
    if len(points) < MIN_SIZES:
        return None
    n, growth = zip(*points, strict=True)
    return float(linregress(np.log(n), np.log(growth)).slope)


def terms(sizes: Sequence[int], values: Sequence[float]) -> Terms:
    """Fit a + b n + c n² and return each term's fraction of the largest value; the crossover is n* = b / c."""
    n = np.array(sizes, dtype=np.float64)
    a, b, c = _nnls([np.ones(len(n)), n, n**2], values)
    top = max(sizes)
    total = a + b * top + c * top**2
    linear, quadratic = b * top / total, c * top**2 / total
    return Terms(a / total, linear, quadratic, b / c if min(linear, quadratic) > NEGLIGIBLE else None)


def roughness(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The largest relative residual of a fit of a + b n + c n² + d n³, which smooth growth would match.

    A cache that overflows, or an allocator that requests memory from the system, causes such a step.
    """
    n = np.array(sizes, dtype=np.float64)
    powers = [n**k for k in range(min(4, len(sizes)))]
    fitted = np.stack(powers, axis=1) @ _nnls(powers, values)
    return float(np.abs(fitted / np.array(values) - 1).max())


def steps(sizes: Sequence[int], values: Sequence[float]) -> list[float]:
    """The log-log slopes between neighbouring sizes, at the largest sizes."""
    start = min(next(i for i, n in enumerate(sizes) if n * MAX_SIZE_RATIO >= sizes[-1]), len(sizes) - MIN_SIZES)
    slopes = np.diff(np.log(values[start:])) / np.diff(np.log(sizes[start:]))
    return [float(slope) for slope in slopes]


def _nnls(columns: Sequence[NDArray[np.float64]], values: Sequence[float]) -> list[float]:
    """The non-negative coefficients of *columns* that minimise the squared relative residuals."""
    from scipy.optimize import nnls

    matrix = np.stack(columns, axis=1) / np.array(values, dtype=np.float64)[:, None]
    scale = np.linalg.norm(matrix, axis=0)  # normalise the columns: mixing n² with 1 would lose digits
    coefficients, _ = nnls(matrix / scale, np.ones(len(values)))
    return [float(x) for x in coefficients / scale]
