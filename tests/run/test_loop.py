"""The timing loop on a fake clock."""

from __future__ import annotations

import gc
import itertools
from dataclasses import replace

import pytest
from fakes import FakeTimer, IdleCounter

from ttprof.judge import interference
from ttprof.observation import Observation
from ttprof.run import loop
from ttprof.run.loop import MAX_SAMPLES, TimingPlan, time_workloads
from ttprof.run.timers import Sample
from ttprof.spec import Schedule
from ttprof.system.cpu_time import Counts, MachineCounts, ProcessCounter

US, MS = 1_000, 1_000_000


def never_undecided(timings):
    return False


def run(plan: TimingPlan, durations, undecided=never_undecided, workloads: int = 1):
    calls: list[int] = []
    timings = time_workloads(
        [lambda i=i: calls.append(i) for i in range(workloads)], plan, FakeTimer(durations), undecided
    )
    return timings, calls


def exact(warmup: int, iterations: int) -> Schedule:
    return Schedule(warmup, iterations, iterations, exact=True)


@pytest.mark.parametrize(("warmup", "iterations"), [(10, 100), (0, 1), (1, 7)])
def test_a_fixed_schedule_is_timed_exactly(warmup, iterations):
    (timing,), calls = run(TimingPlan(exact(warmup, iterations)), [30 * MS], undecided=lambda t: True)
    assert len(timing.latency_ns) == iterations
    assert timing.warmup >= warmup
    assert len(calls) == timing.warmup + iterations


def test_warmup_zero_means_no_warm_up():
    (timing,), _ = run(TimingPlan(exact(0, 5)), itertools.count(1))
    assert timing.warmup == 0
    assert timing.latency_ns.tolist() == [1, 2, 3, 4, 5]


def test_warm_up_continues_until_it_is_steady():
    slow_start = [100 * MS] * 3 + [50 * MS] * 3 + [10 * MS] * 100
    (timing,), _ = run(TimingPlan(exact(3, 5), warmup_max_ns=10**12), slow_start)
    assert timing.warmup == 48  # after 3, 6, 12 and 24 calls the first half is still slower
    assert timing.latency_ns.tolist() == [10 * MS] * 5


def test_warm_up_lasts_between_its_minimum_and_its_maximum():
    (short,), _ = run(TimingPlan(exact(4, 5), warmup_min_ns=20 * MS), [MS])
    assert 20 <= short.warmup <= 40
    (unsteady,), _ = run(TimingPlan(exact(2, 5), warmup_max_ns=200 * MS), (n * MS for n in itertools.count(1)))
    assert unsteady.warmup < 40


def test_the_warm_up_of_a_slow_module_is_bounded():
    (timing,), calls = run(TimingPlan(Schedule(3, 30), seconds=2, min_samples=5), [10_000 * MS])
    assert (timing.warmup, len(timing.latency_ns), len(calls)) == (1, 5, 6)


def test_samples_double_while_a_limit_is_undecided():
    counts = []

    def undecided(timings):
        counts.append(len(timings[0].latency_ns))
        return len(counts) < 3

    (timing,), _ = run(TimingPlan(Schedule(1, 30), seconds=100), [MS], undecided)
    assert counts == [30, 60, 120]
    assert len(timing.latency_ns) == 120


def test_an_undecided_limit_stops_at_the_sample_or_time_bound():
    (by_count,), _ = run(TimingPlan(Schedule(1, 30), seconds=10**6, warmup_min_ns=10), [1], lambda t: True)
    assert MAX_SAMPLES <= len(by_count.latency_ns) < 2 * MAX_SAMPLES
    (by_time,), _ = run(TimingPlan(Schedule(1, 30), seconds=1), [10 * MS], lambda t: True)
    assert len(by_time.latency_ns) <= 101


def test_calls_are_interleaved_in_a_new_order_each_round():
    plan = TimingPlan(exact(0, 50))
    timings, calls = run(plan, [MS], workloads=3)
    rounds = [tuple(calls[i : i + 3]) for i in range(0, 150, 3)]
    assert all(sorted(r) == [0, 1, 2] for r in rounds)
    assert len(set(rounds)) > 1
    assert [len(t.latency_ns) for t in timings] == [50, 50, 50]
    assert run(plan, [MS], workloads=3)[1] == calls


def test_on_warm_is_called_once_after_the_warm_up():
    calls = []
    plan = TimingPlan(exact(2, 3), on_warm=lambda: calls.append("warm"))
    time_workloads([lambda i=i: calls.append(i) for i in range(2)], plan, FakeTimer([30 * MS]), never_undecided)
    assert calls.count("warm") == 1
    before, after = calls[: calls.index("warm")], calls[calls.index("warm") + 1 :]
    assert before == sorted(before) and sorted(after) == [0, 0, 0, 1, 1, 1]


def test_before_each_runs_before_each_iteration_with_gc_off():
    gc_states = []
    plan = TimingPlan(exact(0, 4), before_each=lambda: gc_states.append(gc.isenabled()))
    run(plan, [MS], workloads=2)
    assert gc_states == [False] * 8
    assert gc.isenabled()


