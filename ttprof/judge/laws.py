"""Fits the growth laws to one value per size, and the exponent of the part that grows.

Residuals are relative, so that small sizes count as much as large ones. Coefficients are not negative, as no time is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttprof.result import LawFit
from ttprof.spec import LAWS, ScalingLaw

REACH = 8
"""The exponent is read off the sizes from an eighth of the largest one on."""

FEWEST = 3
STANDS_OUT = 0.02
"""What grows has to be at least so much of a value for its logarithm to mean something."""

ROUNDING = 1e-6
"""A term with less than this share of the largest value is there by rounding."""

FLAT = 0.1
"""A value of which less than this share grows over the sweep is constant."""


@dataclass(frozen=True)
class Terms:
    """The shares of the largest value that do not grow, grow in proportion to the size, and with its square."""

    constant: float
    linear: float
    quadratic: float
    crossover: float | None


def fit(law: ScalingLaw, sizes: Sequence[int], values: Sequence[float]) -> LawFit:
    """The law through the points, by non-negative least squares on relative residuals."""
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
    """Every law, the best first; a growth that is hardly one makes "constant" the best."""
    fits = sorted((fit(law, sizes, values) for law in LAWS.values()), key=lambda fitted: -fitted.r2)
    if grows(fits[0], max(sizes)) < FLAT:
        fits.sort(key=lambda fitted: fitted.law != "constant")
    return fits


def grows(fitted: LawFit, size: int) -> float:
    """The share of the value at *size* that a fitted law puts down to growth."""
    if fitted.law == "constant":
        return 0.0
    growing = fitted.factor * LAWS[fitted.law].shape(size)
    return growing / (growing + fitted.intercept) if growing else 0.0


def exponent(sizes: Sequence[int], values: Sequence[float], intercept: float) -> float | None:
    """The slope of log(value - intercept) over log(size), at the largest sizes; None where too few stand out."""
    from scipy.stats import linregress  # here, because importing it takes most of a second

    points = [(n, v) for n, v in zip(sizes, values, strict=True) if n * REACH >= max(sizes)]
    if len(points) < FEWEST:
        points = list(zip(sizes, values, strict=True))[-FEWEST:]
    points = [(n, v - intercept) for n, v in points if v - intercept > STANDS_OUT * v]
    if len(points) < FEWEST:
        return None
    n, growth = zip(*points, strict=True)
    return float(linregress(np.log(n), np.log(growth)).slope)


def terms(sizes: Sequence[int], values: Sequence[float]) -> Terms:
    """The shares of a + b n + c n² in the largest value; the crossover, n* = b / c, is where both terms are equal."""
    n = np.array(sizes, dtype=np.float64)
    a, b, c = _nnls([np.ones(len(n)), n, n**2], values)
    top = max(sizes)
    total = a + b * top + c * top**2
    linear, quadratic = b * top / total, c * top**2 / total
    return Terms(a / total, linear, quadratic, b / c if min(linear, quadratic) > ROUNDING else None)


def roughness(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The largest relative distance of a value from a + b n + c n² + d n³: what no smooth growth explains.

    A cache that overflows, or an allocator that turns to the operating system, makes such a step.
    """
    n = np.array(sizes, dtype=np.float64)
    powers = [n**k for k in range(min(4, len(sizes)))]
    fitted = np.stack(powers, axis=1) @ _nnls(powers, values)
    return float(np.abs(fitted / np.array(values) - 1).max())


def steps(sizes: Sequence[int], values: Sequence[float]) -> list[float]:
    """The log-log slope from each size to the next, at the largest sizes."""
    start = min(next(i for i, n in enumerate(sizes) if n * REACH >= sizes[-1]), len(sizes) - FEWEST)
    slopes = np.diff(np.log(values[start:])) / np.diff(np.log(sizes[start:]))
    return [float(slope) for slope in slopes]


def _nnls(columns: Sequence[NDArray[np.float64]], values: Sequence[float]) -> list[float]:
    """The non-negative coefficients of *columns* with the smallest squares of relative residuals."""
    from scipy.optimize import nnls

    matrix = np.stack(columns, axis=1) / np.array(values, dtype=np.float64)[:, None]
    scale = np.linalg.norm(matrix, axis=0)  # columns of like size: n² beside 1 would lose digits
    coefficients, _ = nnls(matrix / scale, np.ones(len(values)))
    return [float(x) for x in coefficients / scale]
