"""The speed of light of a case: its least time on a device with known peaks, over its latency."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from whole_model import metric, run

from ttprof import Status
from ttprof.engine import suite_passes
from ttprof.engine.speed_of_light import least_time
from ttprof.run.device_peaks import PEAKS, StatedPeaks
from ttprof.run.peaks import DevicePeaks
from ttprof.run.work import count_work

CPU = torch.device("cpu")
X = torch.ones(64, 128)


def device(monkeypatch, tflops=1e-3, gb_s=1.0, cache=0, **others):
    """A device that multiplies float32 at *tflops* and moves *gb_s*."""
    monkeypatch.setitem(PEAKS, "test device", StatedPeaks({"float32": tflops, **others}, gb_s))
    peaks = DevicePeaks(CPU, "test device")
    vars(peaks)["cache_bytes"] = cache
    return peaks


def work_of_linear(out: int):
    layer = nn.Linear(128, out, bias=False)
    return torch.no_grad()(lambda: count_work(lambda: layer(X)))()


def test_the_least_time_is_the_larger_of_both_bounds(monkeypatch):
    peaks = device(monkeypatch, tflops=1e-3, gb_s=1.0)
    least = least_time(work_of_linear(256), peaks, warm=True)
    assert least.compute_ms == pytest.approx(2 * 64 * 128 * 256 / 1e9 * 1e3)
    assert least.bytes_from_memory == 4 * (64 * 128 + 128 * 256 + 64 * 256)
    assert least.memory_ms == pytest.approx(least.bytes_from_memory / 1e9 * 1e3)
    assert (least.ms, least.bound) == (least.compute_ms, "compute")
    narrow = device(monkeypatch, tflops=1.0, gb_s=1.0)
    least = least_time(work_of_linear(256), narrow, warm=True)
    assert (least.ms, least.bound) == (least.memory_ms, "memory")


def test_what_fits_into_a_warm_cache_needs_no_memory(monkeypatch):
    peaks = device(monkeypatch, cache=2**30)
    assert least_time(work_of_linear(256), peaks, warm=True).memory_ms == 0
    cold = least_time(work_of_linear(256), peaks, warm=False)
    assert cold.bytes_from_memory == 4 * (64 * 128 + 128 * 256)  # the output stays in the cache


def test_each_dtype_has_its_own_rate(monkeypatch):
    half = X.bfloat16()
    work = count_work(lambda: (half @ half.t(), X @ X.t()))
    flops = 2 * 64 * 128 * 64
    least = least_time(work, device(monkeypatch, tflops=1e-3, bfloat16=4e-3), warm=True)
    assert least.compute_ms == pytest.approx(flops / 1e9 * 1e3 + flops / 4e9 * 1e3)
    assert least_time(work, device(monkeypatch), warm=True) is None  # no rate of bfloat16


def limited(monkeypatch, model, limit, peaks, change=lambda case: case, inputs=X):
    """The case of *model* with a limit on sol, on a device with *peaks*."""
    monkeypatch.setattr(suite_passes, "DevicePeaks", lambda device, name: peaks)
    register = lambda s: change(s.test(model, name="x").profile(1, 3)).expect(sol=limit)  # noqa: E731
    (case,) = run(model, inputs, register)
    return case


def test_a_limit_on_a_device_that_could_be_much_faster_fails(monkeypatch):
    case = limited(monkeypatch, nn.Linear(128, 8), 0.5, device(monkeypatch, tflops=1e6, gb_s=1e6))
    assert case.status is Status.FAIL
    assert 0 < metric(case, "sol") < 0.01
    assert case.trials[0].least_time.peak_tflops == {"float32": 1e6}


def test_a_module_that_beats_the_peaks_is_an_error(monkeypatch):
    case = limited(monkeypatch, nn.Linear(128, 8), 0.5, device(monkeypatch, tflops=1e-9))
    assert case.status is Status.ERROR
    assert "times as fast as they allow, so they are wrong" in case.errors[0]
    assert metric(case, "sol") is None


@pytest.mark.parametrize(
    ("model", "cache", "reason"),
    [
        (
            nn.ReLU(),
            2**30,
            "it needs FLOPs or memory traffic; add .cache('cold') to count what a warm cache holds",
        ),
        (nn.Linear(128, 8).double(), 0, "it needs the peak rate of float64 on this device, which is not known"),
    ],
    ids=["nothing bounds it", "no peak"],
)
def test_without_a_least_time_a_limit_is_an_error_that_says_why(monkeypatch, model, cache, reason):
    inputs = X.double() if isinstance(model, nn.Linear) else X
    case = limited(monkeypatch, model, 0.5, device(monkeypatch, cache=cache), inputs=inputs)
    assert case.status is Status.ERROR
    assert case.errors[0].endswith(reason)


class Inverse(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x)


def test_an_operator_without_a_formula_is_named(monkeypatch):
    case = limited(monkeypatch, Inverse(), 0.5, device(monkeypatch), inputs=torch.eye(8))
    assert "a formula for the FLOPs of aten::linalg_inv" in case.errors[0]


def test_the_cold_cache_reads_from_memory(monkeypatch):
    peaks = device(monkeypatch, tflops=1e6, gb_s=1e6, cache=2**30)
    case = limited(monkeypatch, nn.ReLU(), 0.5, peaks, lambda c: c.cache("cold"))
    assert case.trials[0].least_time.bytes_from_memory == X.numel() * 4


def test_nothing_is_measured_on_a_cpu_without_a_limit(monkeypatch):
    monkeypatch.setattr(DevicePeaks, "tflops", lambda self, dtype: pytest.fail("measured"))
    (case,) = run(nn.Linear(128, 8), X, lambda s: s.test(s.model))
    assert metric(case, "sol") is None
    assert metric(case, "bytes_moved") == 4 * (64 * 128 + 128 * 8 + 8 + 64 * 8)


def test_copying_the_inputs_does_not_count(monkeypatch):
    class InPlace(nn.Module):
        def forward(self, x):
            return x.add_(1)

    (case,) = run(InPlace(), X, lambda s: s.test(s.model, name="x").profile(1, 2))
    assert metric(case, "bytes_moved") == 2 * 4 * X.numel()


def test_a_compiled_module_counts_as_one_operator():
    class Chain(nn.Module):
        def forward(self, x):
            return ((x + 1).exp() * x).sin()

    compiled = torch.compile(Chain(), backend="eager")
    (eager,) = run(Chain(), X, lambda s: s.test(s.model, name="x").profile(1, 2))
    (fused,) = run(compiled, X, lambda s: s.test(s.model, name="x").profile(1, 2))
    assert metric(eager, "bytes_moved") == 4 * X.numel() * (2 + 2 + 3 + 2)
    assert metric(fused, "bytes_moved") == 4 * X.numel() * 2