def test_what_the_process_did_is_kept_for_each_iteration(monkeypatch):
    counts = iter([Counts(0, 0, 0, 0), Counts(9, 5, 1, 2), Counts(10, 5, 1, 2), Counts(17, 8, 1, 4)])
    machine = iter([MachineCounts(1.0, 10.0, 1.0, 0.0), MachineCounts(3.0, 16.0, 2.0, 1.0)])
    monkeypatch.setattr(IdleCounter, "read", lambda self: next(counts))
    monkeypatch.setattr(loop, "machine_counts", lambda: next(machine))
    ((timing,), _) = run(TimingPlan(exact(0, 2)), [MS] * 2)
    seen = timing.interference
    assert seen.process_ns.tolist() == [9, 7] and seen.waited_ns.tolist() == [5, 3]
    assert seen.switches.tolist() == [1, 0] and seen.faults.tolist() == [2, 2]
    assert seen.others == pytest.approx((6 - 1) / 2) and seen.stolen == pytest.approx(0.5)


class TimerByCall(FakeTimer):
    """Takes as long as the call returns."""

    def measure(self, call) -> Sample:
        taken = call()
        self.clock.now += taken
        return Sample(taken, taken, taken)


class Waiting(IdleCounter):
    """Counts its readings, and a wait of 1000 ns before the one with a given number."""

    def __init__(self, at: int) -> None:
        self.at, self.readings = at, 0

    def read(self) -> Counts:
        self.readings += 1
        waited = 1000 if self.readings >= self.at else 0
        return Counts(7 * self.readings, waited, 0, 0)


def counted(monkeypatch, durations, plan=None, at: int = 10**6, workloads: int = 1):
    """The timings on a busy machine, the number of readings, and the counts of the first call."""
    counter = Waiting(at)
    machine = itertools.cycle([MachineCounts(0.0, 0.0, 0.0, 0.0), MachineCounts(1.0, 1.0, 0.0, 0.0)])
    monkeypatch.setattr(loop, "ProcessCounter", lambda: counter)
    monkeypatch.setattr(loop, "machine_counts", lambda: next(machine))
    timings, _ = run(plan or TimingPlan(exact(0, len(durations))), durations, workloads=workloads)
    return timings, counter.readings, timings[0].interference


def test_short_iterations_are_counted_together_for_half_a_millisecond(monkeypatch):
    (timing,), readings, seen = counted(monkeypatch, [10 * US] * 112)
    assert timing.latency_ns.tolist() == [10 * US] * 112
    assert (
        seen.together.tolist() == [1] + [50] * 100 + [11] * 11
    )  # no iteration before the first says how long it takes
    assert readings == 2 * 4
    assert seen.process_ns.tolist() == [7] * 112


def test_each_iteration_of_a_batch_in_which_the_process_waited_is_disturbed(monkeypatch):
    (timing,), _, seen = counted(monkeypatch, [10 * US] * 112, at=4)  # within the first batch
    assert interference.disturbed(timing).tolist() == [False] + [True] * 50 + [False] * 61
    assert seen.waited_ns.tolist() == [0] + [1000] * 50 + [0] * 61
    observation = Observation("cpu", timing=replace(timing, cpu_ns=0 * timing.cpu_ns))
    assert interference.own_shares(observation)[1:51].tolist() == [1.0] * 50


def test_a_long_iteration_ends_its_batch_and_the_next_is_counted_alone(monkeypatch):
    _, _, seen = counted(monkeypatch, [10 * US] * 3 + [50 * US] + [10 * US] * 3)
    assert seen.together.tolist() == [1, 3, 3, 3, 1, 2, 2]


def test_long_iterations_and_those_after_a_flush_are_counted_alone(monkeypatch):
    assert counted(monkeypatch, [50 * US] * 9)[2].together is None
    flushed = TimingPlan(exact(0, 9), before_each=lambda: None)
    assert counted(monkeypatch, [US] * 9, flushed)[2].together is None


def test_a_batch_spans_the_rounds_of_short_calls_and_no_long_call(monkeypatch):
    short, _, seen = counted(monkeypatch, [10 * US] * 12, TimingPlan(exact(0, 6)), workloads=2)
    assert seen.together.tolist() == [1] + [10] * 5
    assert short[1].interference.together.tolist() == seen.together.tolist()
    calls = [lambda: 10 * US, lambda: MS]
    of_short, of_long = time_workloads(calls, TimingPlan(exact(0, 20)), TimerByCall([]), never_undecided)
    assert of_long.interference.together is None
    assert set(of_short.interference.together.tolist()) == {1, 2}  # the short one ends a round and begins the next


def test_the_real_counter_has_a_count_for_each_iteration(monkeypatch):
    monkeypatch.setattr(loop, "ProcessCounter", ProcessCounter)
    ((timing,), _) = run(TimingPlan(exact(0, 3)), [MS] * 3)
    assert len(timing.interference.process_ns) == len(timing.interference.switches) == 3
