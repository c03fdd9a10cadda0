"""Suites in processes of their own: the same verdicts, one worker for each pass, and clear reasons where they can't."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ttprof import TestSuite
from ttprof.engine.stacks import first_line, last_output
from ttprof.errors import SpecError
from ttprof.result_file import load
from ttprof.system.guarded import SUPPORTED

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="isolation needs fork")

SCRIPT = """
import os, sys, torch
from torch import nn
from ttprof import SuiteFailed, TestSuite

print("started", *sys.argv[1:])
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
x = torch.randn(4, 8)

class Process(nn.Module):
    def forward(self, x):
        with open("processes", "a") as file:
            file.write(f"{os.getpid()} {torch.autograd._profiler_enabled()}\\n")
        return x + 1

for name in ("one", "two"):
    try:
        with TestSuite(model, inputs=x, name=name, seconds_per_case=0.1, isolate=ISOLATE, trace_dir="traces") as suite:
            suite.test("0").tolerance(1e-3).expect(latency_ms=1000)
            suite.test("2").compare_with(nn.Linear(8, 8)).expect(memory_mb=0)
            suite.test(Process(), name="process").inputs(x).profile(1, 3)
            suite.test(model, name="sweep").with_batch_sizes([64, 256, 1024]).input_factory(
                lambda batch_size: torch.randn(batch_size, 8)
            ).expect_scaling("linear", metric="memory_mb")
            suite.test("1").skip("not now")
    except SuiteFailed as failed:
        print(name, [str(case.status) for case in failed.result])
"""


def run(folder: Path, isolate: bool) -> tuple[list[str], dict[str, object]]:
    """The lines that the script prints, and the results of its suites by name."""
    folder.mkdir()
    (folder / "gate.py").write_text(SCRIPT.replace("ISOLATE", str(isolate)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "gate.py", "--size", "3"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    results = {path.name.split("-")[0]: load(path / "result.json") for path in (folder / "traces").iterdir()}
    return [line for line in done.stdout.splitlines() if line.startswith(("started", "one [", "two ["))], results


def test_an_isolated_suite_has_the_verdicts_of_a_plain_one_and_two_workers(tmp_path):
    plain_lines, plain = run(tmp_path / "plain", isolate=False)
    lines, isolated = run(tmp_path / "isolated", isolate=True)
    assert lines == plain_lines == ["started --size 3", *(f"{name} {STATUSES}" for name in ("one", "two"))]
    for name in ("one", "two"):
        assert [verdicts_of(case) for case in isolated[name]] == [verdicts_of(case) for case in plain[name]]
        assert all(Path(trial.trace_path).exists() for case in isolated[name] for trial in case.trials)
        logs = [path.name for path in Path(isolated[name].run_dir).glob("worker*")]  # of what the script printed
        assert sorted(logs) == ["worker-1.log", "worker-2.log"]
    by_process: dict[str, set[str]] = {}
    for line in (tmp_path / "isolated" / "processes").read_text(encoding="utf-8").splitlines():
        process, profiled = line.split()
        by_process.setdefault(process, set()).add(profiled)
    assert len(by_process) == 4  # two suites, two passes
    assert sorted("True" in kinds for kinds in by_process.values()) == [False, False, True, True]


STATUSES = ["PASS", "FAIL", "PASS", "PASS", "SKIP"]


def verdicts_of(case) -> list[tuple[str, str, str]]:
    return [(str(v.kind), str(v.status), str(v.code)) for v in case.verdicts]


def test_a_worker_that_does_not_come_to_the_suite_is_an_error_with_its_last_words(tmp_path):
    script = tmp_path / "gate.py"
    script.write_text(
        "import os, sys\nfrom pathlib import Path\n"
        "if Path('started').exists():\n    sys.exit('the second start is refused')\n"
        "Path('started').touch()\n" + SCRIPT.replace("ISOLATE", "True"),
        encoding="utf-8",
    )
    subprocess.run([sys.executable, "gate.py"], cwd=tmp_path, capture_output=True, check=True, timeout=300)
    (first, *_) = sorted((tmp_path / "traces").iterdir())
    result = load(first / "result.json")
    assert [str(case.status) for case in result] == ["ERROR"] * 4 + ["SKIP"]
    assert result[0].errors == [
        "the process that runs the script again ended with exit code 1 before it came to this case; it printed last: "
        "the second start is refused"
    ]


CAPTURED = """
import ctypes, torch
from torch import nn
from ttprof import TestSuite

