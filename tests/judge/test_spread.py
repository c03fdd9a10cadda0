"""Changes that the spread between the processes of a baseline explains, and changes that it does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from machines import MACHINE
from results import case, measured, suite, trial

from ttprof import baseline, pooling
from ttprof.baseline import Stored
from ttprof.codes import VerdictCode
from ttprof.judge import metric_change, spread
from ttprof.judge.baselines import BaselineJudge
from ttprof.machine import MachineUse
from ttprof.measurement import LaterTiming, Measurement
from ttprof.result import CaseResult
from ttprof.trial_key import Point, TrialKey
from ttprof.verdict import Status

KEY = TrialKey("ffn", Point())


def stored(values: list[float], better: str = "lower", statistic: str = "median") -> Stored:
    value = float(np.median(values)) if statistic == "median" else max(values)
    return Stored(name="latency_ms", unit="ms", better=better, statistic=statistic, value=value, values=values)


def latency(ms: float, seed: int = 7) -> Measurement:
    samples = np.rint(1e6 * ms * (1 + 0.01 * np.random.default_rng(seed).standard_normal(30))).tolist()
    return measured("latency_ms", float(np.median(samples)) / 1e6, samples=samples, timed="wall")


def of(ms: float, *looks: tuple[float, int], **fields) -> CaseResult:
    later = [LaterTiming(machine=MachineUse(process=p), measurements=[latency(at)]) for at, p in looks]
    return case("ffn", Status.PASS, trial(latency(ms), machine=MachineUse(process=1), looks=later, **fields))


def recorded(*values: float) -> baseline.Baseline:
    return pooling.pooled([baseline.of(suite(of(ms), environment=MACHINE)) for ms in values])


def verdict(base: baseline.Baseline, now: CaseResult):
    (added,) = BaselineJudge(base, MACHINE).judge(now).verdicts
    return added


def test_the_prediction_interval_of_a_run_of_one_process():
    # logs 0, 0.1 and 0.2: mean 0.1, standard deviation 0.1; t(0.99, 2) = 6.964557, so 0.1 * 6.964557 * sqrt(4/3)
    base = stored([1.0, math.exp(0.1), math.exp(0.2)])
    between = spread.between(base, [stored([math.exp(0.5)])])
    assert between is not None and between.processes == 3
    assert math.log(between.ratio) == pytest.approx(0.4)
    assert math.log(between.explained) == pytest.approx(0.8041977, rel=1e-5)
    assert between.explains
    assert spread.told_from(base.values) == pytest.approx(between.explained)


def test_several_new_processes_add_to_what_is_known_of_the_spread():
    # deviations 0.02 + 0.02 over 2 + 2 degrees of freedom: 0.1; t(0.99, 4) = 3.746947, times 0.1 * sqrt(2/3)
    between = spread.between(
        stored([1.0, math.exp(0.1), math.exp(0.2)]), [stored([2.0, 2 * math.exp(0.1), 2 * math.exp(0.2)])]
    )
    assert between is not None and math.log(between.explained) == pytest.approx(0.3059370, rel=1e-5)
    assert not between.explains


def test_two_processes_and_values_of_zero_have_no_spread():
    assert spread.between(stored([1.0, 1.1]), [stored([2.0])]) is None
    assert spread.told_from([1.0, 1.1]) is None
    assert spread.between(stored([0.0, 1.0, 1.1]), [stored([2.0])]) is None


@pytest.mark.parametrize(
    ("new", "better", "apart"),
    [
        ([1.4, 1.38], "lower", True),  # the spread alone explains up to +45 %
        ([1.4], "lower", False),  # one process may be such a slow one
        ([1.4, 1.3], "lower", False),
        ([0.6, 0.62], "lower", False),
        ([0.9, 0.92], "higher", True),
        ([0.9, 0.97], "higher", False),
    ],
)
def test_several_processes_beyond_the_slowest_of_the_baseline_are_told_from_it(new, better, apart):
    base = [1.0, 1.3, 1.0, 0.99]
    found = spread.between(stored(base, better), [stored(new, better)])
    assert found is not None and found.apart is apart
    if apart and better == "lower":
        assert found.ratio < found.explained and not found.explains


def test_a_rate_becomes_worse_when_it_falls():
    between = spread.between(stored([10.0, 11.0, 12.0], better="higher"), [stored([5.0])])
    assert between is not None and between.ratio > 2


def test_a_regression_has_to_exceed_the_spread():
    quiet, wild = recorded(3.0, 3.01, 2.99, 3.005, 3.02), recorded(2.4, 3.6, 3.0, 2.7, 3.3)
    assert verdict(quiet, of(3.6)).status is Status.FAIL
    undecided = verdict(wild, of(4.2))
    assert (undecided.status, undecided.code) == (Status.INCONCLUSIVE, VerdictCode.WITHIN_SPREAD)
    assert "; the 5 processes of the baseline differ so much that only more than +" in undecided.reason
    assert verdict(wild, of(9.0)).status is Status.FAIL


def test_looks_within_the_spread_are_judged_together():
    wild = recorded(2.4, 3.6, 3.0, 2.7, 3.3)
    both = verdict(wild, of(3.5, (4.6, 2)))
    assert (both.status, both.code) == (Status.INCONCLUSIVE, VerdictCode.WITHIN_SPREAD)
    assert both.reason.startswith("latency_ms +34 % (2.99 → 4 ms, mean of 2 processes); the 5 processes")
    assert verdict(wild, of(4.2, (4.6, 2))).status is Status.FAIL  # slower than every process of the baseline
    mixed = verdict(wild, of(4.2, (2.3, 2)))
    assert (mixed.status, mixed.code) == (Status.PASS, VerdictCode.NOT_WORSE)
    above = verdict(wild, of(4.2, (3.1, 2)))
    assert (above.status, above.code) == (Status.INCONCLUSIVE, VerdictCode.LOOKS_DISAGREE)
    assert verdict(wild, of(9.0, (9.0, 2))).reason.endswith("confirmed in 2 processes)")


@pytest.mark.parametrize(
    ("now", "change", "reason"),
    [
        (12.0, "same", "latency_ms 12 ms, within the 10 to 13 ms of the baseline"),
        (14.0, "regression", "latency_ms +7.7 % (13 → 14 ms)"),
        (9.0, "win", "latency_ms -31 % (13 → 9 ms)"),
    ],
)
def test_an_exact_metric_that_varies_between_processes(now, change, reason):
    row = metric_change.compare_metric(
        KEY, stored([10.0, 13.0, 11.0], statistic="max"), stored([now], statistic="max"), 0.0
    )
    assert (row.change, row.reason) == (change, reason)


@pytest.mark.parametrize(("now", "change"), [(102.0, "same"), (102.1, "regression")])
def test_an_exact_metric_with_a_threshold(now, change):
    base, new = (stored([value], statistic="max") for value in (100.0, now))
    assert metric_change.compare_metric(KEY, base, new, 0.02).change == change


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        (33_554_432.0, 41_943_040.0, "latency_ms +25 %"),
        (33_554_432.0, 33_554_433.0, "latency_ms 33,554,432 → 33,554,433 ms"),
        (3.0, 4.0, "latency_ms +33 % (3 → 4 ms)"),
    ],
)
def test_a_long_number_is_left_out_unless_only_it_shows_the_change(before, now, text):
    base, new = (stored([value], statistic="max") for value in (before, now))
    assert metric_change.changed(base, new) == text
