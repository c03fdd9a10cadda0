"""The Nsight Compute backend, with a fake ncu and handmade reports, because the real one needs a GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import kineto_files as k
import msgspec
import pytest
import torch
from fakes import FakeCollector
from torch import nn

from ttprof import TestSuite, load
from ttprof.codes import Note, NoteCode
from ttprof.errors import NsightError
from ttprof.nsight import compute_report as reports
from ttprof.nsight import ncu, rerun
from ttprof.nsight.ncu import Ncu
from ttprof.nsight.tool import Start
from ttprof.rerun import ENVIRONMENT, RecordRequest
from ttprof.run import ranges
from ttprof.run.base import SuiteRecording, Workload
from ttprof.run.ncu import NcuCollector
from ttprof.spec import Schedule
from ttprof.trial_key import Point, TrialKey

WORKLOAD = Workload(TrialKey("case", Point()), "case", lambda: None, torch.device("cpu"), what="it")
SCHEDULE = Schedule(1, 2, 2, exact=True)


def test_globs_become_one_pattern():
    assert ncu.pattern(["*gm*", "a.b?[12]3"]) == r"^.*[gG][mM].*$|^[aA]\.[bB]..3$"


def script(folder: Path, body: str) -> Ncu:
    tool = folder / "ncu"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)
    return Ncu(str(tool), (2025, 1))


def test_the_command_line_of_ncu(tmp_path):
    log = tmp_path / "log"
    tool = script(tmp_path, f'for a; do echo "$a" >> "{log}"; done; echo x > "{tmp_path}/r.ncu-rep"')
    tool.record(Start(["python", "s.py"]), tmp_path / "r.ncu-rep", ["*gemm*"])
    arguments = log.read_text(encoding="utf-8").splitlines()
    assert arguments[-2:] == ["python", "s.py"]
    assert {
        "--profile-from-start=off",
        "--nvtx",
        "--kernel-name=regex:^.*[gG][eE][mM][mM].*$",
        f"--export={tmp_path / 'r'}",
    } <= set(arguments)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("==WARNING== No kernels were profiled.", r"no kernel whose name matches '\*gemm\*'"),
        ("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission", "ncu is not permitted.*SYS_ADMIN"),
        ("==ERROR== the driver is too old", "ncu wrote no report; its output: ==ERROR== the driver is too old"),
    ],
)
def test_errors_of_ncu_become_remedies(tmp_path, output, message):
    with pytest.raises(NsightError, match=message):
        script(tmp_path, f"echo '{output}'").record(Start(["true"]), tmp_path / "r.ncu-rep", ["*gemm*"])


class FakeNcu:
    def __init__(self, answer):
        self.answer, self.requests = answer, []

    def record(self, start, report, globs):
        request = msgspec.json.decode(Path(start.environment[ENVIRONMENT]).read_bytes(), type=RecordRequest)
        self.requests.append((request.replayed, request.cases, list(globs)))
        if self.answer is not None:
            self.answer.save(Path(request.folder))
        return "ValueError: no"


def collector(tmp_path, monkeypatch, answer):
    tool = FakeNcu(answer)
    monkeypatch.setattr(ncu, "find", lambda: tool)
    monkeypatch.setattr(rerun, "command", lambda backend: ["python", "s.py"])
    run = SuiteRecording("suite", tmp_path, torch.device("cuda"), ("case",), ("*gemm*",))
    traces = FakeCollector(k.two_iterations(), recorded=2)
    return tool, NcuCollector(run, traces, lambda report, name: [explained(name, 1, [], f"read from {report.name}")])


def test_a_recording_gets_the_explanations_of_its_kernels_as_notes(tmp_path, monkeypatch):
    tool, profiling = collector(tmp_path, monkeypatch, rerun.Answer({"case/trace": rerun.Recorded("it", 1)}))
    recording = profiling.record(WORKLOAD, SCHEDULE, tmp_path / "case" / "trace.pt.trace.json.gz")
    assert recording.recorded == 2 and recording.path.is_file()
    text = "ttprof.trial#case/trace: read from suite.ncu-rep"
    assert recording.notes == (Note(NoteCode.KERNEL_EXPLAINED, text),)
    larger = replace(WORKLOAD, key=TrialKey("case", Point(n=8)))
    more = profiling.record(larger, SCHEDULE, tmp_path / "case" / "n=8.pt.trace.json.gz")
    assert more.notes == ()
    assert tool.requests == [(True, ["case"], ["*gemm*"])]


def test_a_trial_that_was_not_profiled_is_an_error(tmp_path, monkeypatch):
    _, profiling = collector(tmp_path, monkeypatch, rerun.Answer(errors={"case": "it raised"}))
    with pytest.raises(NsightError, match="did not reach case: it raised"):
        profiling.record(WORKLOAD, SCHEDULE, tmp_path / "case" / "trace.pt.trace.json.gz")
    _, profiling = collector(tmp_path, monkeypatch, None)
    with pytest.raises(NsightError, match="ended before the suite: ValueError: no"):
        profiling.record(WORKLOAD, SCHEDULE, tmp_path / "case" / "trace.pt.trace.json.gz")


def test_the_second_process_runs_one_iteration_of_a_trial(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(ranges, "nvtx_ranges", lambda: torch.autograd.profiler.record_function)
    profiling = ranges.RangeCollector(SuiteRecording("suite", tmp_path, torch.device("cpu"), ("case",)), replayed=True)
    workload = Workload(TrialKey("case", Point()), "case", lambda: calls.append(1), torch.device("cpu"), what="it")
    with profiling.recording():
        profiling.record(workload, Schedule(1, 20, 20, exact=True), tmp_path / "case" / "trace.pt.trace.json.gz")
    assert len(calls) == ranges.MIN_WARMUPS + 1
    assert profiling.answer.trials == {"case/trace": rerun.Recorded("it", 1)}


def test_a_suite_on_a_cpu_is_an_error_before_anything_runs(tmp_path):
    model = nn.Linear(2, 2)
    suite = TestSuite(model, inputs=torch.ones(1, 2), backend="ncu", trace_dir=tmp_path)
    suite.test(model)
    with pytest.raises(NsightError, match="explains kernels of NVIDIA devices, and this suite runs on cpu"):
        suite.run()
    assert list(tmp_path.iterdir()) == []


def test_only_kernels_within_the_range_are_explained(monkeypatch, tmp_path):
    kernels = [
        explained("gemm", 10, ["<default>@ttprof.case#a/ttprof.trial#a/n=1/ttprof.iteration#0"], "short"),
        explained("gemm", 30, ["<default>@ttprof.case#a/ttprof.trial#a/n=1/ttprof.iteration#0"], "long"),
        explained("gemm", 90, ["<default>@ttprof.case#a/ttprof.trial#a/n=16/ttprof.iteration#0"], "elsewhere"),
        explained("relu", None, ["<default>@ttprof.trial#a/n=1"], "unmeasured"),
    ]
    monkeypatch.setattr(reports, "read", lambda path: reports.Report(1, str(path), "", [], kernels))
    slowest = reports.slowest_in_range(tmp_path, "ttprof.trial#a/n=1")
    assert [(k.function, k.bottleneck.sentence) for k in slowest] == [("gemm", "long"), ("relu", "unmeasured")]


def explained(function, time_ns, nvtx, sentence):
    """A kernel of a report."""
    bottleneck = reports.Bottleneck(None, None, sentence)
    fields = dict.fromkeys(reports.Kernel.__struct_fields__)
    return reports.Kernel(
        **{**fields, "function": function, "time_ns": time_ns, "nvtx": nvtx, "bottleneck": bottleneck}
    )


GPU_SCRIPT = """
import torch
from torch import nn
from ttprof import TestSuite

model = nn.Sequential(nn.Linear(256, 256), nn.ReLU()).cuda()
with TestSuite(model, inputs=torch.randn(64, 256, device="cuda"), trace_dir="traces", backend="ncu") as suite:
    suite.test(model, name="whole").profile(2, 5).expect_kernel("*", time_ms=10)
"""


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("ncu") is None, reason="ncu is not installed (docs/nsight.md)")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_every_kernel_is_explained(tmp_path):
    (tmp_path / "script.py").write_text(GPU_SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "traces").iterdir()
    notes = load(folder / "result.json").cases[0].trials[0].notes
    assert sum("-bound" in note.text or "balanced" in note.text for note in notes) >= 2
