"""What the front end shows of a scaling: the points with their spread, and curves of the fitted laws.

A case enters; a frozen struct leaves, in the public unit of the metric. Of values that follow a polynomial exactly the
judge needs no law and no share: what people want to see of those is made of its coefficients here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from ttprof.codes import Kind
from ttprof.dashboard.documents import public
from ttprof.errors import ResultFileError
from ttprof.judge import laws
from ttprof.judge.scaling import NAMES
from ttprof.result import CaseResult, LawFit, ScalingFit, Status
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

    ``overhead`` and ``quadratic`` are the shares of the largest value that do not grow, and that grow with the square.
    ``notes`` tell what was measured beyond what was asked for, and why there are no other laws where that is so.
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
    verdict = next((verdict for verdict in case.verdicts if verdict.kind is Kind.SCALING), None)
    terms = _terms(fit)
    return ScalingDocument(
        metric=fit.metric,
        unit=unit,
        axis=fit.axis,
        law=f"at most {fit.law}" if fit.at_most else fit.law,
        status=verdict.status if verdict else None,
        reason=verdict.reason if verdict else "",
        exponent=fit.exponent,
        interval=fit.interval,
        overhead=terms.constant,
        quadratic=terms.quadratic,
        crossover=terms.crossover,
        threads=fit.threads,
        polynomial=fit.coefficients,
        points=_points(fit, unit),
        curves=_curves(fit, unit),
        notes=[*fit.extended, *_undrawn(fit)],
    )


def _points(fit: ScalingFit, unit: str) -> list[Point]:
    medians = [public(unit, float(np.median(samples))) if samples else None for samples in fit.rounds]
    medians += [None] * (len(fit.sizes) - len(medians))
    return [
        Point(size, public(unit, value), median)
        for size, value, median in zip(fit.sizes, fit.values, medians, strict=True)
    ]


def _terms(fit: ScalingFit) -> laws.Terms:
    """The shares in the largest value, and the crossover: of an exact polynomial by its own coefficients.

    A term below 0 has no share, and no crossover.
    """
    if not fit.coefficients:
        return laws.Terms(fit.overhead, 1 - fit.overhead - fit.quadratic, fit.quadratic, fit.crossover)
    constant, linear, square = [*fit.coefficients, 0.0, 0.0][:3]
    top = fit.sizes[-1]
    total = _polynomial(fit.coefficients, top)
    terms = (constant, linear * top, square * top**2)
    flat, straight, squared = (min(1.0, max(0.0, term / total)) if total else 0.0 for term in terms)
    return laws.Terms(flat, straight, squared, linear / square if min(linear, square) > 0 else None)


def _polynomial(coefficients: list[float], size: float) -> float:
    return sum(c * size**power for power, c in enumerate(coefficients))


def _curves(fit: ScalingFit, unit: str) -> list[Curve]:
    """The laws, the best first; before them the polynomial that the values follow exactly, where there is one.

    A result of before laws were kept has the power law of its slope.
    """
    exact = fit.coefficients
    if exact:
        polynomial = _curve(fit, unit, lambda n: _polynomial(exact, n))
        others = [_law(fit, law, False, unit) for law in _others(fit)]
        return [Curve("exact polynomial", True, "every value, exactly", *polynomial), *others]
    if fit.laws or min(fit.values) <= 0:
        return [_law(fit, law, law is fit.laws[0], unit) for law in fit.laws]
    centre = float(np.exp(np.mean(np.log(fit.values)) - fit.exponent * np.mean(np.log(fit.sizes))))
    return [Curve("power law", True, "", *_curve(fit, unit, lambda n: centre * n**fit.exponent))]


def _others(fit: ScalingFit) -> list[LawFit]:
    """Every law but that of the polynomial itself, as near to the values as a multiple beside an offset gets."""
    if min(fit.values) <= 0:
        return []
    own = dict(enumerate(NAMES)).get(int(fit.exponent))
    return [law for law in laws.ranked(fit.sizes, fit.values) if law.law != own]


def _undrawn(fit: ScalingFit) -> list[str]:
    if not fit.coefficients or min(fit.values) > 0:
        return []
    return ["No other laws are drawn beside the polynomial: they are fitted to values above 0 only"]


def _law(fit: ScalingFit, law: LawFit, best: bool, unit: str) -> Curve:
    shape = LAWS[law.law].shape if law.law in LAWS else lambda n: float("nan")
    curve = _curve(fit, unit, lambda n: law.intercept + law.factor * shape(n))
    return Curve(law.law, best, f"adjusted R² {significant(law.r2)}", *curve)


def _curve(fit: ScalingFit, unit: str, value: Callable[[float], float]) -> tuple[list[float], list[float]]:
    sizes = np.geomspace(fit.sizes[0], fit.sizes[-1], CURVE_POINTS).tolist()
    return sizes, [public(unit, value(size)) for size in sizes]
