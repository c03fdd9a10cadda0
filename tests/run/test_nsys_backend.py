"""The backend of Nsight Systems: with a fake nsys for what can go wrong, with the real one for what is recorded."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import nsys_files as n
import pytest
import torch
from torch import nn

import ttprof
from ttprof.engine import backends
from ttprof.errors import NsightError
from ttprof.nsight import nsys, rerun
from ttprof.nsight.tool import Start
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


def fake(folder: Path, body: str, release: str = "2024.3.1") -> Path:
    """An ``nsys`` on the PATH of a test, a shell script that answers ``--version`` and else runs *body*."""
    folder.mkdir(exist_ok=True)
    tool = folder / "nsys"
    told = f'if [ "$1" = --version ]; then echo "NVIDIA Nsight Systems version {release}"; exit; fi'
    tool.write_text(f"#!/bin/sh\n{told}\n{body}\n")
    tool.chmod(0o755)
    return tool


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Makes the only nsys that is found a fake one."""

    def make(body, release="2024.3.1"):
        fake(tmp_path / "bin", body, release)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        return nsys.find()

    monkeypatch.setattr(nsys, "NSYS", replace(nsys.NSYS, places=()))
    return make


def test_no_nsys_an_old_one_and_one_that_is_none(tool, monkeypatch, tmp_path):
    with pytest.raises(NsightError, match=r"too old: install Nsight Systems 2022\.1 or newer"):
        tool("", release="2021.5.2")
    with pytest.raises(NsightError, match="does not state its version"):
        tool("", release="?")
    assert str(tool("", release="2025.10.1")) == "nsys 2025.10"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NsightError, match="nsys was not found: install"):
        nsys.find()


RECORD = '/bin/echo "$@" >> "{log}"; for a; do case "$a" in --output=*) out="${{a#--output=}}";; esac; done'


def test_one_retry_where_no_report_is_written(tool, tmp_path):
    log = tmp_path / "log"
    if_again = f'if [ -n "$out" ]; then if [ -e "{log}.1" ]; then echo x > "$out.nsys-rep"; else : > "{log}.1"; fi; fi'
    tool(f"{RECORD.format(log=log)}\n{if_again}").record(Start(["true"]), tmp_path / "r.nsys-rep", on_cuda=False)
    profiled = [line for line in log.read_text(encoding="utf-8").splitlines() if "--output" in line]
    assert len(profiled) == 2
    assert "--sample=none" in profiled[0] and "cudaProfilerApi" not in profiled[0]
    (tmp_path / "r.nsys-rep").unlink()
    with pytest.raises(NsightError, match="wrote no report; its output: so sorry"):
        tool("echo '[1/1] [==  ]'; echo so sorry").record(Start(["true"]), tmp_path / "r.nsys-rep", on_cuda=False)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ERR_NVGPUCTRPERM - The user does not have permission", "not permitted.*SYS_ADMIN"),
        ("The importer binary and its dependencies were not found.", "host-linux-x64"),
    ],
)
def test_what_nsys_says_becomes_a_remedy(tool, tmp_path, said, words):
    with pytest.raises(NsightError, match=words):
        tool(f"echo '{said}'").record(Start(["true"]), tmp_path / "r.nsys-rep", on_cuda=False)


def test_what_is_traced_on_cuda(tool, tmp_path):
    log = tmp_path / "log"
    listed = "\\t-t, --trace=\\n\\n\\t Possible: 'cuda', 'nvtx', 'osrt', 'cublas'\\n\\n\\t--x=\\n"
    helped = f'if [ "$2" = --help ]; then printf "{listed}"; exit; fi'
    made = tool(f'{helped}; {RECORD.format(log=log)}; echo x > "$out.nsys-rep"')
    made.record(Start(["python", "s.py"]), tmp_path / "r.nsys-rep", on_cuda=True)
    assert log.read_text(encoding="utf-8").split() == [
        "profile",
        "--trace=cuda,nvtx,osrt,cublas",
        "--sample=none",
        "--cpuctxsw=none",
        "--force-overwrite=true",
        f"--output={tmp_path / 'r'}",
        "--capture-range=cudaProfilerApi",
        "--capture-range-end=stop",
        "--cuda-graph-trace=node",
        "python",
        "s.py",
    ]