class Crash(nn.Module):
    def forward(self, x):
        ctypes.string_at(0)

model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), Crash(), nn.Linear(4, 4))
with TestSuite(model, inputs=torch.ones(2, 4), isolate=True, on_failure="report", trace_dir="traces") as suite:
    for name in "0123":
        suite.test(name).profile(1, 3)
"""


def test_a_crash_in_the_forward_of_the_model_costs_only_the_cases_behind_it(tmp_path):
    (tmp_path / "gate.py").write_text(CAPTURED, encoding="utf-8")
    subprocess.run([sys.executable, "gate.py"], cwd=tmp_path, capture_output=True, check=True, timeout=300)
    (folder,) = (tmp_path / "traces").iterdir()
    result = load(folder / "result.json")
    assert [str(case.status) for case in result] == ["PASS", "PASS", "ERROR", "ERROR"]
    assert "does after this call ends the process" in result[0].trials[0].notes[0].text
    assert "died of SIGSEGV during numerics" in result[2].errors[0]
    assert "died of SIGSEGV during capture" in result[3].errors[0]


def test_what_can_not_run_again_is_refused(model):
    suite = TestSuite(model, seq_len=8, isolate=True, quiet=True)
    suite.test("norm")
    with pytest.raises(SpecError, match=r"a session of pytest is not run twice.*ttprof run --isolate SCRIPT"):
        suite.run()


def test_a_memory_limit_needs_isolation(model):
    with pytest.raises(SpecError, match="memory_limit_mb bounds the process of an isolated case: add isolate=True"):
        TestSuite(model, memory_limit_mb=100)


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"timeout_s": -1}, {"memory_limit_mb": 0, "isolate": True}])
def test_limits_are_positive(model, options):
    with pytest.raises(SpecError):
        TestSuite(model, **options)


STACK = """Fatal Python error: Segmentation fault

Thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3/threading.py", line 320 in wait

Current thread 0x00007f0000000002 (most recent call first):
  File "{standard}", line 519 in string_at
  File "/home/me/kernels.py", line 41 in forward
  File "{torch}/nn/modules/module.py", line 1750 in _call_impl
  File "/home/me/gate.py", line 9 in <module>

Thread 0x00007f0000000003 (most recent call first):
  File "/home/me/other.py", line 1 in run
"""


def test_the_line_of_a_stack_is_the_innermost_of_the_users_code_in_the_thread_that_died(tmp_path):
    import ctypes

    import torch

    stack = tmp_path / "stack"
    stack.write_text(STACK.format(standard=ctypes.__file__, torch=Path(torch.__file__).parent), encoding="utf-8")
    assert first_line(stack) == "/home/me/kernels.py:41"
    assert first_line(tmp_path / "missing") == ""
    stack.write_text("", encoding="utf-8")
    assert first_line(stack) == ""


def test_the_last_words_are_those_before_the_stack(tmp_path):
    log = tmp_path / "log"
    log.write_text("loading\nterminate called after throwing an instance of 'int'\n" + STACK, encoding="utf-8")
    assert last_output(log) == "terminate called after throwing an instance of 'int'"
    log.write_bytes(b"x" * 10_000_000)
    assert len(last_output(log)) < 210


TEST = """
import os
import ctypes
import pytest
import torch
from torch import nn

class Crash(nn.Module):
    def forward(self, x):
        ctypes.string_at(0)

class TestBlocks:
    @pytest.mark.parametrize("size", [4, 8])
    def test_block(self, ttprof, size, tmp_path):
        suite = ttprof(nn.Linear(size, size), seconds_per_case=0.1)
        suite.test(nn.Linear(size, size), name="fine").inputs(torch.ones(2, size)).profile(1, 3)
        suite.test(Crash(), name="crash").inputs(torch.ones(2, size))
"""


def test_a_test_of_pytest_runs_again_as_the_worker(pytester):
    pytester.makepyfile(TEST)
    command = ["-m", "pytest", "-p", "no:cacheprovider", "-k", "4", "--ttprof-isolate", "--ttprof-json", "out.json"]
    done = pytester.run(sys.executable, *command)
    assert done.ret == 1
    (result,) = json.loads((pytester.path / "out.json").read_text(encoding="utf-8"))
    assert [case["status"] for case in result["cases"]] == ["PASS", "ERROR"]
    assert "died of SIGSEGV during numerics, at" in result["cases"][1]["verdicts"][0]["reason"]
