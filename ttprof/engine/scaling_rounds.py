"""Measures more while the verdict on a scaling is INCONCLUSIVE: first twice the rounds, then twice the largest size.

Each step is taken at most once, and the rounds record it, or why it was not taken. The larger size must fit into the
case's time, and into memory with a margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from ttprof import metrics
from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.judge import verdicts
from ttprof.judge.verdicts import Points, Rounds
from ttprof.observation import Observation
from ttprof.run.devices import driver
from ttprof.spec import CaseSpec
from ttprof.trial_key import Point
from ttprof.units import format_bytes, format_ns
from ttprof.verdict import Status

MIN_CALLS_AT_LARGER_SIZE = 8
"""A larger size is tried only if this many iterations of it fit into ``seconds_per_case``."""

MEMORY_MARGIN = 4
"""A larger size is tried only if this multiple of the peak memory is free: memory may grow with the size squared."""


@dataclass(frozen=True)
class More:
    """Ways to measure more: *again* repeats every size, *beyond* measures a size above the largest.

    *again* is None for a metric that is counted: it would not change. An iteration at the largest size takes
    *slowest_ns*.
    """

    again: Callable[[], Mapping[int, np.ndarray | None]] | None
    beyond: Callable[[int], np.ndarray | None]
    slowest_ns: float


def is_open(case: CaseSpec, device: torch.device, rounds: Rounds) -> bool:
    """Whether the verdict on a scaling is still INCONCLUSIVE."""
    return any(v.status is Status.INCONCLUSIVE for v in verdicts.judge_scaling(case.expected, device.type, rounds)[1])


def extended(case: CaseSpec, device: torch.device, seconds: float, first: Rounds, more: More) -> Rounds:
    """The rounds, extended until the verdict is decided or a bound is met; unchanged if the user fixed the schedule."""
    if case.schedule.exact or not is_open(case, device, first):
        return first
    doubled = first if more.again is None else _doubled(first, more.again())
    if not is_open(case, device, doubled):
        return doubled
    size = 2 * max(doubled.by_size)
    larger, why = None, _why_not_larger(case, device, seconds, more.slowest_ns)
    if why is None:
        try:
            with user_code("it"):
                larger = more.beyond(size)
        except (InputsError, ModuleRaised) as error:
            why = str(error)
    if larger is None:
        reason = f"not extended to {size}: {why or 'it was not measured there'}"
        return replace(doubled, extended=(*doubled.extended, reason))
    by_size = {**doubled.by_size, size: larger}
    return replace(doubled, by_size=by_size, extended=(*doubled.extended, f"extended to {size}"))


def of_counts(
    case: CaseSpec, device: torch.device, seconds: float, points: Points, count_at: Callable[[Point], Observation]
) -> Rounds | None:
    """The rounds of a metric that is counted without a trace, such as FLOPs; a larger size while the verdict is open.

    Args:
        case: The case, whose scaling is judged.
        device: The device that it runs on.
        seconds: The time that the case may take.
        points: The observations of the sweep, without traces.
        count_at: Counts at another point.

    Returns:
        None if no scaling is expected, or if its metric varies between runs or was not counted.
    """
    name = verdicts.scaling_metric(case.expected, device.type)
    if name is None or not points or not metrics.find(name).whole:
        return None
    (point, last), metric = points[-1], metrics.find(name)
    if last.timing is None or metric.samples(last) is None:
        return None
    more = More(
        again=None,
        beyond=lambda size: metric.samples(count_at(point.at(case.scaling_axis, size))),
        slowest_ns=float(np.median(last.timing.host_ns)),
    )
    return extended(case, device, seconds, Rounds.of(case.expected, points), more)


def _doubled(first: Rounds, again: Mapping[int, np.ndarray | None]) -> Rounds:
    joined = {size: _concatenated(one, again[size]) for size, one in first.by_size.items()}
    count = min((len(samples) for samples in joined.values() if samples is not None), default=0)
    return replace(first, by_size=joined, extended=(*first.extended, f"rounds doubled to {count}"))


def _concatenated(one: np.ndarray | None, two: np.ndarray | None) -> np.ndarray | None:
    return None if one is None or two is None else np.concatenate((one, two))


def _why_not_larger(case: CaseSpec, device: torch.device, seconds: float, slowest_ns: float) -> str | None:
    """Why twice the largest size is not tried; None if it can be."""
    exponent = max(2.0, case.scaling.law.exponent if case.scaling else 0.0)
    expected_ns = slowest_ns * 2**exponent
    if MIN_CALLS_AT_LARGER_SIZE * expected_ns > seconds * 1e9:
        return f"an iteration may take {format_ns(expected_ns)} there, and seconds_per_case is {seconds:g}"
    spare, used = driver(device).memory()
    if spare is None or used is None:
        return "this system does not say how much memory is free"
    return f"only {format_bytes(spare)} of memory are free" if spare < MEMORY_MARGIN * used else None
