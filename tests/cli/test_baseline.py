"""``ttprof baseline``: several processes, several results, and what is kept when a run goes wrong."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import msgspec
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
from ttprof.system import signals
from ttprof.system.guarded import GuardedProcess
from ttprof.verdict import Status

SCRIPT = """
import torch
from torch import nn
from ttprof import TestSuite

with TestSuite(nn.Sequential(nn.Linear(8, 8)), inputs=torch.ones(2, 8), name="gate") as suite:
    suite.test("0", name="linear").profile(1, 12, trace_iterations=2).expect(op_count=0)
"""


def result(
    ms: float, status: Status = Status.PASS, disturbed: int = 0, looks=(), offset: int = 0, **fields
) -> SuiteResult:
    samples = [ms * 1e6 + offset + index for index in range(20)]
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

    def ttprof_run(arguments: list[str], log: Path) -> int:
        assert arguments[:4] == [sys.executable, "-m", "ttprof", "run"]
        given = planned.pop(0)
        log.write_text("Traceback: no such module", encoding="utf-8")
        if isinstance(given, int):
            return given
        kept = Path(arguments[arguments.index("--trace-dir") + 1])
        for index, one in enumerate(given):
            one.save(kept / f"run-{len(planned)}-{index}" / "result.json")
        places = [kept / f"run-{len(planned)}-{index}" for index in range(len(given))]
        saved = [msgspec.structs.replace(one, run_dir=str(place)) for one, place in zip(given, places, strict=True)]
        jsonfile.write(saved, Path(arguments[arguments.index("--json") + 1]))
        return 0

    monkeypatch.setattr(recording, "_finish", ttprof_run)
    Path("gate.py").touch()
    return planned


def test_the_table_says_from_how_much_a_slowdown_is_told(runs):
    runs += [[result(ms, offset=index)] for index, ms in enumerate((3.0, 3.1, 2.9, 3.0, 3.05))]
    done = run("record", "gate.py")
    # the logarithms of the values have a standard deviation of 0.0248; t(0.99, 4) = 3.747, times sqrt(1 + 1/5)
    assert "ffn      3 ms             ±2.5 %  ±0.0 %      +11 %" in done.stdout
    assert "over 5 processes" in done.stdout and baseline.read("baseline.json").processes == 5


@pytest.mark.parametrize(("code", "ending"), [(3, "ended with exit code 3"), (-11, "was ended by SIGSEGV")])
def test_a_later_run_that_fails_leaves_the_earlier_ones(runs, code, ending):
    runs += [[result(3.0)], [result(3.1)], code]
    done = run("record", "gate.py", "--runs", "3")
    assert done.exit_code == 1 and not Path("baseline.json").exists()
    assert str(done.exception) == f"gate.py {ending}, see above" and "Traceback" in done.stderr
    assert "ttprof: 2 complete runs are kept; to save what was recorded: ttprof baseline update" in done.stderr
    first, second, *update = shlex.split(done.stderr.rpartition("recorded: ")[2])
    assert [first, second] == ["ttprof", "baseline"] and run(*update).exit_code == 0
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
    runs += [[result(3.0), result(ms, name="other")] for ms in (4.0, 4.1)]
    assert run("record", "gate.py", "--runs", "2", "--suite", "other").exit_code == 0
    assert baseline.read("baseline.json").name == "other"


def test_a_script_without_a_suite(runs):
    runs += [[]]
    assert str(run("record", "gate.py").exception) == "gate.py ran no suite"


def test_a_run_with_an_error_is_no_baseline(runs):
    runs += [[result(3.0)], [result(3.1, status=Status.ERROR)]] * 2
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


def test_a_script_that_raised_after_its_suite_is_not_recorded(folder):
    Path("gate.py").write_text(
        SCRIPT.replace("op_count=0", "op_count=1") + "raise RuntimeError('late')\n", encoding="utf-8"
    )
    done = run("record", "gate.py", "--runs", "1")
    assert str(done.exception) == "gate.py ended with exit code 1, see above" and "late" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not a ttprof result or baseline"), ('{"name": "gate"}', "is a result")]
)
def test_what_the_baseline_would_replace_is_looked_at_before_anything_runs(runs, content, message):
    Path("baseline.json").write_text(content, encoding="utf-8")
    done = run("record", "gate.py")
    assert message in f"{done.exception} {done.output}" and "run 1" not in done.stderr


def test_other_hardware_is_refused_after_the_first_run(runs):
    result(3.0).save("old.json")
    assert run("update", "baseline.json", "old.json").exit_code == 0
    other = msgspec.structs.replace(MACHINE, threads=99)
    runs += [[result(3.0, environment=other)], [result(3.1, environment=other)]]
    done = run("record", "gate.py", "--runs", "2")
    assert "different hardware" in str(done.exception) and len(runs) == 1


def test_a_script_that_names_a_missing_baseline_is_recorded_without_it(folder):
    Path("gate.py").write_text(SCRIPT.replace('name="gate"', 'name="gate", baseline="gone.json"'), encoding="utf-8")
    assert run("record", "gate.py", "--runs", "1").exit_code == 0


def test_a_signal_is_passed_on_and_ends_the_recording(folder, monkeypatch):
    code = "from signal import *; signal(SIGTERM, lambda *ignored: exit(print('saved'))); print(); pause()"
    waited = recording._wait

    def interrupted(child: GuardedProcess) -> None:
        monkeypatch.setattr(recording, "_wait", waited)
        while not log.exists() or not log.read_bytes():
            assert not child.wait(0.05)
        raise signals.Terminated(signal.SIGTERM)

    log = folder / "log"
    monkeypatch.setattr(recording, "_wait", interrupted)
    with pytest.raises(signals.Terminated):
        recording._finish([sys.executable, "-u", "-c", code], log)
    assert log.read_text(encoding="utf-8").split() == ["saved"]
