"""What the front end shows of a scaling: the points with their spread, and curves of the fitted laws.

A case enters; a frozen struct leaves, in the public unit of the metric.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ttprof.dashboard.documents import public
from ttprof.errors import ResultFileError
from ttprof.result import CaseResult, ScalingFit, Status

CURVE_POINTS = 60


class Point(msgspec.Struct, frozen=True):
    """A size with its value, the minimum of its rounds, and the median of them (null where they were not kept)."""

    size: int
    value: float
    median: float | None


class Curve(msgspec.Struct, frozen=True):
    """A law over the sizes; ``chosen`` marks the fitted one, ``quality`` says how well it fits, in words."""

    name: str
    chosen: bool
    quality: str
    sizes: list[float]
    values: list[float]


class ScalingDocument(msgspec.Struct, frozen=True):
    """The scaling of one case. ``crossover`` is the size from which on another term dominates, null without one."""

    metric: str
    unit: str
    axis: str
    law: str
    status: Status | None
    reason: str
    exponent: float
    interval: tuple[float, float]
    last_exponent: float
    overhead: float
    threads: int
    polynomial: list[float] | None
    points: list[Point]
    curves: list[Curve]
    crossover: float | None


def scaling(case: CaseResult) -> ScalingDocument:
    """The scaling of a case. Raises ResultFileError where it has none."""
    fit = case.scaling
    if fit is None:
        raise ResultFileError(f"{case.module_name} has no scaling; sweep it with .with_seq_lengths([...])")
    unit = next((m.unit for t in case.trials for m in t.measurements if m.name == fit.metric), "")
    verdict = next((v for v in case.verdicts if v.expectation.startswith(f"{fit.metric} ") and f" in {fit.axis}" in v.expectation), None)
    return ScalingDocument(
        metric=fit.metric,
        unit=unit,
        axis=fit.axis,
        law=fit.law,
        status=verdict.status if verdict else None,
        reason=verdict.reason if verdict else "",
        exponent=fit.exponent,
        interval=fit.interval,
        last_exponent=fit.last_exponent,
        overhead=fit.overhead,
        threads=fit.threads,
        polynomial=fit.coefficients,
        points=_points(fit, unit),
        curves=_curves(fit, unit),
        crossover=None,
    )


def _points(fit: ScalingFit, unit: str) -> list[Point]:
    return [Point(size, public(unit, value), None) for size, value in zip(fit.sizes, fit.values, strict=True)]


def _curves(fit: ScalingFit, unit: str) -> list[Curve]:
    """The polynomial where the values follow one exactly, else the power law of the fitted slope."""
    sizes = np.geomspace(fit.sizes[0], fit.sizes[-1], CURVE_POINTS)
    if fit.coefficients:
        values = sum(c * sizes**power for power, c in enumerate(fit.coefficients))
        return [_curve("exact polynomial", True, "", sizes, values, unit)]
    centre = np.mean(np.log(fit.values)) - fit.exponent * np.mean(np.log(fit.sizes))
    return [_curve(f"{fit.axis}^{fit.exponent:.2f}", True, "", sizes, np.exp(centre) * sizes**fit.exponent, unit)]


def _curve(name: str, chosen: bool, quality: str, sizes: np.ndarray, values: np.ndarray, unit: str) -> Curve:
    return Curve(name, chosen, quality, sizes.tolist(), [public(unit, value) for value in values.tolist()])
