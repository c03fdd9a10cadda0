"""A sample of ``make fuzz``, and proof that the fuzzer notices what it looks for."""

from __future__ import annotations

import sys
import time

import pytest

from fuzz import run, worker
from fuzz.targets import TARGETS, Target
from fuzz.worker import Worker
from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError


@pytest.fixture
def fuzzer(tmp_path, monkeypatch):
    """A worker with the project's own inputs."""
    monkeypatch.setitem(sys.modules, "ncu_report", None)  # the worker puts a fake there
    inputs = {target.name: list(target.seeds()) for target in TARGETS}
    return Worker(tmp_path, tmp_path / "findings", 1, inputs)


def test_a_sample_of_damaged_files_has_no_finding(fuzzer):
    fuzzer.warm_up()
    whole = fuzzer.counts.total
    assert fuzzer.counts.accepted == whole
    for _ in range(300):
        assert fuzzer.step()
    assert fuzzer.counts.total == whole + 300
    assert fuzzer.counts.findings == []


def crash(path):
    raise ZeroDivisionError


def refuse(path):
    raise TraceError("no", TraceErrorCode.CORRUPT, path)


def stall(path):
    while True:
        time.sleep(0)


@pytest.mark.parametrize(
    ("read", "kind"), [(crash, "ZeroDivisionError"), (stall, "slow"), (refuse, "refused"), (str, "ok")]
)
def test_what_is_a_finding(fuzzer, tmp_path, monkeypatch, read, kind):
    monkeypatch.setattr(worker, "SECONDS", 0.01)
    target = Target("kineto", ".json", read, lambda: iter(()))
    assert fuzzer.try_input(target, b"input") == kind
    assert fuzzer.try_input(target, b"again") == kind
    saved = [path.read_bytes() for path in (tmp_path / "findings").glob("*")]
    assert saved == ([b"input"] if kind in ("ZeroDivisionError", "slow") else [])
    assert len(fuzzer.counts.findings) == len(saved)


def test_memory_beyond_the_bound_is_a_finding(fuzzer, monkeypatch):
    above = 100.0 + worker.MEMORY_MIB + 1
    peaks = iter([100.0, 100.0])  # after the warm-up, and before the input
    monkeypatch.setattr(worker, "TARGETS", ())
    monkeypatch.setattr(worker, "peak_mib", lambda: next(peaks, above))
    fuzzer.warm_up()
    assert fuzzer.try_input(Target("kineto", ".json", str, lambda: iter(())), b"input") == "memory"
    assert "memory" in fuzzer.counts.findings[0]
    assert not fuzzer.is_sound


def test_totals_add_up():
    totals = run.Totals()
    totals.add(worker.Counts({"kineto": 2}, 1, 1, 0.5, "a", 10.0, ["x"]))
    totals.add(worker.Counts({"kineto": 3, "nsys": 1}, 0, 1, 0.1, "b", 20.0, []))
    counts = totals.counts
    assert (counts.total, counts.accepted, counts.slowest, counts.peak_mib) == (6, 1, "a", 20.0)
    assert counts.findings == ["x"]
