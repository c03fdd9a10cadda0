"""Limits at, just under and just over the bound, and the reasons of their verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttprof.bounds import at_least, at_most, exactly, within
from ttprof.judge import limits, looks
from ttprof.observation import NumericError, Observation, Timing
from ttprof.spec import Limit
from ttprof.verdict import Status


def timed(*ms: float) -> Observation:
    ns = np.array([round(x * 1e6) for x in ms], dtype=np.int64)
    return Observation("cpu", timing=Timing(ns, ns, ns, warmup=0, threads=1))


def test_well_inside_and_well_outside():
    o = timed(*[5.0, 5.1, 4.9] * 10)
    assert looks.judge(Limit("latency_ms", 6), o).status is Status.PASS
    assert looks.judge(Limit("latency_ms", 4), o).status is Status.FAIL


def test_samples_on_both_sides_are_inconclusive():
    verdict = looks.judge(Limit("latency_ms", 5), timed(*[4, 6] * 15))
    assert verdict.status is Status.INCONCLUSIVE
    assert looks.undecided([Limit("latency_ms", 5)], timed(*[4, 6] * 15))
    assert verdict.reason == (
        "can't tell whether latency_ms <= 5 ms: it is 5 ms, but the 95 % bounds 4 … 6 ms of 30 iterations lie on both "
        "sides of the limit; more iterations may decide it"
    )


@pytest.mark.parametrize(("bound", "status"), [(5, Status.PASS), (4.999, Status.FAIL), (5.001, Status.PASS)])
def test_at_just_under_and_just_over(bound, status):
    assert looks.judge(Limit("latency_ms", bound), timed(*[5.0] * 10)).status is status


def test_a_single_iteration_decides_nothing():
    verdict = looks.judge(Limit("latency_ms", 5), timed(1.0))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason == (
        "can't tell whether latency_ms <= 5 ms: 1 ms in a single iteration has no confidence interval; time more"
    )


@pytest.mark.parametrize(("bound", "status"), [(0.99, Status.PASS), (0.999, Status.PASS), (0.9991, Status.FAIL)])
def test_exact_metrics_compare_exactly_in_their_direction(bound, status):
    error = NumericError(rel=0.1, max=0.1, pcc=0.999, worst=None, reference="")
    assert looks.judge(Limit("pcc", bound), Observation("cpu", numerics=error)).status is status


def test_an_unmeasured_metric_is_an_error_that_says_what_it_needs():
    verdict = looks.judge(Limit("kernel_time_ms", 5), timed(1.0))
    assert verdict.status is Status.ERROR
    assert verdict.reason == (
        "kernel_time_ms was not measured on cpu: it needs kernels in the trace, "
        "which torch.profiler records on CUDA, ROCm and XPU devices"
    )


def test_the_reason_states_the_distance_from_the_limit_and_the_interval():
    reason = looks.judge(Limit("latency_ms", 5), timed(*[6.0] * 5)).reason
    assert reason == "latency_ms is 6 ms, 20 % over the limit of 5 ms (95 % bounds 6 … 6 ms, 5 iterations)"
    assert "200 times the limit of 0.03 ms" in looks.judge(Limit("latency_ms", 0.03), timed(*[6.0] * 5)).reason
    assert looks.judge(Limit("latency_ms", 0), timed(*[6.0] * 5)).status is Status.FAIL


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=40))
def test_the_interval_contains_the_median_and_is_within_the_samples(samples):
    low, high = limits.bootstrap_interval(samples, np.median)
    assert min(samples) <= low <= high <= max(samples)


def test_the_interval_has_the_coverage_it_claims():
    rng = np.random.default_rng(7)
    above = sum(limits.bootstrap_interval(rng.exponential(size=60), np.median)[1] < np.log(2) for _ in range(300))
    below = sum(limits.bootstrap_interval(rng.exponential(size=60), np.median)[0] > np.log(2) for _ in range(300))
    assert above / 300 < 0.1 and below / 300 < 0.1


@pytest.mark.parametrize(
    ("bound", "status", "phrase"),
    [
        (at_most(5), Status.PASS, "latency_ms <= 5 ms"),
        (at_most(4.999), Status.FAIL, "latency_ms <= 5 ms"),
        (at_least(5), Status.PASS, "latency_ms >= 5 ms"),
        (at_least(5.001), Status.FAIL, "latency_ms >= 5 ms"),
        (within(4, "25%"), Status.PASS, "latency_ms within 3 … 5 ms"),
        (within(4, "24%"), Status.FAIL, "latency_ms within 3.04 … 4.96 ms"),
        (within(6, 1), Status.PASS, "latency_ms within 5 … 7 ms"),
    ],
)
def test_bounds_with_a_direction(bound, status, phrase):
    verdict = looks.judge(Limit("latency_ms", bound), timed(*[5.0] * 10))
    assert (verdict.status, verdict.expectation) == (status, phrase)


def test_a_range_is_undecided_while_an_end_is_in_the_interval():
    samples = timed(*[4, 6] * 15)
    assert looks.judge(Limit("latency_ms", within(5, 2)), samples).status is Status.PASS
    assert looks.judge(Limit("latency_ms", within(5, 0.5)), samples).status is Status.INCONCLUSIVE


def test_exact_limits_name_the_expected_value():
    o = Observation("cpu", flops=1000)
    assert looks.judge(Limit("flops", exactly(1000)), o).reason == "flops is 1,000 FLOP, as expected"
    other = looks.judge(Limit("flops", exactly(999)), o)
    assert (other.status, other.reason) == (Status.FAIL, "flops is 1,000 FLOP, expected 999 FLOP")
