"""The Nsight Systems backend: errors with a fake nsys, recordings with the real one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import msgspec
import nsys_files as n
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import ttprof
from ttprof.cli.analyze import command
from ttprof.engine import backends
from ttprof.errors import NsightError
from ttprof.nsight import nsys, rerun
from ttprof.rerun import ENVIRONMENT, RecordRequest
from ttprof.run import ranges
from ttprof.run.base import SuiteRecording, Workload
from ttprof.spec import Schedule
from ttprof.trace.analyses import summary
from ttprof.trace.formats import kineto
from ttprof.trace.iterations import Iterations
from ttprof.trial_key import Point, TrialKey

ROOT = Path(ttprof.__file__).parents[1]

SCRIPT = """
import os, sys, torch
from torch import nn
from ttprof import TestSuite

os.makedirs("elsewhere", exist_ok=True)
os.chdir("elsewhere")
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
for name in ("one", "two"):
    try:
        with TestSuite(model, inputs=torch.randn(4, 8), name=name, trace_dir=sys.argv[1], on_failure="report",
                       backend="nsys", quiet=True) as suite:
            suite.test(model, name="whole").profile(1, 3).expect(memory_mb=1)
            suite.test("0").profile(2, 4).compare_with(model[2])
            suite.test("2", name="broken").input_factory(lambda batch_size, seq_len: 1 / 0)
    except BaseException as error:
        print("caught", type(error))
    print(name, [str(case.status) for case in suite.result])
