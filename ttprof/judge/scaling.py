"""Scaling: the slope of a metric over a sweep, on log-log axes, against the exponent of the expected law.

Rounds of samples at each size enter; a fit and a verdict leave. The statistic of a size is the minimum of its
rounds; the interval of the slope comes from resampling the rounds. The slope alone can't tell linear from
n log n, nor constant from log: those laws are one family here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ttprof import metrics
from ttprof.judge.polynomial import Coefficients, degree, identify, written
from ttprof.result import ScalingFit, Status, Verdict
from ttprof.spec import LAWS, Axis, ScalingLaw
from ttprof.units import significant

EXPONENT_MARGIN = 0.35
NOISY = 0.5
BEND = 0.1
OVERHEAD = 0.5
PRESENT = 0.2
TOP_SIZES = 3
FEWEST = 4
NAMES = ("constant", "linear", "quadratic", "cubic")
RESAMPLES = 500


@dataclass(frozen=True)
class Growth:
    """What is expected: *metric*, measured with so many *threads* (0: the default), follows *law* over *axis*.

    With *at_most* it may grow slower. *exact* says that the metric is counted, and does not vary from run to run.
    """

    law: ScalingLaw
    axis: Axis
    metric: str
    threads: int = 0
    at_most: bool = False
    exact: bool = False

    @property
    def wanted(self) -> str:
        """The law in words."""
        return f"at most {self.law.name}" if self.at_most else self.law.name

    @property
    def expectation(self) -> str:
        """The expectation in one phrase."""
        return f"{self.metric} {self.wanted} in {self.axis}"


def judge(growth: Growth, rounds: Mapping[int, np.ndarray]) -> tuple[ScalingFit, Verdict]:
    """Fit and verdict for samples in base units by size; every size has at least one sample above 0.

    PASS when the whole interval of the exponent, and the exponent between the two largest sizes, are within 0.35
    of the law's. FAIL when both are outside on the same side, and would be at the next size too if the curve went
    on bending. INCONCLUSIVE otherwise; when a large size is too noisy to say (median over 1.5 times minimum); and
    when growth seems too slow, but over half of the largest value is overhead that does not grow, or a fifth of it
    already grows by the law: larger sizes would show it.

    A metric that is counted exactly and follows a polynomial has the degree of it, and no doubt. A peak of memory is
    the largest of several polynomials, so the smallest sizes may be left out: what holds at the largest counts.
    """
    sizes = sorted(rounds)
    lowest = [float(rounds[n].min()) for n in sizes]
    start, polynomial = _largest_regime(sizes, [round(value) for value in lowest]) if growth.exact else (0, None)
    overhead, by_law = _shares(growth.law, sizes, lowest)
    fit = ScalingFit(
        metric=growth.metric,
        axis=growth.axis,
        law=growth.law.name,
        sizes=sizes,
        values=lowest,
        exponent=_slope(sizes, lowest),
        interval=_interval(sizes, [rounds[n] for n in sizes]),
        last_exponent=_slope(sizes[-2:], lowest[-2:]),
        overhead=overhead,
        by_law=by_law,
        threads=growth.threads,
        coefficients=[float(c) for c in polynomial] if polynomial else None,
    )
    if polynomial is not None:
        return fit, _exact_verdict(growth, polynomial, sizes[start:])
    noisy = [n for n in sizes[-TOP_SIZES:] if np.median(rounds[n]) / rounds[n].min() - 1 > NOISY]
    return fit, _verdict(growth, fit, noisy)


def _largest_regime(sizes: list[int], values: list[int]) -> tuple[int, Coefficients | None]:
    """The polynomial that holds from the earliest size on, and the index of that size; four sizes are the fewest."""
    for start in range(max(1, len(sizes) - FEWEST + 1)):
        found = identify(sizes[start:], values[start:])
        if found is not None:
            return start, found
    return 0, None


def _exact_verdict(growth: Growth, polynomial: Coefficients, sizes: list[int]) -> Verdict:
    """PASS when the degree of the polynomial is the exponent of the law (or with "at most" no more), else FAIL."""
    found, wanted = degree(polynomial), growth.law.exponent
    passes = found <= wanted if growth.at_most else found == wanted
    unit = metrics.find(growth.metric).unit
    base = {"MB": "bytes"}.get(unit.symbol, unit.symbol)
    text = f"{growth.metric} is exactly {written(polynomial, growth.axis)} {base}".rstrip()
    return Verdict(
        expectation=growth.expectation,
        status=Status.PASS if passes else Status.FAIL,
        reason=f"{text} at {len(sizes)} sizes from {sizes[0]} to {sizes[-1]}: {NAMES[found]}, {growth.wanted} expected",
        measured=float(found),
        limit=wanted,
    )


def not_measured(expectation: str, why: str) -> Verdict:
    """The ERROR of a scaling whose metric was not measured at every size."""
    return Verdict(expectation=expectation, status=Status.ERROR, reason=f"{expectation} was not measured: {why}")


def _slope(sizes: list[int], values: list[float]) -> float:
    """The least-squares slope of log(value) over log(size)."""
    from scipy.stats import linregress  # here, because importing it takes most of a second

    return float(linregress(np.log(sizes), np.log(values)).slope)


def _shares(law: ScalingLaw, sizes: list[int], values: list[float]) -> tuple[float, float]:
    """The shares of the largest value that do not grow, and that grow by the law.

    From non-negative least squares on relative residuals, of a + b n^E, and with a linear term where E is above 1.
    """
    from scipy.optimize import nnls

    n = np.array(sizes, dtype=np.float64)
    terms = [np.ones(len(n)), n**law.exponent, *([n] if law.exponent > 1 else [])]
    weights = 1 / np.array(values)
    coefficients, _ = nnls(np.stack(terms, axis=1) * weights[:, None], np.ones(len(n)))
    top = [float(c * term[-1] / values[-1]) for c, term in zip(coefficients, terms, strict=True)]
    return min(1.0, top[0]), min(1.0, top[1])


def _interval(sizes: list[int], rounds: list[np.ndarray]) -> tuple[float, float]:
    """The 95 % interval of the slope over resampled rounds; the same closed form as ``linregress``, vectorised."""
    rng = np.random.default_rng(0)
    lowest = np.stack([r[rng.integers(0, len(r), size=(RESAMPLES, len(r)))].min(axis=1) for r in rounds], axis=1)
    x = np.log(sizes) - np.mean(np.log(sizes))
    slopes = np.log(lowest.astype(np.float64)) @ x / (x @ x)
    return float(np.quantile(slopes, 0.025)), float(np.quantile(slopes, 0.975))


def _verdict(growth: Growth, fit: ScalingFit, noisy: list[int]) -> Verdict:
    bottom, top = growth.law.exponent - EXPONENT_MARGIN, growth.law.exponent + EXPONENT_MARGIN
    next_exponent = 2 * fit.last_exponent - fit.exponent
    seen = (*fit.interval, fit.last_exponent)
    too_slow = max(*seen, next_exponent) < bottom and fit.overhead <= OVERHEAD and fit.by_law < PRESENT
    too_fast = min(*seen, next_exponent) > top
    if growth.at_most:
        bottom, too_slow = -math.inf, False
    if noisy:
        status = Status.INCONCLUSIVE
    elif bottom <= min(seen) and max(seen) <= top:
        status = Status.PASS
    else:
        status = Status.FAIL if too_slow or too_fast else Status.INCONCLUSIVE
    return Verdict(
        expectation=growth.expectation,
        status=status,
        reason=_sentence(growth, fit, noisy),
        measured=fit.exponent,
        limit=growth.law.exponent,
    )


def _sentence(growth: Growth, fit: ScalingFit, noisy: list[int]) -> str:
    half = max(fit.exponent - fit.interval[0], fit.interval[1] - fit.exponent)
    wanted = growth.law.exponent
    text = (
        f"{fit.metric} grows as {fit.axis}^{fit.exponent:.2f} ± {half:.2f} over {fit.sizes[0]} … {fit.sizes[-1]}; "
        f"{growth.wanted} means an exponent of {significant(wanted)} ± {EXPONENT_MARGIN}"
    )
    if noisy:
        return f"{text}, but the rounds at {noisy} differ too much to say; measure on a quieter machine"
    if abs(fit.last_exponent - fit.exponent) > BEND:
        text += f"; between the two largest sizes it is {fit.last_exponent:.2f}"
    if growth.at_most:
        return text
    if fit.exponent < wanted - EXPONENT_MARGIN and fit.overhead > OVERHEAD:
        return f"{text}; {100 * fit.overhead:.0f} % of the value at {fit.sizes[-1]} does not grow: use larger sizes"
    if fit.exponent < wanted - EXPONENT_MARGIN and fit.by_law >= PRESENT:
        return f"{text}; {100 * fit.by_law:.0f} % of the value at {fit.sizes[-1]} is {fit.law}: use larger sizes"
    nearest = min(LAWS.values(), key=lambda law: abs(law.exponent - fit.exponent))
    return text if nearest.exponent == wanted else f"{text}; {nearest.name} would be nearest"
