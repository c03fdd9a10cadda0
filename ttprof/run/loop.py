"""Pass 1: calling workloads without any instrument.

Workloads and a timing plan enter; one sample per iteration leaves for each. Workloads that will be compared run
interleaved, in an order that is drawn anew for each round, so that a slow moment of the machine hits them alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ttprof.observation import Timing
from ttprof.run.timers import Sample, Timer
from ttprof.spec import Schedule
from ttprof.system.process import no_gc

Call = Callable[[], Any]
Undecided = Callable[[Sequence[Timing]], bool]

MAX_SAMPLES = 2000


@dataclass(frozen=True)
class TimingPlan:
    """How to time: the user's schedule, when a warm-up is steady, and how long a case may take.

    Warm-up goes on after ``schedule.warmup`` calls until it has lasted ``floor_ns`` and the medians of its two
    halves agree within ``agreement``, but no longer than ``bound_ns``. ``between`` runs before each iteration, ``warm``
    once, when the warm-up of all is over.
    """

    schedule: Schedule
    seconds: float = 2.0
    floor_ns: int = 20_000_000
    bound_ns: int = 500_000_000
    agreement: float = 0.05
    between: Call | None = None
    warm: Call | None = None
    seed: int = 0
    minimum: int = 5
    threads: int = 0


@dataclass
class _Series:
    """The samples of one workload."""

    call: Call
    warmup: _WarmUp
    samples: list[Sample] = field(default_factory=list)


class _WarmUp(NamedTuple):
    """The number of calls, and whether they were steady at the end."""

    calls: int
    steady: bool


def time_workloads(calls: Sequence[Call], plan: TimingPlan, timer: Timer, undecided: Undecided) -> list[Timing]:
    """Time *calls* interleaved; an exact schedule gives exactly ``plan.schedule.iterations`` samples of each.

    A schedule that the user did not fix doubles the samples while ``undecided`` says that a verdict is still open,
    until ``plan.seconds`` have passed or there are ``MAX_SAMPLES``; slow calls stop then, after at least
    ``plan.minimum`` samples of each.
    """
    series = [_Series(call, _warm_up(call, plan, timer)) for call in calls]
    if plan.warm is not None:
        plan.warm()
    deadline = timer.clock.wall_ns() + int(plan.seconds * 1e9)
    goal = plan.schedule.iterations
    with no_gc():
        while True:
            _sample_until(goal, series, plan, timer, deadline)
            timings = _timings(series, plan)
            stopped = _stopped(plan, goal, timer.clock.wall_ns() >= deadline) or (
                "" if undecided(timings) else "every verdict is decided"
            )
            if stopped:
                return [replace(timing, stopped=stopped) for timing in timings]
            goal *= 2


def _stopped(plan: TimingPlan, goal: int, late: bool) -> str:
    """Why timing stops whatever the verdicts are; nothing when it may go on."""
    if plan.schedule.exact:
        return "the iterations are fixed by .profile"
    if late:
        return f"{plan.seconds:g} s have passed (seconds_per_case)"
    return f"there are {goal} samples" if goal >= MAX_SAMPLES else ""


def _timings(series: Sequence[_Series], plan: TimingPlan) -> list[Timing]:
    found = []
    for each in series:
        latency, host, cpu = np.array(each.samples, dtype=np.int64).reshape(-1, 3).T
        calls, steady = each.warmup
        found.append(Timing(latency, host, cpu, calls, plan.threads, steady, len(series)))
    return found


def _sample_until(goal: int, series: Sequence[_Series], plan: TimingPlan, timer: Timer, deadline: int) -> None:
    """Rounds of one sample of each workload until there are *goal*; a slow one that may stop early does."""
    order = random.Random(plan.seed + goal)
    while len(series[0].samples) < goal:
        for each in order.sample(series, len(series)):
            if plan.between is not None:
                plan.between()
            each.samples.append(timer.measure(each.call))
        late = timer.clock.wall_ns() >= deadline
        if late and not plan.schedule.exact and len(series[0].samples) >= plan.minimum:
            return


def _warm_up(call: Call, plan: TimingPlan, timer: Timer) -> _WarmUp:
    """Call until steady. Steadiness is looked at each time the number has doubled."""
    times: list[int] = []
    spent = 0
    goal = plan.schedule.warmup
    while goal:
        while len(times) < goal:
            times.append(timer.measure(call).host_ns)
            spent += times[-1]
            if spent >= plan.bound_ns and not plan.schedule.exact:
                return _WarmUp(len(times), _steady(times, plan.agreement))
        steady = _steady(times, plan.agreement)
        if spent >= plan.bound_ns or (spent >= plan.floor_ns and steady):
            return _WarmUp(len(times), steady)
        goal *= 2
    return _WarmUp(0, steady=False)


def _steady(times: list[int], agreement: float) -> bool:
    """Whether the medians of the first and the second half of the calls agree."""
    half = len(times) // 2
    if half < 2:
        return False
    first, second = float(np.median(times[:half])), float(np.median(times[half:]))
    return abs(first - second) <= agreement * max(first, second)
