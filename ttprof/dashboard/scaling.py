"""What the front end shows of a scaling: the points with their spread, and curves of the fitted laws.

A case enters; a frozen struct leaves, in the public unit of the metric.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from ttprof.dashboard.documents import public
from ttprof.errors import ResultFileError
from ttprof.result import CaseResult, LawFit, ScalingFit, Status, Verdict
from ttprof.spec import LAWS
from ttprof.units import significant

CURVE_POINTS = 60


class Point(msgspec.Struct, frozen=True):
    """A size with its value, the minimum of its rounds, and the median of them (null where they were not kept)."""

    size: int
    value: float
    median: float | None


class Curve(msgspec.Struct, frozen=True):
    """A law over the sizes; ``chosen`` marks the one that fits best, ``quality`` says how well it does, in words."""

    name: str
    chosen: bool
    quality: str
    sizes: list[float]
    values: list[float]


class ScalingDocument(msgspec.Struct, frozen=True):
    """The scaling of one case. ``crossover`` is the size from which on the quadratic term dominates, null without one.

    ``notes`` tell what was measured beyond what was asked for.
    """

    metric: str
    unit: str
    axis: str
    law: str
    status: Status | None
    reason: str
    exponent: float
    interval: tuple[float, float]
    overhead: float
    quadratic: float
    crossover: float | None
    threads: int
    polynomial: list[float] | None
    points: list[Point]
    curves: list[Curve]
    notes: list[str]


def scaling(case: CaseResult) -> ScalingDocument:
    """The scaling of a case. Raises ResultFileError where it has none."""
    fit = case.scaling
    if fit is None:
        raise ResultFileError(f"{case.module_name} has no scaling; sweep it with .with_seq_lengths([...])")
    unit = next((m.unit for t in case.trials for m in t.measurements if m.name == fit.metric), "")
    verdict = _verdict(case, fit)
    return ScalingDocument(
        metric=fit.metric,
        unit=unit,
        axis=fit.axis,
        law=f"at most {fit.law}" if fit.at_most else fit.law,
        status=verdict.status if verdict else None,
        reason=verdict.reason if verdict else "",
        exponent=fit.exponent,
        interval=fit.interval,
        overhead=fit.overhead,
        quadratic=fit.quadratic,
        crossover=fit.crossover,
        threads=fit.threads,
        polynomial=fit.coefficients,
        points=_points(fit, unit),
        curves=_curves(fit, unit),
        notes=fit.extended,
    )


def _verdict(case: CaseResult, fit: ScalingFit) -> Verdict | None:
    """The verdict on the scaling: its expectation says the metric, the law and the axis."""
    said = f"{fit.law} in {fit.axis}"
    found = (v for v in case.verdicts if v.expectation.startswith(f"{fit.metric} ") and v.expectation.endswith(said))
    return next(found, None)


def _points(fit: ScalingFit, unit: str) -> list[Point]:
    medians = [public(unit, float(np.median(samples))) if samples else None for samples in fit.rounds]
    medians += [None] * (len(fit.sizes) - len(medians))
    return [
        Point(size, public(unit, value), median)
        for size, value, median in zip(fit.sizes, fit.values, medians, strict=True)
    ]


def _curves(fit: ScalingFit, unit: str) -> list[Curve]:
    """The laws, the best first; before them the polynomial that the values follow exactly, where there is one.

    A result of before laws were kept has the power law of its slope.
    """
    exact, laws = fit.coefficients, fit.laws
    found = [_law(fit, law, law is laws[0] and not exact, unit) for law in laws]
    if exact:
        polynomial = _curve(fit, unit, lambda n: sum(c * n**power for power, c in enumerate(exact)))
        return [Curve("exact polynomial", True, "every value, exactly", *polynomial), *found]
    if laws or min(fit.values) <= 0:
        return found
    centre = float(np.exp(np.mean(np.log(fit.values)) - fit.exponent * np.mean(np.log(fit.sizes))))
    return [Curve("power law", True, "", *_curve(fit, unit, lambda n: centre * n**fit.exponent))]


def _law(fit: ScalingFit, law: LawFit, best: bool, unit: str) -> Curve:
    shape = LAWS[law.law].shape if law.law in LAWS else lambda n: float("nan")
    curve = _curve(fit, unit, lambda n: law.intercept + law.factor * shape(n))
    return Curve(law.law, best, f"adjusted R² {significant(law.r2)}", *curve)


def _curve(fit: ScalingFit, unit: str, value: Callable[[float], float]) -> tuple[list[float], list[float]]:
    sizes = np.geomspace(fit.sizes[0], fit.sizes[-1], CURVE_POINTS).tolist()
    return sizes, [public(unit, value(size)) for size in sizes]