def test_a_report_that_can_not_be_exported(tool, tmp_path):
    with pytest.raises(NsightError, match=r"r\.nsys-rep: nsys 2024\.3 could not export it: unknown format"):
        tool("echo unknown format").export(tmp_path / "r.nsys-rep", tmp_path / "r.sqlite")


class FakeNsys:
    """Records nothing: leaves an export of a GPU, and an answer as the second process would."""

    def __init__(self, answer, export):
        self.answer, self.export_of, self.recordings = answer, export, 0

    def record(self, start, report, on_cuda):
        self.recordings += 1
        assert on_cuda
        asked = msgspec.json.decode(Path(start.environment[rerun.ENVIRONMENT]).read_bytes(), type=rerun.Request)
        if self.answer is not None:
            self.answer.save(Path(asked.folder))
        return "Traceback:\n  File x\n    ^^^^\nValueError: no\nGenerating '/tmp/x.qdstrm'\n"

    def export(self, report, target):
        shutil.copy(self.export_of, target)


def on_cuda(tmp_path, monkeypatch, answer):
    """A collector of a run on a GPU, of which a fake nsys recorded two trials of two iterations each."""
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
    found = Iterations.of(trace)
    assert found.windows.dur.tolist() == [90, 100]
    assert found.sums(found.of_kernels, trace.kernels.dur).tolist() == [10, 20]
    assert [(row.path, row.calls, row.forward_ns) for row in summary.summarise(trace).modules] == [("block", 2, 30)]
    assert kineto.read(record(collector, tmp_path, "other").path).kernels.time_ns == 40
    assert tool.recordings == 1


def test_the_trace_of_a_trial_keeps_what_the_recording_says_of_itself(tmp_path, monkeypatch):
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


def test_what_was_not_recorded_is_an_error_that_says_why(tmp_path, monkeypatch):
    answer = rerun.Answer({"case/trace": rerun.Recorded("it", 2)}, {"other": "other raised ValueError: no"})
    _, collector = on_cuda(tmp_path, monkeypatch, answer)
    with pytest.raises(NsightError, match=r"^other raised ValueError: no$"):
        record(collector, tmp_path, "other")
    with pytest.raises(NsightError, match="third was not recorded: the second run"):
        record(collector, tmp_path, "third")
    _, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer(error="the second run ran a different suite"))
    with pytest.raises(NsightError, match="ran a different suite"):
        record(collector, tmp_path, "case")
    for found in (rerun.Recorded("that", 2), rerun.Recorded("it", 1)):
        _, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"case/trace": found}))
        with pytest.raises(
            NsightError, match=rf"a different case: {found.iterations} iterations of {found.what}, not 2 of it"
        ):
            record(collector, tmp_path, "case")
    _, collector = on_cuda(tmp_path, monkeypatch, None)
    with pytest.raises(NsightError, match=r"ended before the suite: Traceback: File x ValueError: no$"):
        record(collector, tmp_path, "case")


def test_a_recording_that_lost_its_end_is_made_again_once(tmp_path, monkeypatch):
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


def test_a_kernel_whose_launch_is_lost_is_no_zero(tmp_path, monkeypatch):
    tool, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"case/trace": rerun.Recorded("it", 2)}))
    with sqlite3.connect(tool.export_of) as connection:
        connection.execute("DELETE FROM CUPTI_ACTIVITY_KIND_RUNTIME WHERE correlationId = 2")
    connection.close()
    with pytest.raises(
        NsightError, match=r"lost calls: 1 of 2 kernels and copies of 'ttprof.trial#case/trace' have no launch"
    ):
        record(collector, tmp_path, "case")


