"""Looks again at what would fail: how often, where, and for how long."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
from single_case import run_case
from torch import nn

from ttprof.engine import looking, suite_run
from ttprof.engine.looking import ConfirmBudget
from ttprof.verdict import Status

SCRIPT = """
import torch
from torch import nn
from ttprof import TestSuite
with TestSuite(nn.Linear(64, 64), inputs=torch.ones(8, 64), seconds_per_case=0.2, name="gate") as suite:
    suite.test(nn.Linear(64, 64), name="slow").input_shape((8, 64)).expect(latency_ms=1e-6)
    suite.test(nn.Linear(64, 64), name="fine").input_shape((8, 64)).expect(latency_ms=60_000)
"""


def test_what_fails_by_a_time_is_timed_again_and_only_that():
    failing = run_case(nn.Linear(8, 8), lambda case: case.expect(latency_ms=1e-6), confirm_s=20)
    assert failing.status is Status.FAIL and len(failing.trials[0].looks) == 1
    look = failing.trials[0].looks[0]
    assert {m.name for m in look.measurements} >= {"latency_ms", "cpu_time_ms"}
    assert len(next(m for m in look.measurements if m.name == "latency_ms").samples) == 2
    assert "confirmed by a second look" in " ".join(failing.errors)
    passing = run_case(nn.Linear(8, 8), lambda case: case.expect(latency_ms=60_000), confirm_s=20)
    assert passing.trials[0].looks == []
    by_memory = run_case(nn.Linear(8, 8), lambda case: case.expect(memory_mb=1e-6), confirm_s=20)
    assert by_memory.status is Status.FAIL and by_memory.trials[0].looks == []


def test_without_a_budget_a_time_fails_by_one_look():
    failing = run_case(nn.Linear(8, 8), lambda case: case.expect(latency_ms=1e-6), confirm_s=0)
    assert failing.status is Status.FAIL and failing.trials[0].looks == []


def test_the_budget_is_a_third_of_the_run_and_shared_by_all_rounds(monkeypatch):
    monkeypatch.setattr(looking, "LEAST_S", 20.0)
    monkeypatch.setattr(looking, "SHARE", 1 / 3)
    monkeypatch.setattr(looking.time, "monotonic", lambda: 400.0)
    budget = ConfirmBudget.of(None, began=100.0)
    assert (budget.seconds, budget.until, budget.left) == (100.0, 500.0, 100.0)
    assert budget.per_case(10) == 2.5 and budget.per_case(10_000) == looking.SHORTEST_S
    assert ConfirmBudget.of(None, began=390.0).seconds == 20.0
    assert ConfirmBudget.of(7.0, began=100.0).seconds == 7.0


@pytest.mark.parametrize(
    ("certain", "open_rounds", "asked"),
    [
        (1, 1, ["doubted", "excused"]),  # nothing is excused after the process that is certain
        (1, 9, ["doubted", "excused", "excused"]),
        (2, 9, ["doubted", "doubted", "excused"]),
        (1, 0, ["doubted"]),
    ],
)
def test_more_processes_look_while_the_machine_excuses_a_case(monkeypatch, certain, open_rounds, asked):
    seen, names = [], {looking.DOUBTED: "doubted", looking.EXCUSED: "excused"}

    def doubt(journal, codes):
        seen.append(names[codes])
        return ["ffn"] if len(seen) <= open_rounds else []

    monkeypatch.setattr(looking, "doubt", doubt)
    supervisor = mock.Mock()
    suite_run._look_in_processes(supervisor, ConfirmBudget.of(100.0, time.monotonic()), certain)
    assert seen == asked and supervisor.run.call_count == min(open_rounds, len(asked))
    assert not open_rounds or (supervisor.until, supervisor.seconds) == (math.inf, 0.0)


def run(folder: Path, *options: str) -> tuple[int, dict]:
    (folder / "gate.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "ttprof", "run", "-q", "--json", "r.json", *options, "gate.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
    (result,) = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    return done.returncode, result


@pytest.mark.parametrize("isolated", [(), ("--isolate",)], ids=["plain", "isolated"])
def test_a_script_is_run_again_for_a_look_in_a_fresh_process(tmp_path, isolated):
    code, result = run(tmp_path, "--confirm", "120", *isolated)
    slow, fine = result["cases"]
    assert (code, slow["status"], fine["status"]) == (1, "FAIL", "PASS")
    looks = slow["trials"][0]["looks"]
    assert len(looks) == 2 and not fine["trials"][0]["looks"]
    processes = {look["machine"]["process"] for look in looks} | {slow["trials"][0]["machine"]["process"]}
    assert len(processes) == (3 if isolated else 2)
    reason = next(v["reason"] for v in slow["verdicts"] if v["status"] == "FAIL")
    assert f"confirmed in {len(processes)} processes" in reason


def test_no_process_is_started_with_confirm_0(tmp_path):
    code, result = run(tmp_path, "--confirm", "0")
    assert code == 1 and result["cases"][0]["trials"][0]["looks"] == []
