"""Limits on times that a busy or slow machine, or chance, might have exceeded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ttprof.bounds import at_least
from ttprof.codes import VerdictCode
from ttprof.judge import interference, looks
from ttprof.observation import Interference, Observation, Timing
from ttprof.spec import Limit
from ttprof.verdict import Status

LIMIT = Limit("latency_ms", 5.0)


def seen(ms: float, disturbed: dict[int, float] | None = None, count: int = 30, **fields) -> Observation:
    """Iterations of *ms*; in those of *disturbed* a thread waits for some ms more, and others use half a CPU.

    If they are *spinning*, other threads use CPU time while it waits.
    """
    waits = np.zeros(count, dtype=np.int64)
    for index, wait in (disturbed or {}).items():
        waits[index] = round(wait * 1e6)
    ns = np.full(count, round(ms * 1e6)) + waits
    zeros = np.zeros(count, dtype=np.int64)
    others, spinning = fields.pop("others", 0.5), fields.pop("spinning", False)
    what = Interference(process_ns=zeros, switches=zeros, faults=zeros, waited_ns=waits, others=others, stolen=0.0)
    timing = Timing(ns, ns, ns if spinning else ns - waits, warmup=0, threads=1, interference=what)
    return Observation("cpu", timing=timing, **fields)


def judged(observation: Observation, limit: Limit = LIMIT) -> tuple[Status, VerdictCode]:
    verdict = looks.judge(limit, observation)
    return verdict.status, verdict.code


def test_disturbed_iterations_count_without_their_waits():
    verdict = looks.judge(LIMIT, seen(4.0, dict.fromkeys(range(18), 30.0)))
    assert verdict.status is Status.PASS and verdict.measured == pytest.approx(4.0)
    assert verdict.reason.endswith("30 iterations); other processes had the CPU in or around 18 of them")


def test_slow_iterations_are_not_left_out_because_the_slow_are_disturbed():
    """Three in five calls take 25 ms of CPU time, and only those are disturbed."""
    observation = seen(0.2, dict.fromkeys(range(18), 54.8))
    waits = np.where(np.arange(30) < 18, 30_000_000, 0)
    what = replace(observation.timing.interference, waited_ns=waits)
    cpu = observation.timing.host_ns - waits
    observation = replace(observation, timing=replace(observation.timing, cpu_ns=cpu, interference=what))
    verdict = looks.judge(LIMIT, observation)
    assert verdict.status is Status.INCONCLUSIVE and verdict.measured == pytest.approx(25.0)
    assert judged(observation, Limit("latency_p90_ms", 5.0))[0] is Status.FAIL
    tail = looks.judge(Limit("latency_p90_ms", 15.0), observation)
    assert (tail.status, tail.code) == (Status.INCONCLUSIVE, VerdictCode.MACHINE_BUSY)
    assert tail.reason.endswith("in or around 18 of them; but it is 0.2 ms in the others")


def test_threads_that_work_in_the_background_are_the_modules_own():
    """The calling thread sleeps while its pool works on all CPUs; their waits add up to more than the time."""
    observation = seen(0.2, dict.fromkeys(range(18), 44.0))
    host = observation.timing.host_ns
    before = observation.timing.interference
    for process_ns, status in ((2 * host, Status.INCONCLUSIVE), (0 * host, Status.PASS)):
        what = replace(before, process_ns=process_ns, waited_ns=4 * before.waited_ns, cpus=2)
        timing = replace(observation.timing, cpu_ns=0 * host, interference=what)
        assert looks.judge(LIMIT, replace(observation, timing=timing)).status is status


def test_a_wait_of_iterations_that_were_counted_together_counts_once():
    """Fifty calls of 0.01 ms wait 0.06 ms in all; fifty times as much would be a process with threads to spare."""
    ns, zeros = np.full(50, 10_000), np.zeros(50, dtype=np.int64)
    what = Interference(zeros, zeros, zeros, zeros + 60_000, others=0.03, stolen=0.0, together=zeros + 50)
    timing = Timing(ns, ns, ns, warmup=0, threads=1, interference=what)
    assert interference.disturbed(timing).all()
    assert interference.disturbed(timing.where(np.arange(50) < 5)).tolist() == [True] * 5


def test_a_wait_below_two_percent_is_no_disturbance():
    assert not interference.disturbed(seen(4.0, {0: 0.07}).timing).any()
    assert interference.disturbed(seen(4.0, {0: 0.09}).timing).sum() == 1


def test_too_few_undisturbed_iterations_fail_nothing():
    spinning = seen(4.0, dict.fromkeys(range(21), 30.0), spinning=True)
    assert judged(spinning) == (Status.INCONCLUSIVE, VerdictCode.MACHINE_BUSY)
    assert looks.judge(LIMIT, spinning).reason.endswith(
        "other processes had the CPU in or around 21 of them; too many to tell"
    )
    enough = seen(4.0, dict.fromkeys(range(20), 30.0), spinning=True)
    assert judged(enough) == (Status.INCONCLUSIVE, VerdictCode.MACHINE_BUSY)
    assert looks.judge(LIMIT, enough).reason.endswith("in or around 20 of them; but it is 4 ms in the others")
    assert judged(seen(4.0, dict.fromkeys(range(30), 30.0))) == (Status.PASS, VerdictCode.WITHIN_LIMIT)


@pytest.mark.parametrize(("ms", "status"), [(11.0, Status.FAIL), (9.0, Status.INCONCLUSIVE)])
def test_a_time_twice_over_its_limit_without_the_waits_fails_on_any_machine(ms, status):
    assert judged(seen(ms, dict.fromkeys(range(30), 30.0)))[0] is status
    assert judged(seen(ms, dict.fromkeys(range(30), 30.0), spinning=True))[0] is status


def test_threads_that_wait_for_each_other_on_a_quiet_machine_are_the_module():
    assert judged(seen(4.0, dict.fromkeys(range(30), 30.0), others=0.01))[0] is Status.FAIL


def test_more_threads_than_cpus_wait_for_each_other_although_something_else_runs():
    six_wait = dict.fromkeys(range(30), 6 * 30.0)
    mostly_own = seen(30.0, six_wait, others=0.1)  # latency includes the waits here; each is six times the iteration
    shares = mostly_own.timing.interference.waited_ns / mostly_own.timing.host_ns
    assert shares.mean() == pytest.approx(180 / 210)
    timing = replace(mostly_own.timing, host_ns=np.full(30, 30_000_000))
    assert not interference.disturbed(timing).any()
    assert interference.disturbed(replace(timing, interference=replace(timing.interference, others=0.13))).all()


def test_without_the_waits_an_involuntary_switch_is_a_disturbance():
    timing = seen(6.0).timing
    switches = np.arange(30) % 2
    timing = replace(timing, interference=replace(timing.interference, waited_ns=None, switches=switches))
    assert interference.disturbed(timing).sum() == 15
    assert judged(Observation("cpu", timing=timing)) == (Status.FAIL, VerdictCode.OUTSIDE_LIMIT)


@pytest.mark.parametrize(("slowdown", "status"), [(1.15, Status.FAIL), (1.25, Status.INCONCLUSIVE)])
def test_a_slow_machine_excuses_as_much_as_it_is_slow(slowdown, status):
    verdict = looks.judge(LIMIT, seen(6.0, slowdown=slowdown))
    assert verdict.status is status
    if status is Status.INCONCLUSIVE:
        assert verdict.code is VerdictCode.MACHINE_SLOW
        assert "the machine was 1.25 times slower than at other times of the run" in verdict.reason


def test_a_slow_machine_excuses_a_rate_but_no_ratio_to_what_ran_beside():
    rate = Limit("tflops", at_least(0.1))  # 1.2e9 FLOP in 15 ms are 0.08 TFLOP/s
    assert judged(seen(15.0, slowdown=1.3, flops=1_200_000_000), rate)[0] is Status.INCONCLUSIVE
    assert judged(seen(15.0, slowdown=1.2, flops=1_200_000_000), rate)[0] is Status.FAIL
    beside = replace(seen(6.0, slowdown=9.0), reference=seen(3.0))
    assert judged(beside, Limit("speedup", at_least(1.0))) == (Status.FAIL, VerdictCode.OUTSIDE_LIMIT)


def test_a_pair_is_left_out_if_either_was_disturbed():
    pair = replace(seen(3.0, {0: 30.0}), reference=seen(6.0, {1: 30.0, 2: 30.0}))
    assert np.flatnonzero(interference.disturbed_pairs(pair)).tolist() == [0, 1, 2]
    assert looks.judge(Limit("speedup", at_least(1.5)), pair).measured == 2.0


def test_looks_that_agree_fail():
    first = seen(6.0, process=1)
    verdict = looks.judge(LIMIT, replace(first, looks=(seen(6.5, process=1),)))
    assert verdict.status is Status.FAIL and verdict.reason.endswith("; confirmed by a second look")
    verdict = looks.judge(LIMIT, replace(first, looks=(seen(6.5, process=1), seen(5.5, process=2))))
    assert verdict.status is Status.FAIL and verdict.reason.endswith("; confirmed in 2 processes")


def test_looks_that_disagree_decide_nothing_and_state_both_numbers():
    first = seen(6.0, process=1)
    verdict = looks.judge(LIMIT, replace(first, looks=(seen(6.5, process=1), seen(4.0, process=2))))
    assert (verdict.status, verdict.code) == (Status.INCONCLUSIVE, VerdictCode.LOOKS_DISAGREE)
    assert verdict.reason.startswith("latency_ms is 6 ms, 20 % over the limit of 5 ms")
    assert verdict.reason.endswith("; but in a fresh process it was 4 ms, 20 % within the limit of 5 ms")


def test_looks_on_a_busy_or_slow_machine_say_nothing():
    busy = seen(4.0, dict.fromkeys(range(30), 30.0), spinning=True, process=1)
    slow = seen(6.0, slowdown=2.0, process=1)
    failing, passing = seen(6.0, process=1), seen(4.0, process=2)
    again = replace(failing, process=2)
    assert judged(replace(failing, looks=(busy, slow, again))) == (Status.FAIL, VerdictCode.OUTSIDE_LIMIT)
    alone = looks.judge(LIMIT, replace(failing, looks=(slow, busy)))  # one look is not enough while others are excused
    assert (alone.status, alone.code) == (Status.INCONCLUSIVE, VerdictCode.MACHINE_SLOW)
    assert "; but at another time of the same process latency_ms is 6 ms" in alone.reason
    assert judged(replace(busy, looks=(slow, failing, again)))[0] is Status.FAIL
    assert judged(replace(slow, looks=(busy, passing))) == (Status.PASS, VerdictCode.WITHIN_LIMIT)
    assert judged(replace(slow, looks=(busy,))) == (Status.INCONCLUSIVE, VerdictCode.MACHINE_SLOW)


def test_a_first_look_that_passes_is_not_doubted():
    assert judged(replace(seen(4.0), looks=(seen(9.0),))) == (Status.PASS, VerdictCode.WITHIN_LIMIT)
