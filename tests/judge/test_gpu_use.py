"""What a slow, throttled or shared GPU explains of a time that would fail, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from machines import MACHINE
from results import case, measured, suite, trial

from ttprof import baseline
from ttprof.bounds import at_least
from ttprof.codes import NoteCode, VerdictCode
from ttprof.engine import looking
from ttprof.judge import gpu_use, looks
from ttprof.judge.baselines import BaselineJudge
from ttprof.machine import ClockRange, GpuUse, MachineUse
from ttprof.observation import Interference, Observation, Timing
from ttprof.spec import Limit
from ttprof.system.nvml import Throttle
from ttprof.verdict import Status

SLOWED = (Status.INCONCLUSIVE, VerdictCode.GPU_SLOWED)
FAILED = (Status.FAIL, VerdictCode.OUTSIDE_LIMIT)


def gpu(mhz: float = 1800, lowest: float | None = None, run: float = 1800, **fields) -> GpuUse:
    sm = ClockRange(lowest=lowest or mhz, median=mhz, highest=max(mhz, run))
    return GpuUse(**{"sm": sm, "run_sm_mhz": run, "max_sm_mhz": 1980, "throttled": [], "others": 0.0, **fields})


def seen(ms: float, use: GpuUse | None) -> Observation:
    ns = np.full(30, round(ms * 1e6))
    return Observation("cuda", timing=Timing(ns, ns, ns, warmup=0, threads=1, gpu=use), flops=10**9)


def judged(ms: float, use: GpuUse | None, limit: Limit | None = None) -> tuple[Status, VerdictCode]:
    verdict = looks.judge(limit or Limit("latency_ms", 5.0), seen(ms, use))
    return verdict.status, verdict.code


@pytest.mark.parametrize(
    ("ms", "use", "expected"),
    [
        (5.4, None, FAILED),
        (5.4, gpu(), FAILED),
        (5.4, gpu(1620), SLOWED),  # 10 % below the rest of the run: up to 5.56 ms
        (8.0, gpu(1620), FAILED),  # which is no excuse for +60 %
        (5.1, gpu(1750), FAILED),  # clocks vary by 3 % on their own
        (5.4, gpu(throttled=[Throttle.POWER_CAP, Throttle.IDLE, Throttle.APPLICATION_CLOCKS]), FAILED),
        (5.4, gpu(throttled=[Throttle.HEAT]), SLOWED),  # the whole run was hot: up to 1980 / 1800
        (5.6, gpu(throttled=[Throttle.HEAT]), FAILED),
        (5.4, gpu(throttled=[Throttle.POWER_BRAKE], max_sm_mhz=None), FAILED),
        (9.9, gpu(900, throttled=[Throttle.HARDWARE]), SLOWED),
        (6.0, gpu(others=0.25), SLOWED),  # up to 6.67 ms
        (7.0, gpu(others=0.25), FAILED),
        (10.0, gpu(others=0.01), FAILED),
        (5.1, gpu(others=None, other_processes=3), FAILED),
        (7.0, gpu(1620, others=0.25), SLOWED),  # both: up to 7.41 ms
        (5.4, GpuUse(missing="no driver"), FAILED),
        (5.4, gpu(sm=ClockRange(lowest=0, median=0, highest=0)), FAILED),
        (200.0, gpu(others=1.0), FAILED),
        (6000.0, gpu(1e-300, run=1e300), FAILED),
    ],
)
def test_a_time_over_its_limit_is_open_only_if_the_gpu_explains_the_excess(ms, use, expected):
    assert judged(ms, use) == expected


def test_a_time_within_its_limit_passes_on_the_slowest_gpu():
    assert judged(4.9, gpu(900, throttled=[Throttle.HEAT], others=0.9)) == (Status.PASS, VerdictCode.WITHIN_LIMIT)


def test_a_tail_is_explained_by_the_lowest_clock_and_a_median_is_not():
    dipped = gpu(1800, lowest=900)
    assert judged(6.0, dipped) == FAILED
    assert judged(6.0, dipped, Limit("latency_p90_ms", 5.0)) == SLOWED


def test_a_rate_that_is_too_low_is_explained_likewise():
    assert judged(5.4, gpu(1620), Limit("tflops", at_least(0.2))) == SLOWED  # 0.185 TFLOP/s of 0.2
    assert judged(8.0, gpu(1620), Limit("tflops", at_least(0.2))) == FAILED


def test_a_pair_is_not_excused_because_both_sides_ran_on_the_same_gpu():
    fast, slow = seen(4.0, gpu(900)), seen(5.0, gpu(900))
    verdict = looks.judge(Limit("speedup", 1.0), replace(slow, reference=fast))
    assert (verdict.status, verdict.code) == FAILED


def test_the_reason_states_what_was_read():
    hot = gpu(1200, throttled=[Throttle.HEAT, Throttle.POWER_BRAKE], temperature_c=91, others=0.3)
    reason = looks.judge(Limit("latency_ms", 5.0), seen(6.0, hot)).reason
    assert reason.endswith(
        "; but the GPU's clock was 1200 MHz, and 1980 MHz is the highest it can have, the GPU was slowed by heat, "
        "power brake at 91 °C, other processes used 30 % of the GPU"
    )


def test_a_look_at_a_quiet_gpu_decides_and_a_slowed_one_asks_for_it():
    first = replace(seen(5.4, gpu(1620)), looks=(seen(5.4, gpu()),))
    assert looks.judge(Limit("latency_ms", 5.0), first).status is Status.FAIL
    assert looks.judge(Limit("latency_ms", 5.0), replace(first, looks=(seen(4.8, gpu()),))).status is Status.PASS
    assert VerdictCode.GPU_SLOWED in looking.DOUBTED


def test_a_time_that_fails_by_far_on_a_busy_cpu_is_open_too_if_the_gpu_explains_it():
    zeros = np.zeros(30, dtype=np.int64)

    def busy(use: GpuUse) -> Observation:
        observation = seen(12.0, use)
        waits = zeros + 300_000  # ns: 2.5 %
        what = Interference(process_ns=zeros, switches=zeros, faults=zeros, waited_ns=waits, others=1.0, stolen=0.0)
        return replace(observation, timing=replace(observation.timing, interference=what))

    assert looks.judge(Limit("latency_ms", 5.0), busy(gpu())).status is Status.FAIL
    assert looks.judge(Limit("latency_ms", 5.0), busy(gpu(600))).code is VerdictCode.GPU_SLOWED


def test_notes_on_conditions():
    def text(use: GpuUse | None) -> list[tuple[NoteCode, str]]:
        return [(note.code, note.text) for note in gpu_use.notes(seen(1.0, use).timing)]

    assert text(None) == text(gpu()) == text(gpu(throttled=[Throttle.POWER_CAP])) == []
    slow = "while it was timed, the GPU's clock was 1200 MHz, and 1800 MHz is the highest it had in this run"
    assert text(gpu(1200)) == [(NoteCode.GPU_CONDITIONS, slow)]
    ((_, unknown),) = text(gpu(others=None, other_processes=2))
    assert unknown == "while it was timed, 2 other processes have work on the GPU, and how much is not known"


def regression(ms: float, use: GpuUse | None):
    def of(value: float, machine: MachineUse):
        samples = np.rint(1e6 * value * (1 + 0.01 * np.random.default_rng(7).standard_normal(30))).tolist()
        latency = measured("latency_ms", float(np.median(samples)) / 1e6, samples=samples, timed="wall")
        return case("ffn", Status.PASS, trial(latency, machine=machine, iterations=30))

    before = baseline.of(suite(of(3.0, MachineUse()), environment=MACHINE))
    (added,) = BaselineJudge(before, MACHINE).judge(of(ms, MachineUse(gpu=use))).verdicts
    return added


def test_a_regression_is_open_only_if_the_gpu_explains_it():
    assert regression(4.0, gpu()).code is VerdictCode.REGRESSED
    assert regression(4.0, gpu(1620)).code is VerdictCode.REGRESSED
    slowed = regression(4.0, gpu(1300))
    assert (slowed.status, slowed.code) == SLOWED and "the GPU's clock was 1300 MHz" in slowed.reason
    assert regression(3.0, gpu(1300)).code is VerdictCode.NOT_WORSE
