"""Judges the samples of a metric against a bound, with a confidence interval if the metric is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ttprof import metrics
from ttprof.bounds import Bound
from ttprof.codes import Kind, VerdictCode
from ttprof.judge.bootstrap import resampled
from ttprof.metrics.metric import STATISTICS, Metric
from ttprof.observation import Observation
from ttprof.spec import Limit
from ttprof.units import Unit, significant
from ttprof.verdict import Status, Verdict

RESAMPLES = 1000
CONFIDENCE = 0.95
MAX_EXCESS = 10
"""Ratio of a value to its limit above which reasons state the ratio rather than the excess in percent."""

CODES = {
    Status.PASS: VerdictCode.WITHIN_LIMIT,
    Status.FAIL: VerdictCode.OUTSIDE_LIMIT,
    Status.INCONCLUSIVE: VerdictCode.LIMIT_UNDECIDED,
}
"""The code of a verdict on a bound, by status."""


def bootstrap_interval(samples: Sequence[float] | np.ndarray, statistic: Any, seed: int = 0) -> tuple[float, float]:
    """The one-sided 95 % bounds, lower and upper, of *statistic* by the percentile bootstrap.

    Together they contain the statistic with 90 % confidence (Efron and Tibshirani, An Introduction to the Bootstrap,
    1993, chapter 13). A single sample gives (-inf, inf).
    """
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < 2:
        return -np.inf, np.inf
    of_resamples = resampled(values, statistic, np.random.default_rng(seed), RESAMPLES)
    return float(np.quantile(of_resamples, 1 - CONFIDENCE)), float(np.quantile(of_resamples, CONFIDENCE))


def bound_of(limit: Limit) -> Bound:
    """The range of a limit; a plain number bounds the metric on its worse side."""
    if isinstance(limit.bound, Bound):
        return limit.bound
    return Bound(high=limit.bound) if metrics.find(limit.metric).better == "lower" else Bound(low=limit.bound)


def phrase(name: str, bound: Bound, unit: Unit) -> str:
    """Format an expectation, for example ``latency_ms <= 5 ms``."""
    if bound.exact:
        return f"{name} == {unit.format(bound.low)}"
    if bound.low == -np.inf:
        return f"{name} <= {unit.format(bound.high)}"
    if bound.high == np.inf:
        return f"{name} >= {unit.format(bound.low)}"
    return f"{name} within {significant(bound.low)} … {unit.format(bound.high)}"


def not_measured(metric: Metric, bound: Bound, observation: Observation) -> Verdict:
    """The ERROR of a limit on a metric that was not measured."""
    return Verdict(
        kind=Kind.LIMIT,
        code=VerdictCode.NOT_MEASURED,
        expectation=phrase(metric.name, bound, metric.unit),
        status=Status.ERROR,
        reason=f"{metric.name} was not measured on {observation.device}: it needs {metric.missing(observation)}",
        metric=metric.name,
        bound=ends(bound),
    )


def judge_samples(metric: Metric, bound: Bound, samples: np.ndarray) -> Verdict:
    """Judge the samples of a metric, in base units, against a bound in its public unit."""
    value = metric.unit.public(float(STATISTICS[metric.statistic](samples)))
    interval = _bounds(metric, samples, value)
    status = status_of(bound, interval)
    return Verdict(
        kind=Kind.LIMIT,
        code=CODES[status],
        expectation=phrase(metric.name, bound, metric.unit),
        status=status,
        reason=_reason(metric, bound, value, interval, len(samples)),
        metric=metric.name,
        measured=value,
        bound=ends(bound),
    )


def ends(bound: Bound) -> tuple[float | None, float | None]:
    """The ends of a bound as stored in a result: None if open, because JSON has no infinity."""
    low, high = (None if np.isinf(end) else end for end in (bound.low, bound.high))
    return low, high


def _bounds(metric: Metric, samples: np.ndarray, value: float) -> tuple[float, float]:
    if not metric.sampled:
        return value, value
    low, high = bootstrap_interval(samples, STATISTICS[metric.statistic])
    return metric.unit.public(low), metric.unit.public(high)


def status_of(bound: Bound, interval: tuple[float, float]) -> Status:
    """PASS if the whole interval is within the bound, FAIL if all of it is outside, else INCONCLUSIVE."""
    low, high = interval
    if bound.low <= low and high <= bound.high:
        return Status.PASS
    return Status.FAIL if low > bound.high or high < bound.low else Status.INCONCLUSIVE


def compared(value: float, bound: Bound, unit: Unit) -> str:
    """Compare a value with its bound, for example ``8 % over the limit of 5 ms``."""
    if bound.exact:
        return "as expected" if value == bound.low else f"expected {unit.format(bound.low)}"
    side = "over" if value > bound.high else "under" if value < bound.low else "within"
    if side == "within" and -np.inf < bound.low and bound.high < np.inf:
        return f"within {significant(bound.low)} … {unit.format(bound.high)}"
    end = bound.high if side == "over" or bound.low == -np.inf else bound.low
    return f"{_margin(value, end, side)} {unit.format(end)}"


def _margin(value: float, end: float, side: str) -> str:
    """The distance of a value from an end of its bound, in percent or, if far above it, as a factor."""
    if not end or value == end:
        return f"{side} the limit of"
    if value > MAX_EXCESS * end:
        return f"{value / end:,.0f} times the limit of"
    percent = 100 * abs(value - end) / end
    return f"{significant(round(percent, 0 if percent >= 10 else 1))} % {side} the limit of"


def interval_text(low: float, high: float, unit: Unit, count: int) -> str:
    """The bounds of a statistic in parentheses, for example ``(95 % bounds 5.28 … 5.35 ms, 30 iterations)``."""
    return f"(95 % bounds {significant(low)} … {unit.format(high)}, {count} iterations)"


def undecided_text(expectation: str, value: str, interval: tuple[float, float], unit: Unit, count: int) -> str:
    """The reason of a limit that *count* iterations, with *value* as their statistic, do not decide."""
    if count < 2:
        return f"can't tell whether {expectation}: {value} in a single iteration has no confidence interval; time more"
    ends_text = f"{significant(interval[0])} … {unit.format(interval[1])}"
    return (
        f"can't tell whether {expectation}: it is {value}, but the 95 % bounds {ends_text} of {count} iterations lie "
        "on both sides of the limit; more iterations may decide it"
    )


def _reason(metric: Metric, bound: Bound, value: float, interval: tuple[float, float], count: int) -> str:
    """The measured value, its distance from the bound, and its confidence interval."""
    shown = metric.unit.format(value)
    if status_of(bound, interval) is Status.INCONCLUSIVE:
        return undecided_text(phrase(metric.name, bound, metric.unit), shown, interval, metric.unit, count)
    text = f"{metric.name} is {shown}, {compared(value, bound, metric.unit)}"
    if not metric.sampled:
        return f"{text} (over {count} iterations)" if count > 1 else text
    return f"{text} {interval_text(*interval, metric.unit, count)}"
