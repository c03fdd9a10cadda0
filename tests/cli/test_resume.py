"""Runs that were killed: what their journal shows, and how they are resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ttprof.result_file import load

SUITE = """
import os, signal, torch
from torch import nn
from ttprof import TestSuite

CALLS = open("calls", "a")

class Fatal(nn.Module):
    def forward(self, x):
        recording = torch.autograd._profiler_enabled()
        CALLS.write("recording\\n" if recording else "timing\\n")
        CALLS.flush()
        if os.environ.get("KILL") == ("recording" if recording else "timing"):
            os.kill(os.getpid(), int(os.environ.get("SIGNAL", "9")))
        return x + 1

model = nn.Sequential(nn.Linear(4, 4), Fatal(), nn.ReLU())
x = torch.ones(2, 4)
with TestSuite(model, name="gate", seconds_per_case=0.05, trace_dir="traces", {options}) as suite:
    for name in ("0", "1", "2"):
        suite.test(name).inputs(x).profile(1, 3, trace_iterations=2).expect(latency_ms={limit})
"""


def ttprof(*arguments, **environment):
    """Run a command in a new process."""
    return subprocess.run(
        [sys.executable, "-m", "ttprof", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        timeout=300,
    )


def script(options: str = "", limit: float = 1000.0) -> Path:
    path = Path("gate.py")
    path.write_text(SUITE.replace("{options}", options).replace("{limit}", str(limit)), encoding="utf-8")
    return path


def the_run() -> Path:
    (run,) = Path("traces").glob("gate-*")
    return run


def statuses(result) -> list[str]:
    return [str(case.status) for case in result]


@pytest.mark.parametrize(
    ("stage", "first", "under_way", "taken_over", "measured"),
    [
        ("timing", "ERROR 0 (Linear): timed, and not recorded", "1 (numerics)", "1 more only have", (2, 3)),
        ("recording", "2 ERROR (interrupted, 2 of them had been timed)", "1 (profiling)", "1 of 3 cases", (0, 2)),
    ],
)
def test_a_killed_run_is_judged_from_its_journal_and_resumed(stage, first, under_way, taken_over, measured):
    killed = ttprof("run", script(), KILL=stage)
    assert killed.returncode == -signal.SIGKILL
    run = the_run()
    assert not (run / "result.json").exists()
    shown = ttprof("report", run)
    assert shown.returncode == 1
    assert first in shown.stdout and under_way in shown.stderr
    resumed = ttprof("run", "--resume", run, "--json", "all.json", script())
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert taken_over in resumed.stdout
    assert the_run() == run and statuses(load(run / "result.json")) == ["PASS", "PASS", "PASS"]
    (result,) = json.loads(Path("all.json").read_text(encoding="utf-8"))
    assert [case["trials"][0]["iterations"] for case in result["cases"]] == [3, 3, 3]
    events = [json.loads(line)["event"] for line in (run / "journal").read_text(encoding="utf-8").splitlines()]
    after = events[events.index("resumed") :]
    assert (after.count("timed"), after.count("recorded")) == measured
    assert ttprof("report", "-q", run).stdout == "gate: 3 cases: 3 PASS\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_saves_and_prints_what_was_measured(name):
    number = getattr(signal, name)
    ended = ttprof("run", "--json", "all.json", script(), KILL="timing", SIGNAL=str(int(number)))
    assert ended.returncode == 128 + number
    assert "interrupted" in ended.stdout and "results so far are kept" in ended.stderr
    assert load(the_run() / "result.json").interrupted
    assert len(json.loads(Path("all.json").read_text(encoding="utf-8"))) == 1


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", -2)])
def test_a_signal_ends_a_plain_script_with_its_exit_code(name, code):
    ended = subprocess.run(
        [sys.executable, str(script())],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "KILL": "recording", "SIGNAL": str(int(getattr(signal, name)))},
        timeout=300,
    )
    assert ended.returncode == code, ended.stderr
    assert statuses(load(the_run() / "result.json")) == ["PASS", "ERROR", "ERROR"]


def test_another_run_is_not_resumed_and_the_error_says_what_differs():
    ttprof("run", script(), KILL="timing")
    run = the_run()
    other = ttprof("run", "--resume", run, script(limit=5.0))
    assert other.returncode == 1
    assert "can't be resumed, because this is another run: case '0' had other expectations" in other.stderr
    seeded = ttprof("run", "--resume", run, script("seed=7"))
    assert "its seed was 0, and is 7" in seeded.stderr
    renamed = ttprof("run", "--resume", run, script().rename("other.py"))
    assert renamed.returncode == 0  # the name of the suite is written in the script
    missing = ttprof("run", "--resume", "nowhere", script())
    assert missing.returncode == 2 and "nowhere" in missing.stderr


def test_a_run_of_a_suite_that_the_script_lacks_is_said():
    ttprof("run", script(), KILL="timing")
    run = the_run()
    other = script()
    other.write_text(other.read_text(encoding="utf-8").replace('name="gate"', 'name="other"'), encoding="utf-8")
    done = ttprof("run", "--resume", run, other)
    assert done.returncode == 1 and f"{run} was not resumed: no suite 'gate' took it over" in done.stderr


def test_a_run_that_ended_is_taken_over_as_it_is():
    assert ttprof("run", script()).returncode == 0
    calls = Path("calls").read_text(encoding="utf-8")
    again = ttprof("run", "--resume", the_run(), script())
    assert again.returncode == 0 and "3 of 3 cases are taken over" in again.stdout
    assert Path("calls").read_text(encoding="utf-8") == calls


def test_a_run_is_not_resumed_with_another_judgement_or_other_code():
    ttprof("run", script(), KILL="timing")
    run = the_run()
    strict = ttprof("run", "--strict", "--resume", run, script())
    assert strict.returncode == 1 and "its strict was False, and is True" in strict.stderr
    assert "was not resumed" not in strict.stderr
    shard = ttprof("run", "--shard", "1/1", "--resume", run, script())
    assert shard.returncode == 1 and "its shard was all cases, and is 1/1" in shard.stderr
    edited = script()
    edited.write_text(edited.read_text(encoding="utf-8").replace("return x + 1", "return x + 2"), encoding="utf-8")
    code = ttprof("run", "--resume", run, edited)
    assert code.returncode == 1 and "the script itself, has changed since" in code.stderr
