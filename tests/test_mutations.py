"""The gates gate: a defect put into a module turns the verdict, and the same module without it passes."""

from __future__ import annotations

from dataclasses import replace

import kineto_files as k
import pytest
import torch
from fakes import FakeClock, FakeCollector
from tiny_models import Attention
from torch import nn

from ttprof import TestSuite
from ttprof.builder import CaseBuilder
from ttprof.engine import backends, case_passes
from ttprof.result import CaseResult
from ttprof.run.timers import CpuTimer
from ttprof.suite import TestSuite as Suite


def judged(model: nn.Module, check) -> CaseResult:
    suite = TestSuite(model, batch_size=2, seq_len=64, quiet=True, seconds_per_case=0.3)
    check(suite)
    (case,) = suite.run()
    return case


class Mutated(nn.Module):
    """A module with a defect: it returns ``change(what the healthy one returns)``."""

    def __init__(self, healthy: nn.Module, change) -> None:
        super().__init__()
        self.healthy, self.change = healthy, change

    def forward(self, *args, **kwargs):
        return self.change(self.healthy(*args, **kwargs))


def mutate(parent: nn.Module, name: str, change) -> None:
    """Put a defect into a submodule."""
    setattr(parent, name, Mutated(getattr(parent, name), change))


CLOCK = FakeClock()


def slow(y):
    """Ten milliseconds that no tensor shows, on the clock that is turned by hand."""
    CLOCK.now += 10_000_000
    return y


def healthy_time(y):
    """One millisecond on that clock."""
    CLOCK.now += 1_000_000
    return y


def hungry(y):
    torch.empty(2**20, dtype=torch.uint8)
    return y


def with_nan(y):
    y = y.clone()
    y.flatten()[7] = float("nan")
    return y


def check_latency(suite: Suite) -> CaseBuilder:
    return suite.test("ffn").expect(latency_ms=8).profile(2, 10)


def check_memory(suite: Suite) -> CaseBuilder:
    return suite.test("ffn").expect(memory_mb=0.5).profile(1, 3)


def check_finite(suite: Suite) -> CaseBuilder:
    return suite.test("ffn").profile(1, 2)


def check_tolerance(suite: Suite) -> CaseBuilder:
    return suite.test("ffn").tolerance(1e-3).profile(1, 2)


def check_leak(suite: Suite) -> CaseBuilder:
    return suite.test("ffn").expect(leak_mb=0).profile(1, 4)


class Leak:
    def __init__(self):
        self.kept = []

    def __call__(self, y):
        self.kept.append(torch.empty(1024))
        return y


@pytest.mark.parametrize(
    ("check", "defect", "sentence"),
    [
        (check_latency, slow, "over the limit of 8 ms"),
        (check_memory, hungry, "over the limit of 0.5 MB"),
        (check_finite, with_nan, "has 1 NaN and 0 Inf"),
        (check_tolerance, with_nan, "has 1 NaN and 0 Inf"),
        (check_leak, Leak(), "leak_mb is 0.00391 MB, over the limit of 0 MB"),
    ],
    ids=["slept-in forward", "extra allocation", "NaN unasked", "NaN under tolerance", "leak"],
)
def test_a_defect_in_a_forward_fails_the_gate(model, monkeypatch, check, defect, sentence):
    monkeypatch.setattr(case_passes, "timer_for", lambda device: CpuTimer(CLOCK))
    mutate(model, "ffn", healthy_time)
    healthy = judged(model, check)
    assert healthy.status == "PASS", healthy.errors
    mutate(model, "ffn", defect)
    broken = judged(model, check)
    assert broken.status == "FAIL"
    assert sentence in " ".join(broken.errors)


def copied(attention: Attention, **changes) -> Attention:
    other = Attention(32, **changes)
    other.load_state_dict(attention.state_dict())
    return other


def transposed_heads(y):
    return y.reshape(*y.shape[:-1], 4, 8).transpose(-1, -2).flatten(-2)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda model: setattr(model.attention, "scale", 1.5),
        lambda model: mutate(model.attention, "value_proj", transposed_heads),
        lambda model: mutate(model, "attention", lambda y: y * 1.01),
        lambda model: mutate(model, "attention", lambda y: (y, y)),
    ],
    ids=["softmax scale", "wrong head order", "output scale", "other structure"],
)
def test_a_logic_bug_breaks_the_tolerance_against_a_reference(model, break_it):
    reference = copied(model.attention)

    def check(suite):
        suite.test("attention").compare_with(reference).tolerance(1e-3).profile(1, 2)

    assert judged(model, check).status == "PASS"
    break_it(model)
    assert judged(model, check).status == "FAIL"


