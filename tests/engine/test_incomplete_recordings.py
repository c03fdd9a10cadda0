"""A case whose recording lost kernels, iterations or its end is an ERROR and keeps its timings."""

from __future__ import annotations

from dataclasses import replace

import kineto_files as k
from fakes import FakeCollector
from single_case import run_registered

from ttprof.engine import backends


def record_with(collector, monkeypatch) -> None:
    """Make *collector* the collector of the torch backend."""
    row = replace(backends.BACKENDS["torch"], collector=lambda run: collector)
    monkeypatch.setitem(backends.BACKENDS, "torch", row)


def test_a_lost_kernel_is_an_error(model, monkeypatch):
    whole, lost = k.two_iterations(), k.two_iterations(lose_kernel=True)

    def check(suite):
        suite.test("ffn").profile(0, 2)

    record_with(FakeCollector(whole, recorded=2), monkeypatch)
    assert run_registered(model, check).status == "PASS"
    record_with(FakeCollector(lost, recorded=2), monkeypatch)
    broken = run_registered(model, check)
    assert broken.status == "ERROR"
    assert "1 of 4 kernel launches have no kernel" in broken.errors[0]


def test_a_missing_iteration_is_an_error(model, monkeypatch):
    record_with(FakeCollector(k.two_iterations()[:11], recorded=2), monkeypatch)
    broken = run_registered(model, lambda suite: suite.test("ffn").profile(0, 2))
    assert broken.status == "ERROR"
    assert "the trace contains 1 of 2 recorded iterations" in broken.errors[0]


def test_a_truncated_recording_keeps_the_timings(model, monkeypatch):
    class Truncating(FakeCollector):
        def record(self, workload, schedule, path):
            recording = super().record(workload, schedule, path)
            path.write_bytes(path.read_bytes()[:-20])
            return recording

    record_with(Truncating(k.two_iterations(), recorded=2), monkeypatch)
    broken = run_registered(model, lambda suite: suite.test("ffn").expect(latency_ms=1000, memory_mb=1).profile(0, 2))
    assert broken.status == "ERROR"
    assert any("truncated or corrupt" in error and "ffn" in error for error in broken.errors)
    assert any("memory_mb was not measured" in error for error in broken.errors)
    assert broken.metrics["latency_ms"] > 0
    assert [v.status for v in broken.verdicts if v.metric == "latency_ms"] == ["PASS"]


def test_on_a_cpu_kernel_budgets_and_no_sync_are_errors(model):
    case = run_registered(
        model, lambda suite: suite.test("ffn").expect_kernel("*gemm*", count=1).no_sync().profile(1, 2)
    )
    assert case.status == "ERROR"
    assert any("no kernels were measured on cpu" in reason for reason in case.errors)
    assert any("sync_count was not measured on cpu" in reason for reason in case.errors)
