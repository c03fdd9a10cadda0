"""``ttprof baseline``: several processes, several results, and what is kept when a run goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from machines import MACHINE
from results import case, measured, suite, trial

from ttprof import baseline
from ttprof.cli import recording
from ttprof.cli.baseline import command
from ttprof.cli.compare import command as compare
from ttprof.machine import MachineUse
from ttprof.measurement import LaterTiming
from ttprof.report import jsonfile
from ttprof.result import SuiteResult
from ttprof.verdict import Status

SCRIPT = """
import torch
from torch import nn
from ttprof import TestSuite

with TestSuite(nn.Sequential(nn.Linear(8, 8)), inputs=torch.ones(2, 8), name="gate") as suite:
    suite.test("0", name="linear").profile(1, 12, trace_iterations=2).expect(op_count=0)
"""


def result(ms: float, status: Status = Status.PASS, disturbed: int = 0, looks=(), **fields) -> SuiteResult:
    samples = [ms * 1e6 + index for index in range(20)]
    latency = measured("latency_ms", ms, samples=samples, timed="wall")
    machine = MachineUse(disturbed=list(range(disturbed)), process=1)
    one = trial(latency, iterations=20, machine=machine, looks=list(looks))
    return suite(case("ffn", status, one), **{"environment": MACHINE, **fields})


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


def test_a_script_is_recorded_in_processes_of_their_own(folder):
    Path("gate.py").write_text(SCRIPT, encoding="utf-8")
    done = run("record", "gate.py", "--runs", "2", "-o", "out/base.json", "--trace-dir", "kept")
    assert done.exit_code == 0, done.output
    saved = baseline.read("out/base.json")
    (only,) = saved.trials
    assert saved.processes == 2 and len(list(Path("kept").iterdir())) == 2
    ops = next(stored for stored in only.measurements if stored.name == "op_count")
    latency = next(stored for stored in only.measurements if stored.name == "latency_ms")
    assert ops.values == [1.0, 1.0] and len(latency.unpacked) == 24
    assert "linear failed in 2 of 2 runs" in done.stderr and "run 2 of 2: 1 case in" in done.stderr
    assert "wrote out/base.json: 1 case at 1 sweep point, 2 processes" in done.stdout


@pytest.fixture
def runs(monkeypatch, folder):
    """Replace ``ttprof run``: each entry is the list of results that a run writes, or its exit code."""
    planned: list[list[SuiteResult] | int] = []

    class Done:
        returncode = 0
        stdout = "Traceback: no such module"

    def ttprof_run(arguments: list[str], **options: object) -> Done:
        assert arguments[:4] == [sys.executable, "-m", "ttprof", "run"]
        given, done = planned.pop(0), Done()
        if isinstance(given, int):
            done.returncode = given
            return done
        kept = Path(arguments[arguments.index("--trace-dir") + 1])
        for index, one in enumerate(given):
            one.save(kept / f"run-{len(planned)}-{index}" / "result.json")
        jsonfile.write(given, Path(arguments[arguments.index("--json") + 1]))
        return done

    monkeypatch.setattr(recording.subprocess, "run", ttprof_run)
    Path("gate.py").touch()
    return planned


def test_the_table_says_from_how_much_a_slowdown_is_told(runs):
    runs += [[result(ms)] for ms in (3.0, 3.1, 2.9, 3.0, 3.05)]
    done = run("record", "gate.py")
    # the logarithms of the values have a standard deviation of 0.0248; t(0.99, 4) = 3.747, times sqrt(1 + 1/5)
    assert "ffn      3 ms             ±2.5 %  ±0.0 %      +11 %" in done.stdout
    assert "over 5 processes" in done.stdout and baseline.read("baseline.json").processes == 5


def test_a_later_run_that_fails_leaves_the_earlier_ones(runs):
    runs += [[result(3.0)], [result(3.1)], 3]
    done = run("record", "gate.py", "--runs", "3")
    assert done.exit_code == 1 and not Path("baseline.json").exists()
    assert str(done.exception).startswith("gate.py ended with exit code 3:\nTraceback")
    kept = Path(done.stderr.partition("are kept in ")[2].partition(";")[0])
    assert "ttprof: 2 runs are kept" in done.stderr and len(list(kept.iterdir())) == 2
    assert f"ttprof baseline update baseline.json {kept}/*" in done.stderr
    assert run("update", "baseline.json", *map(str, kept.iterdir())).exit_code == 0
    assert baseline.read("baseline.json").processes == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "gate.py ran 2 suites; choose one with --suite: gate, other"),
        (["--suite", "third"], "gate.py ran no suite 'third', only gate, other"),
    ],
)
def test_a_script_of_several_suites(runs, options, message):
    runs += [[result(3.0), result(4.0, name="other")]]
    assert str(run("record", "gate.py", "--runs", "1", *options).exception) == message


def test_one_suite_of_several_is_chosen(runs):
    runs += [[result(3.0), result(4.0, name="other")]] * 2
    assert run("record", "gate.py", "--runs", "2", "--suite", "other").exit_code == 0
    assert baseline.read("baseline.json").name == "other"


def test_a_script_without_a_suite(runs):
    runs += [[]]
    assert str(run("record", "gate.py").exception).startswith("gate.py ran no suite:\nTraceback")


def test_a_run_with_an_error_is_no_baseline(runs):
    runs += [[result(3.0)], [result(3.0, status=Status.ERROR)]] * 2
    done = run("record", "gate.py", "--runs", "2")
    assert done.exit_code == 2 and "can't be a baseline: these cases ended as ERROR: ffn" in done.stderr
    assert run("record", "gate.py", "--runs", "2", "--force").exit_code == 0


def test_a_busy_machine_is_said_when_the_baseline_is_saved_and_compared(folder):
    result(3.0, disturbed=10).save("busy.json")
    result(3.0).save("quiet.json")
    done = run("update", "base.json", "busy.json")
    clause = "recorded on a busy machine: other processes had the CPU in or around 50 % of its timed iterations"
    assert f"ttprof: base.json was {clause}; record it again when the machine is quiet" in done.stderr
    assert not run("update", "calm.json", "quiet.json").stderr
    assert f"WARNING base was {clause}" in " ".join(
        CliRunner().invoke(compare, ["base.json", "quiet.json"]).stdout.split()
    )


def test_compare_judges_a_result_by_its_looks_as_a_run_does(folder):
    result(3.0).save("base.json")
    look = LaterTiming(machine=MachineUse(process=2), measurements=result(3.0)["ffn"].trials[0].measurements)
    result(4.0).save("one.json")
    result(4.0, looks=[look]).save("two.json")
    result(4.0, disturbed=15).save("busy.json")
    once, twice, busy = (
        CliRunner().invoke(compare, ["base.json", name]) for name in ("one.json", "two.json", "busy.json")
    )
    assert (once.exit_code, twice.exit_code, busy.exit_code) == (1, 0, 0)
    assert "undecided" in twice.stdout and "in a fresh process latency_ms" in twice.stdout
    assert "undecided" in busy.stdout and "other processes had the CPU in or around 15 of 20 iterations" in busy.stdout
