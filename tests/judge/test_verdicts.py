"""The verdicts of a whole case, from hand-made observations."""

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
    judged = verdicts.judge_limits(case(limits=(Limit("latency_ms", 4),)).expected, points)
    assert [v.status for v in judged] == [Status.PASS, Status.PASS, Status.FAIL]
    assert judged[2].reason.startswith("at seq_len=8: latency_ms is 8 ms, 100 % over")


def test_scaling_is_judged_at_the_largest_size_of_the_other_axis():
    sweeps = (Sweep("seq_len", (1, 2, 4)), Sweep("batch_size", (1, 2)))
    spec = case(sweeps=sweeps, scaling=Scaling(LAWS["linear"], "seq_len", "latency_ms"))
    points = [(Point(seq_len=n, batch_size=b), timed(n * 3 if b == 2 else n**2)) for n in (1, 2, 4) for b in (1, 2)]
    fit, (scaling,) = verdicts.judge_scaling(spec.expected, "cpu", Rounds.of(spec.expected, points))
    assert scaling.status is Status.PASS
    assert fit is not None and fit.exponent == pytest.approx(1)


def test_a_scaling_that_was_not_measured_is_an_error():
    spec = case(sweeps=(Sweep("seq_len", (1, 2, 4)),), scaling=Scaling(LAWS["linear"], "seq_len", "kernel_time_ms"))
    rounds = Rounds.of(spec.expected, [(Point(seq_len=n), timed(n)) for n in (1, 2, 4)])
    fit, (scaling,) = verdicts.judge_scaling(spec.expected, "cpu", rounds)
    assert (fit, scaling.status) == (None, Status.ERROR)
    assert scaling.reason.startswith(
        "the scaling of kernel_time_ms was not measured: no kernel_time_ms at 1, it needs "
    )
    assert "CUDA" in scaling.reason


@pytest.fixture
def observe(tmp_path):
    def observed(events, recorded=2, device="cuda"):
        return Observation(device, trace=kineto.read(k.write(tmp_path / "t.json", events)), recorded=recorded)

    return observed


def test_a_whole_trace_is_complete(observe):
    assert integrity.judge(observe(k.two_iterations())) is None
    assert integrity.judge(Observation("cpu")) is None


def test_a_peak_that_the_allocator_contradicts_is_noted(observe):
    observation = observe(k.two_iterations())
    assert integrity.notes(observation) == []
    assert integrity.notes(replace(observation, peak_added=np.array([9, 4000]))) == []
    (note,) = integrity.notes(replace(observation, peak_added=np.array([4000, 8000])))
    assert "peak at 3.91 KiB, but the allocator reports 7.81 KiB" in note.text


def test_a_missing_kernel_is_an_error(observe):
    problem = integrity.judge(observe(k.two_iterations(lose_kernel=True)))
    assert problem is not None and problem.status is Status.ERROR
    assert "1 of 4 kernel launches have no kernel" in problem.reason


def test_a_missing_iteration_is_an_error(observe):
    problem = integrity.judge(observe(k.two_iterations(), recorded=5))
    assert problem is not None and "2 of 5 recorded iterations" in problem.reason


def test_a_device_trace_without_kernels_is_an_error(observe):
    events = [e for e in k.two_iterations() if e.get("cat") not in ("kernel", "cuda_runtime")]
    problem = integrity.judge(observe(events))
    assert problem is not None and "contains no kernels, although ttprof launched some on cuda" in problem.reason
    assert integrity.judge(observe(events, device="cpu")) is None


def test_a_call_that_waited_is_noted_and_one_that_worked_is_not():
    def notes(wall_ms: float, cpu_ms: float, device: str = "cpu") -> list[str]:
        wall, cpu = (np.full(5, int(ms * 1e6)) for ms in (wall_ms, cpu_ms))
        return list(map(str, integrity.notes(Observation(device, timing=Timing(wall, wall, cpu, warmup=0, threads=1)))))

    assert notes(150, 1.5) == [
        "latency_ms is 100 times cpu_time_ms: other processes used the CPU, or the module waits (I/O, locks, sleep)"
    ]
    assert notes(1.9, 1) == notes(0.05, 0.01) == notes(150, 1.5, "cuda") == []
