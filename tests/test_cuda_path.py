"""The CUDA path, with a fake ``torch.cuda``, on recorded traces and, if there is one, on a real GPU."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import kineto_files as k
import numpy as np
import pytest
import torch
from torch import nn

from ttprof import TestSuite, metrics
from ttprof.engine import case_passes, case_run
from ttprof.engine.backends import Backend
from ttprof.engine.events import TimedTrial
from ttprof.engine.phases import Phases
from ttprof.judge import verdicts
from ttprof.observation import Observation, Recording, Timing
from ttprof.plan.inputs import Inputs
from ttprof.plan.trials import Trial
from ttprof.result import TrialResult
from ttprof.run import timers, torch_profiler
from ttprof.run.base import TRACE_SUFFIX, Workload
from ttprof.spec import LAWS, CaseSpec, Scaling, Schedule, SourceLine, Sweep
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import Iterations
from ttprof.trial_key import Point, TrialKey

HAS_GPU = torch.cuda.is_available()


class FakeCuda:
    """Replaces functions of ``torch.cuda``: logs the calls in order, and returns rising peaks."""

    def __init__(self, monkeypatch):
        self.log: list[str] = []
        self.peak = 0
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 600)
        for name in ("synchronize", "reset_peak_memory_stats", "current_stream"):
            monkeypatch.setattr(torch.cuda, name, lambda device=None, name=name: self.log.append(name))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", self._allocated)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 4096)
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: FakeEvent(self.log))

    def _allocated(self, device):
        self.peak += 1000
        return self.peak


class FakeEvent:
    def __init__(self, log):
        self._log = log

    def record(self, stream):
        self._log.append("event")

    def elapsed_time(self, other):
        return 1.25


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    return FakeCuda(monkeypatch)


def test_a_timed_iteration_starts_on_an_empty_queue_and_ends_with_the_device(cuda):
    sample = timers.timer_for(torch.device("cuda")).measure(lambda: cuda.log.append("call"))
    work = [entry for entry in cuda.log if entry != "current_stream"]
    assert work == ["synchronize", "event", "call", "event", "synchronize"]
    assert sample.latency_ns == 1_250_000


def test_recorded_iterations_wait_for_the_device_and_keep_the_peaks_of_active_ones(cuda, monkeypatch, tmp_path):
    from run.test_torch_profiler import FakeSession

    monkeypatch.setattr(torch, "ones", lambda *size, device: cuda.log.append("canary"))
    workload = Workload(TrialKey("x", Point()), "x", lambda: cuda.log.append("call"), torch.device("cuda"))
    collector = torch_profiler.TorchProfilerCollector(FakeSession)
    recording = collector.record(workload, Schedule(1, 2, 2, exact=True), tmp_path / "t.json.gz")
    iteration = ["reset_peak_memory_stats", "call", "synchronize", "canary", "synchronize"]
    assert cuda.log == iteration * 3
    assert recording.peak_allocated is not None and recording.peak_allocated.tolist() == [2000, 3000]
    assert recording.peak_added is not None and recording.peak_added.tolist() == [1400, 2400]
    assert FakeSession.last.options["activities"] == [
        torch.profiler.ProfilerActivity.CPU,
        torch.profiler.ProfilerActivity.CUDA,
    ]


@pytest.mark.parametrize(
    ("name", "steps", "kernels", "kernel_us"),
    [("h100_bert_small", 1, 60, 307.197), ("mi300_bert_small", 1, 60, None)],
)
def test_metrics_of_a_recorded_gpu_trace(shared_traces, name, steps, kernels, kernel_us):
    trace = kineto.read(shared_traces / "kineto" / f"{name}.json.gz")
    assert len(Iterations.of(trace)) == steps
    o = Observation("cuda", trace=trace, recorded=steps, peak_allocated=np.array([2**30, 2**20]))
    values = {m.name: m.value for m in metrics.measure_all(o)}
    assert values["kernel_count"] == values["launch_count"] == kernels
    if kernel_us is not None:
        assert values["kernel_time_ms"] == pytest.approx(kernel_us / 1000)
    assert values["device_busy_ms"] <= values["kernel_time_ms"] + values["memcpy_time_ms"] + 1e-9
    assert values["peak_allocated_mb"] == 1


class GrowingKernels:
    """Records two iterations of one kernel, whose time has a linear and a quadratic term in the size."""

    paths: ClassVar[list[str]] = []

    def record(self, workload: Workload, schedule: Schedule, path: Path) -> Recording:
        workload.call()
        self.paths.append(path.name)
        size = int(path.name.partition("=")[2].partition(".")[0])
        dur = (size**2 + 500 * size) / 1000
        rows = [(i, 10_000 * i) for i in range(2)]
        events = [k.iteration(i, start, 9_000) for i, start in rows]
        events += [k.launch(start + 1, i) for i, start in rows]
        events += [k.kernel("grow", start + 10, dur, i) for i, start in rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        return Recording(k.write(path, events), recorded=2)


def test_an_undecided_scaling_of_kernel_times_records_again_and_then_a_larger_size(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 10**9)
    monkeypatch.setattr(GrowingKernels, "paths", [])
    module = nn.Identity()
    sizes = (64, 128, 256, 512)
    spec = CaseSpec(
        name="x",
        module=module,
        path=None,
        source=SourceLine("f.py", 1),
        schedule=Schedule(0, 2, 2),
        sweeps=(Sweep("seq_len", sizes),),
        scaling=Scaling(LAWS["quadratic"]),
    )

    def trial_at(point):
        return Trial(spec, point, Inputs("given", (torch.ones(1, point["seq_len"]),)))

    case = case_run.CaseRun(spec, torch.device("cuda"), 2.0, 0, Phases())
    trials = [trial_at(Point(seq_len=n)) for n in sizes]
    ns = np.array([1000, 1000])
    for trial in trials:
        observation = Observation("cuda", timing=Timing(ns, ns, ns, warmup=0, threads=1))
        result = TrialResult(point=trial.point, inputs="", inputs_source="given")
        case.timed.append(TimedTrial(observation=observation, result=result))
    recorder = case_run.Recorder(Backend("fake", lambda run: GrowingKernels(), kineto.read), GrowingKernels(), tmp_path)
    case_passes.second_pass(case, trials, trial_at, recorder)
    stems = [*(f"seq_len={n}" for n in sizes), *(f"seq_len={n}.again" for n in sizes), "seq_len=1024.beyond"]
    assert [name.removesuffix(TRACE_SUFFIX) for name in GrowingKernels.paths] == stems
    assert [trial.module.recorded for trial in case.recorded] == [2] * 4  # the added recordings belong to no trial
    fit, _ = verdicts.judge_scaling(spec.expected, "cuda", case.rounds)
    assert fit.extended == ["rounds doubled to 4", "extended to 1024"]
    assert fit.sizes == [*sizes, 1024] and fit.metric == "kernel_time_ms"
    assert fit.values[-1] == 1024**2 + 500 * 1024


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a CUDA or ROCm device")
def test_a_real_gpu_measures_every_device_metric():
    model = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)).cuda()
    with TestSuite(model, batch_size=4, seq_len=128, quiet=True) as suite:
        case = suite.test(model).tolerance(1e-3).profile(warmup=3, iterations=5)
        case.expect(latency_ms=100, kernel_time_ms=100, memory_mb=512, leak_mb=0, kernel_count=50)
    (measured,) = suite.result
    assert set(measured.metrics) >= {
        "device_busy_ms",
        "device_idle_ms",
        "launch_count",
        "memcpy_time_ms",
        "peak_allocated_mb",
        "peak_reserved_mb",
    }
    assert measured.metrics["kernel_count"] >= 3
    assert measured.metrics["memory_mb"] <= measured.metrics["peak_allocated_mb"]
