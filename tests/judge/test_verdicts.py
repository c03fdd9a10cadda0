"""The verdicts of a whole case, from observations that a test makes up."""

from __future__ import annotations

from dataclasses import replace

import kineto_files as k
import numpy as np
import pytest
from torch import nn

from ttprof.codes import Kind, VerdictCode
from ttprof.judge import integrity, verdicts
from ttprof.judge.verdicts import Rounds
from ttprof.observation import Observation, Timing
from ttprof.spec import LAWS, CaseSpec, Limit, Scaling, SourceLine, Sweep
from ttprof.trace.formats import kineto
from ttprof.trial_key import Point
from ttprof.verdict import Status, Verdict


def case(**values) -> CaseSpec:
    return CaseSpec(name="x", module=nn.Identity(), path=None, source=SourceLine("f.py", 1), **values)


def timed(ms: float) -> Observation:
    ns = np.full(10, round(ms * 1e6), dtype=np.int64)
    return Observation("cpu", timing=Timing(ns, ns, ns, warmup=0, threads=1))


def verdict(status: Status) -> Verdict:
    return Verdict(kind=Kind.LIMIT, code=VerdictCode.WITHIN_LIMIT, expectation="e", status=status, reason="r")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["PASS", "SKIP"], "PASS"),
        (["PASS", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["FAIL", "INCONCLUSIVE", "PASS"], "FAIL"),
        (["FAIL", "ERROR"], "ERROR"),
        ([], "ERROR"),
    ],
)
def test_a_case_is_as_bad_as_its_worst_verdict(statuses, expected):
    assert verdicts.worst([verdict(Status(s)) for s in statuses]) is Status(expected)


def test_a_limit_is_judged_at_every_point_and_names_it():
    points = [(Point(seq_len=n), timed(n)) for n in (1, 2, 8)]
    found = verdicts.judge_limits(case(limits=(Limit("latency_ms", 4),)), points)
    assert [v.status for v in found] == [Status.PASS, Status.PASS, Status.FAIL]
    assert found[2].reason.startswith("at seq_len=8: latency_ms is 8 ms, 100 % over")


def test_scaling_is_judged_at_the_largest_size_of_the_other_axis():
    sweeps = (Sweep("seq_len", (1, 2, 4)), Sweep("batch_size", (1, 2)))
    spec = case(sweeps=sweeps, scaling=Scaling(LAWS["linear"], "seq_len", "latency_ms"))
    points = [(Point(seq_len=n, batch_size=b), timed(n * 3 if b == 2 else n**2)) for n in (1, 2, 4) for b in (1, 2)]
    fit, (found,) = verdicts.judge_scaling(spec, "cpu", Rounds.of(spec, points))
    assert found.status is Status.PASS
    assert fit is not None and fit.exponent == pytest.approx(1)


def test_a_scaling_that_was_not_measured_is_an_error():
    spec = case(sweeps=(Sweep("seq_len", (1, 2, 4)),), scaling=Scaling(LAWS["linear"], "seq_len", "kernel_time_ms"))
    rounds = Rounds.of(spec, [(Point(seq_len=n), timed(n)) for n in (1, 2, 4)])
    fit, (found,) = verdicts.judge_scaling(spec, "cpu", rounds)
    assert (fit, found.status) == (None, Status.ERROR)
    assert "CUDA" in found.reason


@pytest.fixture
def seen(tmp_path):
    def observe(events, recorded=2, device="cuda"):
        return Observation(device, trace=kineto.read(k.write(tmp_path / "t.json", events)), recorded=recorded)

    return observe


def test_a_whole_trace_is_complete(seen):
    assert integrity.judge(seen(k.two_iterations())) is None
    assert integrity.judge(Observation("cpu")) is None


def test_the_allocators_own_peak_is_a_cross_check(seen):
    observation = seen(k.two_iterations())
    assert integrity.notes(observation) == []
    assert integrity.notes(replace(observation, peak_added=np.array([9, 4000]))) == []
    (note,) = integrity.notes(replace(observation, peak_added=np.array([4000, 8000])))
    assert "peak at 3.91 KB, the allocator itself reports 7.81 KB" in note.text


def test_a_deleted_kernel_is_noticed(seen):
    found = integrity.judge(seen(k.two_iterations(lose_kernel=True)))
    assert found is not None and found.status is Status.ERROR
    assert "1 of 4 kernel launches have no kernel" in found.reason


def test_a_missing_iteration_is_noticed(seen):
    found = integrity.judge(seen(k.two_iterations(), recorded=5))
    assert found is not None and "2 of 5 recorded iterations" in found.reason


def test_a_device_trace_without_any_kernel_is_noticed(seen):
    events = [e for e in k.two_iterations() if e.get("cat") not in ("kernel", "cuda_runtime")]
    found = integrity.judge(seen(events))
    assert found is not None and "no kernel at all" in found.reason
    assert integrity.judge(seen(events, device="cpu")) is None


def test_a_call_that_waited_is_told_and_one_that_worked_is_not():
    def observed(wall_ms: float, cpu_ms: float, device: str = "cpu") -> list[str]:
        wall, cpu = (np.full(5, int(ms * 1e6)) for ms in (wall_ms, cpu_ms))
        return list(map(str, integrity.notes(Observation(device, timing=Timing(wall, wall, cpu, warmup=0, threads=1)))))

    assert observed(150, 1.5) == [
        "latency_ms is 100 times cpu_time_ms: other processes had the CPU, or the module waits for something"
    ]
    assert observed(1.9, 1) == observed(0.05, 0.01) == observed(150, 1.5, "cuda") == []
