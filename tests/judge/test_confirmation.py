"""Regressions of times that a busy or slow machine, or chance, might have made."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from machines import MACHINE
from results import case, measured, suite, trial

from ttprof import baseline
from ttprof.codes import VerdictCode
from ttprof.judge import metric_change, regression
from ttprof.judge.baselines import BaselineJudge
from ttprof.machine import MachineUse
from ttprof.measurement import LaterTiming
from ttprof.result import CaseResult, Measurement
from ttprof.verdict import Status


def latency(ms: float, waits: int = 0) -> Measurement:
    """Thirty samples around *ms*, the first *waits* of them ten times as long."""
    samples = 1e6 * ms * (1 + 0.01 * np.random.default_rng(7).standard_normal(30))
    samples[:waits] *= 10
    rounded = np.rint(samples).tolist()
    return measured("latency_ms", float(np.median(rounded)) / 1e6, samples=rounded, timed="wall")


def of(measurement: Measurement, *looks: LaterTiming, **machine) -> CaseResult:
    one = trial(measurement, machine=MachineUse(process=1, **machine), looks=list(looks), iterations=30)
    return case("ffn", Status.PASS, one)


def look(*measurements: Measurement, **machine) -> LaterTiming:
    return LaterTiming(machine=MachineUse(**{"process": 1, **machine}), measurements=list(measurements))


def verdict(now: CaseResult):
    before = suite(of(latency(3.0), yardstick={"loop": 100.0}), environment=MACHINE)
    judge = BaselineJudge(baseline.of(before), MACHINE)
    (added,) = judge.judge(now).verdicts
    return added


def test_a_regression_stands_if_every_look_regressed():
    assert verdict(of(latency(4.0))).status is Status.FAIL
    added = verdict(of(latency(4.0), look(latency(4.1)), look(latency(3.9), process=2)))
    assert added.status is Status.FAIL and added.reason == "latency_ms +33 % (2.99 → 3.99 ms, confirmed in 2 processes)"
    assert verdict(of(latency(4.0), look(latency(4.1)))).reason.endswith(", confirmed by a second look)")


def test_a_look_that_did_not_regress_leaves_it_open():
    added = verdict(of(latency(4.0), look(latency(4.1)), look(latency(3.0), process=2)))
    assert (added.status, added.code) == (Status.INCONCLUSIVE, VerdictCode.LOOKS_DISAGREE)
    assert added.reason.endswith("; but in a fresh process latency_ms +0.0 % (2.99 ms)")


def test_what_disturbed_iterations_waited_is_not_compared():
    waits = {"disturbed": list(range(16)), "own": [0.1] * 16, "waited": [0.9] * 16}
    assert verdict(of(latency(3.0, waits=16), **waits)).status is Status.PASS


def test_a_regression_that_only_disturbed_iterations_show_is_left_open():
    added = verdict(of(latency(4.0), disturbed=list(range(25)), own=[1.0] * 25, waited=[1.0] * 25))
    assert (added.status, added.code) == (Status.INCONCLUSIVE, VerdictCode.MACHINE_BUSY)
    assert "other processes had the CPU in or around 25 of 30 iterations" in added.reason
    spinning = {"disturbed": list(range(20)), "own": [1.0] * 20, "waited": [1.0] * 20}
    assert verdict(of(latency(4.0), **spinning)).status is Status.FAIL


@pytest.mark.parametrize(("slowdown", "status"), [(1.3, "INCONCLUSIVE"), (1.2, "FAIL")])
def test_a_machine_slower_than_at_other_times_of_the_run(slowdown, status):
    assert verdict(of(latency(4.0), slowdown=slowdown)).status == status


@pytest.mark.parametrize(("threshold", "status"), [(0.3, "FAIL"), (0.36, "PASS")])
def test_the_threshold_of_the_run_decides(threshold, status):
    before = suite(of(latency(3.0)), environment=MACHINE)
    judge = BaselineJudge(baseline.of(before), MACHINE, threshold)
    assert judge.judge(of(latency(4.0), look(latency(4.0)))).verdicts[0].status == status


@pytest.mark.parametrize(("loop", "status"), [(130.0, "INCONCLUSIVE"), (110.0, "FAIL"), (50.0, "FAIL")])
def test_a_machine_slower_than_at_the_baseline(loop, status):
    added = verdict(of(latency(4.0), slowdown=2.0, yardstick={"loop": loop}))
    assert added.status == status
    if status == "INCONCLUSIVE":
        assert added.code is VerdictCode.MACHINE_SLOW and "1.3 times slower than when" in added.reason


def test_a_single_look_is_not_enough_while_the_machine_excuses_another():
    busy = look(latency(4.1), disturbed=list(range(25)))
    added = verdict(of(latency(4.0), busy))
    assert (added.status, added.code) == (Status.INCONCLUSIVE, VerdictCode.MACHINE_BUSY)
    assert added.reason.startswith("latency_ms +33 % (2.99 → 3.99 ms); at another time of the same process latency_ms")
    assert verdict(of(latency(4.0), busy, look(latency(4.1), process=2))).status is Status.FAIL


FAST = {"python": 100.0, "matmul": 100.0, "copy": 100.0}
SLOW = {"python": 160.0, "matmul": 125.0, "copy": 100.0}


@pytest.mark.parametrize(
    ("then", "now", "ms", "code"),
    [
        (SLOW, FAST, 2.6, VerdictCode.BASELINE_SLOW),  # +7 %, hidden by a machine that is 1.25 times faster now
        (SLOW, FAST, 2.4, VerdictCode.NOT_WORSE),  # as much faster as the machine
        (SLOW, SLOW, 3.0, VerdictCode.NOT_WORSE),
        (FAST | {"python": 300.0}, FAST, 2.9, VerdictCode.NOT_WORSE),  # one part alone
    ],
)
def test_a_slow_machine_of_the_baseline_may_hide_a_regression(then, now, ms, code):
    base = baseline.of(suite(of(latency(3.0), yardstick=then), environment=MACHINE))
    (added,) = BaselineJudge(base, MACHINE).judge(of(latency(ms), yardstick=now)).verdicts
    assert added.code is code
    if code is VerdictCode.BASELINE_SLOW:
        assert added.status is Status.INCONCLUSIVE
        assert added.reason.endswith("1.25 times slower when the baseline was recorded, which may hide a regression")


def test_a_regression_without_later_looks_is_compared_once(monkeypatch):
    compared, compare_metric = [], metric_change.compare_metric

    def counting(key, base, new, threshold):
        compared.append(base.name)
        return compare_metric(key, base, new, threshold)

    for module in (regression, metric_change):
        monkeypatch.setattr(module, "compare_metric", counting)
    assert verdict(of(latency(4.0))).status is Status.FAIL
    assert compared == ["latency_ms"]


def test_a_look_with_too_few_samples_to_tell_is_not_a_contrary_one():
    short = latency(3.2)
    few = msgspec.structs.replace(short, samples=short.samples[:5])
    assert verdict(of(latency(4.0), look(few), look(latency(4.1), process=2))).status is Status.FAIL


def with_cpu_time(wall: float, cpu: float) -> list[Measurement]:
    return [latency(wall), measured("cpu_time_ms", latency(cpu).value, samples=latency(cpu).samples, timed="cpu")]


def test_a_later_wall_time_counts_only_with_the_cpu_time():
    before = trial(*with_cpu_time(3.0, 3.0), machine=MachineUse(process=1), iterations=30)
    base = baseline.of(suite(case("ffn", Status.PASS, before), environment=MACHINE))
    now = msgspec.structs.replace(
        before,
        measurements=with_cpu_time(4.0, 4.0),
        looks=[look(*with_cpu_time(4.0, 3.0)), look(*with_cpu_time(3.0, 3.0), process=2)],
    )
    judged = BaselineJudge(base, MACHINE).judge(case("ffn", Status.PASS, now))
    wall = next(v for v in judged.verdicts if v.metric == "latency_ms")
    assert wall.code is VerdictCode.LOOKS_DISAGREE and "; but in a fresh process latency_ms +0.0 %" in wall.reason
