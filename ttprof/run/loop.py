"""Pass 1: times calls without a profiler, one sample per iteration.

Calls that will be compared are interleaved, in a new random order each round, so that a slow moment of the machine
affects them alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ttprof.observation import Interference, Timing
from ttprof.run.batches import SHORT_NS, Batches, SharedCounts
from ttprof.run.machine_reader import Glance, MachineReader, reading
from ttprof.run.timers import Sample, Timer
from ttprof.run.workload import RepeatableCall
from ttprof.spec import Schedule
from ttprof.system.children import end_if_forked
from ttprof.system.cpu_time import MachineCounts, ProcessCounter, machine_counts
from ttprof.system.process import cores, no_gc

Call = Callable[[], Any]
Undecided = Callable[[Sequence[Timing]], bool]

MAX_SAMPLES = 2000


@dataclass(frozen=True)
class TimingPlan:
    """How to time: the user's schedule, the bounds of the warm-up, and the seconds that a case may take.

    After ``schedule.warmup`` calls the warm-up continues until it has lasted ``warmup_min_ns`` and the medians of its
    two halves agree within ``agreement``, a fraction, but no longer than ``warmup_max_ns``. ``before_each`` runs before
    each timed iteration, ``on_warm`` once when all calls are warm. ``threads`` is only recorded in the timings.
    Between iterations, the clocks of the CPUs and of ``device`` are read, and the yardstick is timed by ``glance``.
    """

    schedule: Schedule
    seconds: float = 2.0
    warmup_min_ns: int = 20_000_000
    warmup_max_ns: int = 500_000_000
    agreement: float = 0.05
    before_each: Call | None = None
    on_warm: Call | None = None
    seed: int = 0
    min_samples: int = 5
    threads: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    glance: Glance | None = None


@dataclass
class _TimedCall:
    """A call with its samples so far, and the counts of the process during each, or during some of them together."""

    call: Call
    warmup: _WarmUp
    samples: list[Sample] = field(default_factory=list)
    counts: list[SharedCounts] = field(default_factory=list)

    @property
    def short(self) -> bool:
        """Whether the last sample was short."""
        return bool(self.samples) and self.samples[-1].host_ns < SHORT_NS


class _WarmUp(NamedTuple):
    """The number of warm-up calls, and whether they were steady at the end."""

    calls: int
    steady: bool


def time_workloads(calls: Sequence[Call], plan: TimingPlan, timer: Timer, undecided: Undecided) -> list[Timing]:
    """Time *calls* interleaved. An exact schedule takes exactly ``plan.schedule.iterations`` samples of each.

    Otherwise the samples double while *undecided* says that a verdict is open, until ``plan.seconds`` have passed or
    there are ``MAX_SAMPLES``. Slow calls stop earlier, with at least ``plan.min_samples`` samples each.
    """
    timed = [_TimedCall(call, _warm_up(call, plan, timer)) for call in calls]
    if plan.on_warm is not None:
        plan.on_warm()
    deadline = timer.clock.wall_ns() + int(plan.seconds * 1e9)
    goal = plan.schedule.iterations
    with no_gc(), closing(ProcessCounter()) as counter, reading(plan.device, plan.glance) as machine:
        machine.begin()
        began = machine_counts()
        while True:
            counter.follow()
            _sample_until(goal, timed, plan, timer, deadline, Batches(counter, timer.clock, machine))
            timings = _timings(timed, plan, began, machine)
            reason = _reason_to_stop(plan, goal, late=timer.clock.wall_ns() >= deadline)
            if reason is None and not undecided(timings):
                reason = "every verdict is decided"
            if reason is not None:
                return [replace(timing, stopped=reason) for timing in timings]
            goal *= 2


def _reason_to_stop(plan: TimingPlan, goal: int, late: bool) -> str | None:
    """Why timing stops even if a verdict is open, or None if it may continue."""
    if plan.schedule.exact:
        return "the iterations are fixed by .profile"
    if late:
        return f"{plan.seconds:g} s have passed (seconds_per_case)"
    return f"the maximum of {MAX_SAMPLES} samples is reached" if goal >= MAX_SAMPLES else None


def _timings(
    timed: Sequence[_TimedCall], plan: TimingPlan, began: MachineCounts | None, machine: MachineReader
) -> list[Timing]:
    now = machine_counts()
    machine.finish()
    cpu_clocks, gpu, yardstick = machine.cpu_clocks, machine.gpu, machine.yardstick
    timings = []
    for call in timed:
        latency, host, cpu = np.array(call.samples, dtype=np.int64).reshape(-1, 3).T
        calls, steady = call.warmup
        interference = _interference(call.counts, began, now)
        timing = Timing(latency, host, cpu, calls, plan.threads, steady, len(timed), interference=interference)
        timings.append(replace(timing, cpu_clocks=cpu_clocks, gpu=gpu, yardstick=yardstick))
    return timings


def _interference(
    counts: Sequence[SharedCounts], began: MachineCounts | None, now: MachineCounts | None
) -> Interference:
    process, waited, switches, faults = zip(*(shared.counts for shared in counts), strict=True)
    iterations = np.array([shared.iterations for shared in counts], dtype=np.int64)
    both = None if began is None or now is None else (began, now)
    return Interference(
        process_ns=np.array(process, dtype=np.int64),
        switches=np.array(switches, dtype=np.int64),
        faults=np.array(faults, dtype=np.int64),
        waited_ns=None if None in waited else np.array(waited, dtype=np.int64),
        others=both and both[1].others_since(both[0]),
        stolen=both and both[1].stolen_since(both[0]),
        cpus=cores(),
        together=iterations if (iterations > 1).any() else None,
    )


def _sample_until(
    goal: int, timed: Sequence[_TimedCall], plan: TimingPlan, timer: Timer, deadline: int, batches: Batches
) -> None:
    """Take one sample of each call per round until there are *goal*, or until the deadline if the plan allows it."""
    order = random.Random(plan.seed + goal)
    while len(timed[0].samples) < goal:
        for call in order.sample(timed, len(timed)) if len(timed) > 1 else timed:  # the draw would slow a short call
            _reset(call.call)
            if plan.before_each is not None:
                plan.before_each()
            short = call.short and plan.before_each is None
            batches.begin(short)
            sample = timer.measure(call.call)
            batches.end(call.counts, short, sample.host_ns)
            call.samples.append(sample)
            end_if_forked()
        late = timer.clock.wall_ns() >= deadline
        if late and not plan.schedule.exact and len(timed[0].samples) >= plan.min_samples:
            break
    batches.close()


def _reset(call: Call) -> None:
    """Let an iteration prepare its next call, which is not measured."""
    if isinstance(call, RepeatableCall):
        call.reset()


def _warm_up(call: Call, plan: TimingPlan, timer: Timer) -> _WarmUp:
    """Call until steady, which is checked each time the number of calls has doubled."""
    times: list[int] = []
    spent = 0
    goal = plan.schedule.warmup
    while goal:
        while len(times) < goal:
            _reset(call)
            times.append(timer.measure(call).host_ns)
            spent += times[-1]
            if spent >= plan.warmup_max_ns and not plan.schedule.exact:
                return _WarmUp(len(times), _steady(times, plan.agreement))
        steady = _steady(times, plan.agreement)
        if spent >= plan.warmup_max_ns or (spent >= plan.warmup_min_ns and steady):
            return _WarmUp(len(times), steady)
        goal *= 2
    return _WarmUp(0, steady=False)


def _steady(times: list[int], agreement: float) -> bool:
    """Whether the medians of the first and the second half of the calls agree within a fraction of the larger one."""
    half = len(times) // 2
    if half < 2:
        return False
    first, second = float(np.median(times[:half])), float(np.median(times[half:]))
    return abs(first - second) <= agreement * max(first, second)
