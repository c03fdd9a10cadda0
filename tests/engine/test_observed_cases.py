"""A suite that is watched or surrounded says so, and a module that changes the process does not reach the next case."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ttprof import TestSuite
from ttprof.codes import NoteCode, VerdictCode
from ttprof.result import SuiteResult


class Disturbing(nn.Module):
    """Does something to the process in every forward."""

    def __init__(self, disturb: Callable[[], object]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self._disturb = disturb

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._disturb()
        return self.linear(x)


def run(disturb: Callable[[], object] = lambda: None) -> SuiteResult:
    """Run a disturbing case, then a plain one."""
    model = nn.ModuleDict({"first": Disturbing(disturb), "second": nn.Linear(4, 4)})
    suite = TestSuite(model, quiet=True, seconds_per_case=0.05, on_failure="report")
    for name in ("first", "second"):
        suite.test(name).inputs(torch.ones(2, 4)).profile(1, 3).expect(latency_ms=10_000)
    return suite.run()


def notes(result: SuiteResult, code: NoteCode) -> list[list[str]]:
    """The notes of one code, of each case."""
    return [[note.text for note in case.trials[0].notes if note.code is code] for case in result]


def test_a_profiler_around_the_suite_makes_every_case_an_error():
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as outer:
        torch.ones(2).mul(2)
        result = run()
    assert [case.status for case in result] == ["ERROR", "ERROR"]
    assert {verdict.code for case in result for verdict in case.verdicts} == {VerdictCode.PROFILER_RUNNING}
    assert "end it before the suite runs" in result[0].errors[0]
    assert any(event.name == "aten::mul" for event in outer.events())


def test_a_tracing_function_around_the_suite_is_stated_by_the_verdict_that_decides():
    before = sys.gettrace()
    sys.settrace(lambda *event: None)
    try:
        result = run()
    finally:
        sys.settrace(before)
    text = "measured under a tracing function (sys.settrace: coverage or a debugger), which slows Python code"
    assert notes(result, NoteCode.OBSERVED) == [[text], [text]]
    for case in result:
        assert [verdict.reason.endswith(f"; {text}") for verdict in case.verdicts].count(True) == 1
        assert case.verdicts[0].reason.endswith(f"; {text}")


@pytest.mark.skipif(sys.gettrace() is not None, reason="these tests are traced themselves")
def test_a_tracer_that_a_module_leaves_is_stated_for_it_and_gone_for_the_next():
    result = run(lambda: sys.settrace(lambda *event: None))
    traced, untouched = notes(result, NoteCode.OBSERVED)
    assert len(traced) == 1 and untouched == []
    assert sys.gettrace() is None
    assert [case.status for case in result] == ["PASS", "PASS"]


def test_a_profiler_that_a_module_leaves_running_ends_its_case_only():
    def start() -> None:
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]).start()

    result = run(start)
    assert [case.status for case in result] == ["ERROR", "PASS"]
    assert not torch.autograd._profiler_enabled()


def test_a_module_that_profiles_itself_cannot_be_recorded():
    def profile() -> None:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
            torch.ones(2).mul(2)

    result = run(profile)
    assert [case.status for case in result] == ["ERROR", "PASS"]
    assert "it starts a profiler of its own, which torch can't run while ttprof records" in result[0].errors[0]


def test_settings_that_a_module_changes_are_noted_and_do_not_reach_the_next_case(in_empty_folder):
    elsewhere = in_empty_folder / "elsewhere"
    elsewhere.mkdir()

    def change() -> None:
        torch.set_default_dtype(torch.float64)
        os.chdir(elsewhere)

    result = run(change)
    text = "its forward changes the default dtype, the working directory of the process: restored afterwards"
    assert notes(result, NoteCode.PROCESS_CHANGED) == [[text], []]
    assert torch.get_default_dtype() is torch.float32
    assert Path.cwd() == in_empty_folder


def test_a_thread_that_outlives_the_forward_is_named():
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start() -> None:
        if not threads:
            threads.append(threading.Thread(target=stop.wait, name="feeder"))
            threads[0].start()

    try:
        result = run(start)
    finally:
        stop.set()
        threads[0].join()
    text = "its forward leaves threads running that keep the process from ending: 'feeder'"
    assert notes(result, NoteCode.THREADS_LEFT) == [[text], []]


def test_a_backward_is_tested_in_spite_of_an_inference_mode_around_the_suite():
    model = nn.Sequential(nn.Linear(4, 4))
    suite = TestSuite(model, quiet=True, seconds_per_case=0.05, on_failure="report")
    suite.test("0").input_shape((2, 4)).profile(1, 2).backward().tolerance(1e-3)
    with torch.inference_mode():
        result = suite.run()
    assert result[0].status == "PASS", result[0].errors