def test_a_wrong_scale_in_low_precision_breaks_the_tolerance(model):
    """Precision loss shows against the module itself: half of the sum is lost where small terms meet a large one."""

    class Lossy(nn.Module):
        def forward(self, x):
            return (x + 1e5) - 1e5

    case = judged(model, lambda suite: suite.test(Lossy()).inputs(torch.randn(64)).tolerance(1e-3).profile(1, 2))
    assert case.status == "FAIL"
    assert "relative error" in case.errors[0] and "worst: output[" in case.errors[0]


class Quadratic(nn.Module):
    """A feed-forward network into which a product over all pairs of positions has slipped."""

    def __init__(self, ffn: nn.Module) -> None:
        super().__init__()
        self.ffn = ffn

    def forward(self, x):
        return self.ffn(x) + 1e-6 * ((x @ x.transpose(-2, -1)) @ x)


def test_a_quadratic_term_breaks_linear_memory_scaling(model):
    def check(suite):
        case = suite.test("ffn").with_seq_lengths([128, 256, 512, 1024, 2048]).profile(1, 2)
        case.expect_scaling("linear", metric="memory_mb")

    assert judged(model, check).status == "PASS"
    model.ffn = Quadratic(model.ffn)
    broken = judged(model, check)
    assert broken.status == "FAIL"
    assert "seq_len²" in broken.errors[0]


class OnCuda:
    """A suite whose cases believe that they ran on a CUDA device, with a hand-written recording."""

    def __init__(self, monkeypatch, events):
        collector = FakeCollector(events, recorded=2)
        torch_row = backends.BACKENDS["torch"]
        self.row = replace(torch_row, collector=lambda run: collector)
        monkeypatch.setitem(backends.BACKENDS, "torch", self.row)


def test_a_deleted_kernel_event_is_noticed_by_the_suite(model, monkeypatch):
    whole, lost = k.two_iterations(), k.two_iterations(lose_kernel=True)

    def check(suite):
        suite.test("ffn").profile(0, 2)

    OnCuda(monkeypatch, whole)
    assert judged(model, check).status == "PASS"
    OnCuda(monkeypatch, lost)
    broken = judged(model, check)
    assert broken.status == "ERROR"
    assert "1 of 4 kernel launches have no kernel" in broken.errors[0]


def test_a_missing_iteration_is_noticed_by_the_suite(model, monkeypatch):
    OnCuda(monkeypatch, k.two_iterations()[:11])
    broken = judged(model, lambda suite: suite.test("ffn").profile(0, 2))
    assert broken.status == "ERROR"
    assert "the trace holds 1 of 2 recorded iterations" in broken.errors[0]


def test_a_truncated_recording_keeps_what_was_timed(model, monkeypatch):
    class Truncating(FakeCollector):
        def record(self, workload, schedule, path):
            recording = super().record(workload, schedule, path)
            path.write_bytes(path.read_bytes()[:-20])
            return recording

    row = replace(backends.BACKENDS["torch"], collector=lambda run: Truncating(k.two_iterations(), recorded=2))
    monkeypatch.setitem(backends.BACKENDS, "torch", row)
    broken = judged(model, lambda suite: suite.test("ffn").expect(latency_ms=1000, memory_mb=1).profile(0, 2))
    assert broken.status == "ERROR"
    assert any("truncated or corrupt" in sentence and "ffn" in sentence for sentence in broken.errors)
    assert any("memory_mb was not measured" in sentence for sentence in broken.errors)
    assert broken.metrics["latency_ms"] > 0
    assert [v.status for v in broken.verdicts if v.metric == "latency_ms"] == ["PASS"]


class Forgetful(nn.Module):
    """Adds a little from its third call on, which no seed and no buffer knows."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + (self.calls > 2) * 1e-3


@pytest.mark.parametrize(("inner", "status"), [(nn.Dropout(0.5), "PASS"), (Forgetful(), "FAIL")])
def test_an_output_that_depends_on_earlier_calls_is_not_deterministic(inner, status):
    model = nn.Sequential(nn.Linear(8, 8), inner)
    found = judged(model, lambda suite: suite.test(inner).input_shape((2, 8)).deterministic().profile(1, 2))
    assert found.status == status, found.errors
    if status == "FAIL":
        assert "differs from the first, with the same inputs and the same seed" in found.errors[0]


def test_kernel_budgets_and_no_sync_are_errors_on_a_cpu(model):
    found = judged(model, lambda suite: suite.test("ffn").expect_kernel("*gemm*", count=1).no_sync().profile(1, 2))
    assert found.status == "ERROR"
    assert any("no kernels were measured on cpu" in reason for reason in found.errors)
    assert any("sync_count was not measured on cpu" in reason for reason in found.errors)