"""


class FakeNsys:
    """Records nothing: leaves an export from a GPU and the answer of the second process."""

    def __init__(self, answer, export):
        self.answer, self.export_of, self.recordings = answer, export, 0

    def record(self, start, report, on_cuda):
        self.recordings += 1
        assert on_cuda
        request = msgspec.json.decode(Path(start.environment[ENVIRONMENT]).read_bytes(), type=RecordRequest)
        if self.answer is not None:
            self.answer.save(Path(request.folder))
        return "Traceback:\n  File x\n    ^^^^\nValueError: no\nGenerating '/tmp/x.qdstrm'\n"

    def export(self, report, target):
        shutil.copy(self.export_of, target)


def on_cuda(tmp_path, monkeypatch, answer):
    """A fake nsys that recorded two trials on a GPU, of two iterations each, and the collector of that run."""
    trials = [
        n.pushed(100, 900, "ttprof.trial#case/trace"),
        n.pushed(110, 200, "ttprof.iteration#0"),
        n.pushed(120, 190, "module: block"),
        n.pushed(300, 400, "ttprof.iteration#1"),
        n.pushed(310, 390, "module: block"),
        n.pushed(1000, 1900, "ttprof.trial#other/trace"),
        n.pushed(1010, 1100, "ttprof.iteration#0"),
    ]
    export = n.write(
        tmp_path / "gpu.sqlite",
        kernel=[n.kernel(150, 160, 1), n.kernel(330, 350, 2), n.kernel(1050, 1090, 3)],
        runtime=[n.launch(130, 131, 1), n.launch(320, 321, 2), n.launch(1020, 1021, 3)],
        nvtx=trials,
    )
    tool = FakeNsys(answer, export)
    monkeypatch.setattr(nsys, "find", lambda: tool)
    monkeypatch.setattr(rerun, "command", lambda backend: ["python", "script.py"])
    run = SuiteRecording("suite", tmp_path / "run", torch.device("cuda"), ("case", "other"))
    return tool, backends.BACKENDS["nsys"].collector(run)


def record(collector, tmp_path, case):
    path = tmp_path / "run" / case / "trace.pt.trace.json.gz"
    key = TrialKey(case, Point())
    workload = Workload(key, case, lambda: 1 / 0, torch.device("cuda"), what="it")
    return collector.record(workload, Schedule(1, 2, 2, exact=True), path)


def test_each_trial_is_cut_from_one_recording(tmp_path, monkeypatch):
    peaks = rerun.Recorded("it", 2, [100, 120], [200, 200], [10, 12])
    tool, collector = on_cuda(
        tmp_path, monkeypatch, rerun.Answer({"case/trace": peaks, "other/trace": rerun.Recorded("it", 2)})
    )
    recording = record(collector, tmp_path, "case")
    assert (recording.recorded, recording.peak_added.tolist()) == (2, [10, 12])
    trace = kineto.read(recording.path)
    iterations = Iterations.of(trace)
    assert iterations.windows.dur.tolist() == [90, 100]
    assert iterations.sums(iterations.of_kernels, trace.kernels.dur).tolist() == [10, 20]
    assert [(row.path, row.calls, row.forward_ns) for row in summary.summarise(trace).modules] == [("block", 2, 30)]
    assert kineto.read(record(collector, tmp_path, "other").path).kernels.time_ns == 40
    assert tool.recordings == 1


def test_the_trace_of_a_trial_keeps_the_notes_of_the_recording(tmp_path, monkeypatch):
    tool, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"case/trace": rerun.Recorded("it", 2)}))
    with sqlite3.connect(tool.export_of) as connection:
        connection.execute("UPDATE META_DATA_EXPORT SET value = '4.1.0'")
        connection.execute("CREATE TABLE DIAGNOSTIC_EVENT (timestamp, text)")
        connection.execute("INSERT INTO DIAGNOSTIC_EVENT VALUES (5, 'Not all CUDA events were collected.')")
    connection.close()
    export = backends.nsys_sqlite.read(tool.export_of)
    trace = backends.find("nsys").reader(record(collector, tmp_path, "case").path)
    assert len(trace.notes) == len(trace.dropped) == 1
    assert (trace.notes, trace.dropped) == (export.notes, export.dropped)


def test_a_trial_that_was_not_recorded_is_an_error_with_the_reason(tmp_path, monkeypatch):
    answer = rerun.Answer({"case/trace": rerun.Recorded("it", 2)}, {"other": "other raised ValueError: no"})
    _, collector = on_cuda(tmp_path, monkeypatch, answer)
    with pytest.raises(NsightError, match=r"^other raised ValueError: no$"):
        record(collector, tmp_path, "other")
    with pytest.raises(NsightError, match="third was not recorded: the second run"):
        record(collector, tmp_path, "third")
    _, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer(error="the second run ran a different suite"))
    with pytest.raises(NsightError, match="ran a different suite"):
        record(collector, tmp_path, "case")
    for recorded in (rerun.Recorded("that", 2), rerun.Recorded("it", 1)):
        _, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"case/trace": recorded}))
        with pytest.raises(
            NsightError, match=rf"a different case: {recorded.iterations} iterations of {recorded.what}, not 2 of it"
        ):
            record(collector, tmp_path, "case")
    _, collector = on_cuda(tmp_path, monkeypatch, None)
    with pytest.raises(NsightError, match=r"ended before the suite: Traceback: File x ValueError: no$"):
        record(collector, tmp_path, "case")


def test_a_recording_that_lost_its_end_is_repeated_once(tmp_path, monkeypatch):
    tool, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"other/trace": rerun.Recorded("it", 2)}))
    whole, cut = tool.export_of.read_bytes(), tmp_path / "cut.sqlite"
    n.write(cut, nvtx=[n.pushed(1000, None, "ttprof.trial#other/trace")])
    exports = iter([cut.read_bytes(), whole])
    tool.export = lambda report, target: target.write_bytes(next(exports))
    assert kineto.read(record(collector, tmp_path, "other").path).kernels.time_ns == 40
    assert tool.recordings == 2
    exports = iter([cut.read_bytes(), cut.read_bytes(), whole])
    collector = backends.BACKENDS["nsys"].collector(SuiteRecording("suite", tmp_path / "run", torch.device("cuda")))
    with pytest.raises(NsightError, match="holds no range"):
        record(collector, tmp_path, "other")


def test_a_kernel_without_its_launch_is_an_error_not_a_zero(tmp_path, monkeypatch):
    tool, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"case/trace": rerun.Recorded("it", 2)}))
    with sqlite3.connect(tool.export_of) as connection:
        connection.execute("DELETE FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE correlationId = 2")
    connection.close()
    with pytest.raises(
        NsightError, match=r"lost calls: 1 of 2 kernels and copies of 'ttprof.trial#case/trace' have no launch"
    ):
        record(collector, tmp_path, "case")


def test_a_recording_without_ttprofs_ranges_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    _, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"third/trace": rerun.Recorded("it", 2)}))
    with pytest.raises(NsightError, match=r"holds no range 'ttprof\.trial#third/trace': nsys did not record NVTX"):
        record(collector, tmp_path, "third")


def test_the_second_process_runs_workloads_inside_ranges(tmp_path, monkeypatch):
    names = []

    @contextmanager
    def ranged(name):
        names.append(name)
        yield

    monkeypatch.setattr(ranges, "nvtx_ranges", lambda: ranged)
    collector = ranges.RangeCollector(SuiteRecording("suite", tmp_path, torch.device("cpu"), ("case",)), replayed=False)
    module = nn.Linear(2, 2)
    key = TrialKey("case", Point(n=4))
    workload = Workload(
        key, "case", lambda: module(torch.ones(1, 2)), torch.device("cpu"), (("fc", module),), what="it"
    )
    with collector.recording(), collector.case("case"):
        collector.record(workload, Schedule(1, 2, 2, exact=True), tmp_path / "case" / "n=4.pt.trace.json.gz")
    warm = ["module: fc"] * ranges.MIN_WARMUPS
    rest = ["ttprof.iteration#0", "module: fc", "ttprof.iteration#1", "module: fc"]
    assert names == ["ttprof.case#case", *warm, "ttprof.trial#case/n=4", *rest]
    assert collector.answer.trials == {"case/n=4": rerun.Recorded("it", 2)}


@pytest.mark.parametrize(
    ("release", "package", "refused"),
    [
        ((2022, 4), "0.2.11", False),
        ((2022, 4), "0.2.12", True),
        ((2023, 4), "0.2.14", True),
        ((2024, 1), "0.2.14", False),
    ],
)
def test_an_nvtx_package_whose_ranges_nsys_ignores_is_refused(monkeypatch, release, package, refused):
    monkeypatch.setattr(ranges, "nvtx_ranges", lambda: None)
    monkeypatch.setattr(ranges, "version", lambda name: package)
    monkeypatch.setattr(torch.version, "cuda", None)
    tool = nsys.Nsys("nsys", release)
    if refused:
        with pytest.raises(NsightError, match=rf"records no range of nvtx {package}"):
            ranges.check(tool)
    else:
        ranges.check(tool)


real = pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not installed (docs/nsight.md)")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two suites of a script, recorded by the real nsys."""
    folder = tmp_path_factory.mktemp("nsys")
    (folder / "script.py").write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, "script.py", str(folder / "traces")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, {path.name.split("-")[0]: path for path in (folder / "traces").iterdir()}


