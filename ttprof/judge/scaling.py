"""Scaling: the slope of a metric over a sweep, on log-log axes, against the exponent of the expected law.

Rounds of samples at each size enter; a fit and a verdict leave. The statistic of a size is the minimum of its
rounds; the interval of the slope comes from resampling the rounds. The slope alone can't tell linear from
n log n, nor constant from log: those laws are one family here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ttprof.result import ScalingFit, Status, Verdict
from ttprof.spec import LAWS, Scaling
from ttprof.units import significant

EXPONENT_MARGIN = 0.35
NOISY = 0.5
BEND = 0.1
TOP_SIZES = 3
RESAMPLES = 500


def judge(scaling: Scaling, metric: str, rounds: Mapping[int, np.ndarray], threads: int) -> tuple[ScalingFit, Verdict]:
    """Fit and verdict for samples in base units by size; every size has at least one sample above 0.

    PASS when the whole interval of the exponent, and the exponent between the two largest sizes, are within 0.35
    of the law's. FAIL when both are outside on the same side and the curve does not bend towards the law, as it
    does where overhead dominates small sizes. INCONCLUSIVE otherwise, and when a large size is too noisy to say
    (median over 1.5 times minimum).
    """
    sizes = sorted(rounds)
    lowest = [float(rounds[n].min()) for n in sizes]
    slope = _slope(sizes, lowest)
    interval = _interval(sizes, [rounds[n] for n in sizes])
    fit = ScalingFit(
        metric=metric,
        axis=scaling.axis,
        law=scaling.law.name,
        sizes=sizes,
        values=lowest,
        exponent=slope,
        interval=interval,
        last_exponent=_slope(sizes[-2:], lowest[-2:]),
        threads=threads,
    )
    noisy = [n for n in sizes[-TOP_SIZES:] if np.median(rounds[n]) / rounds[n].min() - 1 > NOISY]
    return fit, _verdict(scaling, fit, noisy)


def not_measured(scaling: Scaling, metric: str, why: str) -> Verdict:
    """The ERROR of a scaling whose metric was not measured at every size."""
    return Verdict(
        expectation=f"{metric} {scaling.law.name} in {scaling.axis}",
        status=Status.ERROR,
        reason=f"the scaling of {metric} over {scaling.axis} was not measured: {why}",
    )


def _slope(sizes: list[int], values: list[float]) -> float:
    """The least-squares slope of log(value) over log(size)."""
    from scipy.stats import linregress  # here, because importing it takes most of a second

    return float(linregress(np.log(sizes), np.log(values)).slope)


def _interval(sizes: list[int], rounds: list[np.ndarray]) -> tuple[float, float]:
    """The 95 % interval of the slope over resampled rounds; the same closed form as ``linregress``, vectorised."""
    rng = np.random.default_rng(0)
    lowest = np.stack([r[rng.integers(0, len(r), size=(RESAMPLES, len(r)))].min(axis=1) for r in rounds], axis=1)
    x = np.log(sizes) - np.mean(np.log(sizes))
    slopes = np.log(lowest.astype(np.float64)) @ x / (x @ x)
    return float(np.quantile(slopes, 0.025)), float(np.quantile(slopes, 0.975))


def _verdict(scaling: Scaling, fit: ScalingFit, noisy: list[int]) -> Verdict:
    wanted = scaling.law.exponent
    bottom, top = wanted - EXPONENT_MARGIN, wanted + EXPONENT_MARGIN
    bends_up, bends_down = (sign * (fit.last_exponent - fit.exponent) > BEND for sign in (1, -1))
    low, high = min(fit.interval[0], fit.last_exponent), max(fit.interval[1], fit.last_exponent)
    if noisy:
        status = Status.INCONCLUSIVE
    elif bottom <= low and high <= top:
        status = Status.PASS
    elif (high < bottom and not bends_up) or (low > top and not bends_down):
        status = Status.FAIL
    else:
        status = Status.INCONCLUSIVE
    return Verdict(
        expectation=f"{fit.metric} {fit.law} in {fit.axis}",
        status=status,
        reason=_sentence(scaling, fit, noisy),
        measured=fit.exponent,
        limit=wanted,
    )


def _sentence(scaling: Scaling, fit: ScalingFit, noisy: list[int]) -> str:
    half = max(fit.exponent - fit.interval[0], fit.interval[1] - fit.exponent)
    text = (
        f"{fit.metric} grows as {fit.axis}^{fit.exponent:.2f} ± {half:.2f} over {fit.sizes[0]} … {fit.sizes[-1]}; "
        f"{fit.law} means an exponent of {significant(scaling.law.exponent)} ± {EXPONENT_MARGIN}"
    )
    if noisy:
        return f"{text}, but the rounds at {noisy} differ too much to say; measure on a quieter machine"
    if abs(fit.last_exponent - fit.exponent) > BEND:
        text += f"; between the two largest sizes it is {fit.last_exponent:.2f}, so larger sizes would tell more"
    nearest = min(LAWS.values(), key=lambda law: abs(law.exponent - fit.exponent))
    if nearest.exponent != scaling.law.exponent:
        text += f"; {nearest.name} would be nearest"
    return text
