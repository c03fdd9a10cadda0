"""The scaling document of a case: the measured points, the curves of the fitted laws, and the verdict.

Values are in the public unit of the metric. If the values follow a polynomial exactly, the judge fits no laws; the
shares of the terms and the other laws are then computed here, for display only.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from ttprof.codes import Kind
from ttprof.dashboard.documents import public
from ttprof.errors import ResultFileError
from ttprof.judge import laws
from ttprof.judge.polynomial import NAMES
from ttprof.result import CaseResult
from ttprof.scaling_fit import LawFit, ScalingFit
from ttprof.spec import LAWS
from ttprof.units import significant
from ttprof.verdict import Status

CURVE_POINTS = 60


class ScalingPoint(msgspec.Struct, frozen=True):
    """A size with the minimum (``value``) and median of its rounds; ``median`` is null in results without rounds."""

    size: int
    value: float
    median: float | None


class Curve(msgspec.Struct, frozen=True):
    """A fitted law, sampled over the sizes; ``chosen`` marks the best fit, ``quality`` describes the fit in words."""

    name: str
    chosen: bool
    quality: str
    sizes: list[float]
    values: list[float]


class ScalingDocument(msgspec.Struct, frozen=True):
    """The scaling of one case.

    ``overhead`` and ``quadratic`` are the shares of the constant and the quadratic term in the largest value, and
    ``crossover`` is the size above which the quadratic term dominates, or null. ``notes`` list extra rounds and
    sizes, and the reason if no other laws are drawn.
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
    points: list[ScalingPoint]
    curves: list[Curve]
    notes: list[str]


def scaling(case: CaseResult) -> ScalingDocument:
    """Return the scaling of a case. Raises ResultFileError if it has none."""
    fit = case.scaling
    if fit is None:
        raise ResultFileError(f"{case.module_name} has no scaling: sweep it with .with_seq_lengths([...])")
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
        notes=[*fit.extended, *_missing_laws(fit)],
    )


def _points(fit: ScalingFit, unit: str) -> list[ScalingPoint]:
    medians = [public(unit, float(np.median(samples))) if samples else None for samples in fit.rounds]
    medians += [None] * (len(fit.sizes) - len(medians))
    return [
        ScalingPoint(size, public(unit, value), median)
        for size, value, median in zip(fit.sizes, fit.values, medians, strict=True)
    ]


def _terms(fit: ScalingFit) -> laws.Terms:
    """Return the shares of the terms in the largest value, and the crossover.

    For an exact polynomial they come from its coefficients; a negative term has a share of 0 and no crossover.
    """
    if not fit.coefficients:
        return laws.Terms(fit.overhead, 1 - fit.overhead - fit.quadratic, fit.quadratic, fit.crossover)
    constant, linear, quadratic = [*fit.coefficients, 0.0, 0.0][:3]
    n = fit.sizes[-1]
    total = _polynomial(fit.coefficients, n)

    def share(term: float) -> float:
        return min(1.0, max(0.0, term / total)) if total else 0.0

    crossover = linear / quadratic if min(linear, quadratic) > 0 else None
    return laws.Terms(share(constant), share(linear * n), share(quadratic * n**2), crossover)


def _polynomial(coefficients: list[float], size: float) -> float:
    return sum(c * size**power for power, c in enumerate(coefficients))


def _curves(fit: ScalingFit, unit: str) -> list[Curve]:
    """Return the fitted laws, the best first, after the exact polynomial if there is one.

    A result without laws (an old one) gets a power law through the points, from its exponent.
    """
    exact = fit.coefficients
    if exact:
        polynomial = _curve(fit, unit, lambda n: _polynomial(exact, n))
        rejected = [_law(fit, law, False, unit) for law in _rejected(fit)]
        return [Curve("exact polynomial", True, "exact at every size", *polynomial), *rejected]
    if fit.laws or min(fit.values) <= 0:
        return [_law(fit, law, law is fit.laws[0], unit) for law in fit.laws]
    factor = float(np.exp(np.mean(np.log(fit.values)) - fit.exponent * np.mean(np.log(fit.sizes))))
    return [Curve("power law", True, "", *_curve(fit, unit, lambda n: factor * n**fit.exponent))]


def _rejected(fit: ScalingFit) -> list[LawFit]:
    """Fit every law (factor and intercept) except the one of the polynomial's own degree."""
    if min(fit.values) <= 0:
        return []
    degree_law = dict(enumerate(NAMES)).get(int(fit.exponent))
    return [law for law in laws.ranked(fit.sizes, fit.values) if law.law != degree_law]


def _missing_laws(fit: ScalingFit) -> list[str]:
    """The reason why no other laws are drawn next to an exact polynomial; empty if they are."""
    if not fit.coefficients or min(fit.values) > 0:
        return []
    return ["other laws are not drawn: they can only be fitted to values above 0"]


def _law(fit: ScalingFit, law: LawFit, best: bool, unit: str) -> Curve:
    shape = LAWS[law.law].shape if law.law in LAWS else lambda n: float("nan")
    curve = _curve(fit, unit, lambda n: law.intercept + law.factor * shape(n))
    return Curve(law.law, best, f"adjusted R² {significant(law.r2)}", *curve)


def _curve(fit: ScalingFit, unit: str, value: Callable[[float], float]) -> tuple[list[float], list[float]]:
    sizes = np.geomspace(fit.sizes[0], fit.sizes[-1], CURVE_POINTS).tolist()
    return sizes, [public(unit, value(size)) for size in sizes]