@real
def test_the_suites_of_a_script_are_recorded_one_by_one(recorded):
    output, runs = recorded
    assert output.splitlines() == [f"{name} ['ERROR', 'FAIL', 'ERROR']" for name in ("one", "two")]
    for folder in runs.values():
        result = ttprof.load(folder / "result.json")
        assert result.backend == "nsys"
        whole, first, broken = result
        assert whole.metrics["recorded_latency_ms"] > 0 and whole.trials[0].recorded == 3
        assert "allocator, which Nsight Systems does not record" in whole.errors[0]
        assert len(kineto.read(first.trace_path).annotations) == 2 * 4 + 1
        assert "ZeroDivisionError" in broken.errors[0]


@real
def test_a_real_recording_has_a_range_per_case_trial_iteration_and_module(recorded):
    _, runs = recorded
    export = runs["two"] / "nsys" / "suite.sqlite"
    by_name = {row.name: row.count for row in summary.summarise(backends.nsys_sqlite.read(export)).nvtx.time_by_range}
    assert by_name["ttprof.case#whole"] == by_name["ttprof.trial#whole/trace"] == 1
    assert by_name["ttprof.trial#0/trace"] == by_name["ttprof.trial#0/trace.reference"] == 1
    assert by_name["ttprof.iteration#2"] == 3  # of the whole, of 0, of its reference
    warm = ranges.MIN_WARMUPS
    assert by_name["module: whole"] == warm + 3
    assert (by_name["module: whole.0"], by_name["module: 0"]) == (warm + 3, warm + 4)
    assert json.loads((runs["two"] / "nsys" / "request.json").read_text(encoding="utf-8"))["earlier"] == [
        str(runs["one"])
    ]


@real
def test_analyze_reads_a_real_report_through_nsys(recorded):
    report = recorded[1]["one"] / "nsys" / "suite.nsys-rep"
    shown = CliRunner().invoke(command, [str(report), "--json"])
    assert shown.exit_code == 0
    document = json.loads(shown.stdout)
    assert document["source"]["path"] == str(report)
    assert document["trace"]["notes"][0]["code"] == "no-device-activity"


GPU_SCRIPT = """
import sys, torch
from torch import nn
from ttprof import TestSuite

model = nn.Sequential(nn.Linear(64, 64), nn.ReLU()).cuda()
with TestSuite(model, inputs=torch.randn(4, 64, device="cuda"), name="gpu", trace_dir=sys.argv[1], on_failure="report",
               backend=sys.argv[2]) as suite:
    suite.test(model, name="whole").profile(2, 5).expect(kernel_count=2, kernel_time_ms=10)
"""


@pytest.mark.gpu
@real
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_kernels_belong_to_iterations_and_modules(tmp_path):
    (tmp_path / "script.py").write_text(GPU_SCRIPT)
    command = [sys.executable, "script.py", "traces", "nsys"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (folder,) = (tmp_path / "traces").iterdir()
    result = ttprof.load(folder / "result.json")
    assert result.passed, done.stdout + done.stderr
    summed = summary.summarise(kineto.read(result.cases[0].trace_path))
    assert summed.trace.complete
    assert {row.path for row in summed.modules} == {"whole", "whole.0", "whole.1"}
    assert summed.unattributed.without_launch_ns == 0
