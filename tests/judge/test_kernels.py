"""Kernel budgets on hand-written iterations: two, each with a gemm of 10 µs and a softmax of 20 µs."""

from __future__ import annotations

import kineto_files as k
import pytest

from ttprof.bounds import Bound, at_least, at_most, exactly
from ttprof.judge import kernels
from ttprof.observation import Observation
from ttprof.spec import KernelBudget
from ttprof.trace.formats import kineto
from ttprof.verdict import Status


@pytest.fixture
def observe(tmp_path):
    def observed(events, device="cuda", recorded=2):
        trace = kineto.read(k.write(tmp_path / "t.json", events))
        return Observation(device, trace=trace, recorded=recorded)

    return observed


@pytest.mark.parametrize(
    ("pattern", "time_ms", "count", "statuses"),
    [
        ("*GEMM*", at_most(0.010), exactly(1), [Status.PASS, Status.PASS]),
        ("*gemm*", at_most(0.0099), exactly(2), [Status.FAIL, Status.FAIL]),
        ("*", at_most(0.030), at_most(2), [Status.PASS, Status.PASS]),
        ("*", at_most(0.029), at_most(1), [Status.FAIL, Status.FAIL]),
        ("softmax", None, at_least(2), [Status.FAIL]),
        ("softmax", Bound(0.019, 0.021), None, [Status.PASS]),
    ],
)
def test_budgets_at_just_under_and_just_over(observe, pattern, time_ms, count, statuses):
    verdicts = kernels.judge(KernelBudget(pattern, time_ms, count), observe(k.two_iterations()))
    assert [verdict.status for verdict in verdicts] == statuses


def test_a_time_on_both_sides_of_its_budget_says_first_that_it_is_undecided(observe):
    more = [*k.two_iterations(), k.launch(150, 99), k.kernel("gemm", 160, 5, 99)]  # 10 µs, then 15 µs
    (verdict,) = kernels.judge(KernelBudget("gemm", at_most(0.012)), observe(more))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason.startswith("can't tell whether kernels gemm time <= 0.012 ms: it is 0.0125 ms, but")


def test_one_iteration_with_too_many_kernels_fails(observe):
    more = [*k.two_iterations(), k.launch(150, 99), k.kernel("gemm", 160, 5, 99)]
    (verdict,) = kernels.judge(KernelBudget("gemm", count=exactly(1)), observe(more))
    assert (verdict.status, verdict.measured) == (Status.FAIL, 2)
    assert verdict.reason == "kernels gemm count is 2 per iteration, expected 1"


def test_a_glob_that_matches_no_kernel_is_an_error_that_names_some(observe):
    (verdict,) = kernels.judge(KernelBudget("*conv*", at_most(1)), observe(k.two_iterations()))
    assert verdict.status is Status.ERROR
    assert "no kernel in any iteration matches '*conv*'; the longest are softmax, gemm" in verdict.reason


def test_kernels_outside_iterations_match_nothing(observe):
    canary = [k.launch(300, 77), k.kernel("canary", 310, 5, 77)]
    (verdict,) = kernels.judge(KernelBudget("canary", at_most(1)), observe([*k.two_iterations(), *canary]))
    assert verdict.status is Status.ERROR


@pytest.mark.parametrize(
    ("events", "device"), [(k.two_iterations(), "cpu"), (k.two_iterations(lose_kernel=True), "cuda")]
)
def test_without_a_complete_device_trace_a_budget_is_an_error(observe, events, device):
    (verdict,) = kernels.judge(KernelBudget("*", at_most(1)), observe(events, device))
    assert verdict.status is Status.ERROR
    assert "no kernels were measured" in verdict.reason