def test_a_recording_without_our_ranges_names_the_remedy(tmp_path, monkeypatch):
    _, collector = on_cuda(tmp_path, monkeypatch, rerun.Answer({"third/trace": rerun.Recorded("it", 2)}))
    with pytest.raises(NsightError, match=r"holds no range 'ttprof\.trial#third/trace': nsys did not record NVTX"):
        record(collector, tmp_path, "third")


def test_the_second_process_runs_workloads_inside_ranges(tmp_path, monkeypatch):
    from contextlib import contextmanager

    seen = []

    @contextmanager
    def ranged(name):
        seen.append(name)
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
    assert seen == ["ttprof.case#case", *warm, "ttprof.trial#case/n=4", *rest]
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
def test_a_package_whose_ranges_would_be_lost_is_refused(monkeypatch, release, package, refused):
    monkeypatch.setattr(ranges, "nvtx_ranges", lambda: None)
    monkeypatch.setattr(ranges, "version", lambda name: package)
    monkeypatch.setattr(torch.version, "cuda", None)
    found = nsys.Nsys("nsys", release)
    if refused:
        with pytest.raises(NsightError, match=rf"records no range of nvtx {package}"):
            ranges.check(found)
    else:
        ranges.check(found)


def test_a_process_that_can_not_be_run_again_says_what_to_type(monkeypatch):
    typed = "type: ttprof run --backend nsys SCRIPT"
    with pytest.raises(NsightError, match=f"pytest.*{typed}"):
        rerun.command("nsys")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(sys, "orig_argv", ["python", "a b.py", "--x"])
    assert rerun.command("nsys") == [sys.executable, "a b.py", "--x"]
    for argv in (["python"], ["python", "-"]):
        monkeypatch.setattr(sys, "orig_argv", argv)
        with pytest.raises(NsightError, match=f"pipe.*{typed}"):
            rerun.command("nsys")
    monkeypatch.setattr(sys, "orig_argv", ["python", "a.py"])
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(NsightError, match="one rank of several would wait"):
        rerun.command("nsys")
    with rerun.script(Path("/x/a.py")), pytest.raises(NsightError, match="one rank of several would wait"):
        rerun.command("nsys")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with rerun.script(Path("/x/a.py")):
        assert rerun.command("nsys") == [sys.executable, "/x/a.py"]


real = pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not installed (docs/nsight.md)")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two suites of one script, recorded by the real nsys."""
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
def test_real_suites_are_recorded_one_by_one(recorded):
    printed, runs = recorded
    assert printed.splitlines() == [f"{name} ['ERROR', 'FAIL', 'ERROR']" for name in ("one", "two")]
    for folder in runs.values():
        result = ttprof.load(folder / "result.json")
        assert result.backend == "nsys"
        whole, first, broken = result
        assert whole.metrics["recorded_latency_ms"] > 0 and whole.trials[0].recorded == 3
        assert "allocator, which Nsight Systems does not record" in whole.errors[0]
        assert len(kineto.read(first.trace_path).annotations) == 2 * 4 + 1
        assert "ZeroDivisionError" in broken.errors[0]


@real
def test_a_real_recording_holds_our_ranges(recorded):
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
def test_a_real_report_is_analysed_by_way_of_nsys(recorded):
    from click.testing import CliRunner

    from ttprof.cli.analyze import command

    report = recorded[1]["one"] / "nsys" / "suite.nsys-rep"
    shown = CliRunner().invoke(command, [str(report), "--json"])
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert found["source"]["path"] == str(report)
    assert found["trace"]["notes"][0]["code"] == "no-device-activity"


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
    found = summary.summarise(kineto.read(result.cases[0].trace_path))
    assert found.trace.complete
    assert {row.path for row in found.modules} == {"whole", "whole.0", "whole.1"}
    assert found.unattributed.without_launch_ns == 0
