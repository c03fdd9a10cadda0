"""Limits: a metric against a bound, with an interval where the metric varies from run to run.

A limit and an observation enter; a verdict with its sentence leaves. A metric that was not measured is an ERROR.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ttprof import metrics
from ttprof.metrics.metric import STATISTICS, Metric
from ttprof.metrics.observation import Observation
from ttprof.result import Status, Verdict
from ttprof.spec import Limit
from ttprof.units import significant

RESAMPLES = 1000
CONFIDENCE = 0.95
MANY = 10


def bootstrap_interval(samples: Sequence[float] | np.ndarray, statistic: Any, seed: int = 0) -> tuple[float, float]:
    """The one-sided 95 % bounds, lower and upper, of *statistic* by the percentile bootstrap.

    Both bounds are one-sided at 95 %, so together they hold the statistic with 90 % confidence (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). One sample bounds nothing: (-inf, inf).
    """
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < 2:
        return -np.inf, np.inf
    draws = np.random.default_rng(seed).integers(0, len(values), size=(RESAMPLES, len(values)))
    resampled = statistic(values[draws], axis=1)
    return float(np.quantile(resampled, 1 - CONFIDENCE)), float(np.quantile(resampled, CONFIDENCE))


def expectation(limit: Limit) -> str:
    """The limit in one phrase, for example ``latency_ms <= 5 ms``."""
    metric = metrics.find(limit.metric)
    return f"{metric.name} {'<=' if metric.better == 'lower' else '>='} {metric.unit.format(limit.bound)}"


def judge(limit: Limit, observation: Observation) -> Verdict:
    """The verdict on one limit; for a sampled metric by its 95 % bootstrap interval, else exactly."""
    metric = metrics.find(limit.metric)
    samples = metric.samples(observation)
    if samples is None:
        return Verdict(
            expectation=expectation(limit),
            status=Status.ERROR,
            reason=f"{metric.name} was not measured on {observation.device}: it needs {metric.needs}",
            metric=metric.name,
            limit=limit.bound,
        )
    value = metric.unit.public(float(STATISTICS[metric.statistic](samples)))
    low, high = _bounds(metric, samples, value)
    status = _status(metric, limit.bound, low, high)
    return Verdict(
        expectation=expectation(limit),
        status=status,
        reason=_sentence(metric, limit.bound, value, (low, high), len(samples)),
        metric=metric.name,
        measured=value,
        limit=limit.bound,
    )


def undecided(limits: Iterable[Limit], observation: Observation) -> bool:
    """Whether more timed iterations could still decide one of *limits*."""
    return any(judge(limit, observation).status is Status.INCONCLUSIVE for limit in limits)


def _bounds(metric: Metric, samples: np.ndarray, value: float) -> tuple[float, float]:
    if not metric.sampled:
        return value, value
    low, high = bootstrap_interval(samples, STATISTICS[metric.statistic])
    return metric.unit.public(low), metric.unit.public(high)


def _status(metric: Metric, bound: float, low: float, high: float) -> Status:
    if metric.better == "lower":
        return Status.PASS if high <= bound else Status.FAIL if low > bound else Status.INCONCLUSIVE
    return Status.PASS if low >= bound else Status.FAIL if high < bound else Status.INCONCLUSIVE


def _margin(value: float, bound: float, side: str) -> str:
    """How far a value is from its bound: in percent, or as a factor where percents would be long."""
    if not bound or value == bound:
        return f"{side} the limit of"
    if value > MANY * bound:
        return f"{value / bound:,.0f} times the limit of"
    percent = 100 * abs(value - bound) / bound
    return f"{significant(round(percent, 0 if percent >= MANY else 1))} % {side} the limit of"


def _sentence(metric: Metric, bound: float, value: float, interval: tuple[float, float], count: int) -> str:
    """What was measured, how far from the bound, and how sure that is."""
    within = value <= bound if metric.better == "lower" else value >= bound
    side = "within" if within else "over" if metric.better == "lower" else "under"
    margin = _margin(value, bound, side)
    text = f"{metric.name} is {metric.unit.format(value)}, {margin} {metric.unit.format(bound)}"
    if not metric.sampled:
        return text
    if count < 2:
        return f"{text} (a single iteration bounds nothing; measure more)"
    low, high = interval
    return f"{text} (95 % bounds {significant(low)} … {significant(high)} from {count} iterations)"
