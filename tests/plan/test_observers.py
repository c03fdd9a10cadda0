"""What watches code or surrounds it is detected, and a profiler that it leaves running is stopped."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ttprof.codes import Note, NoteCode
from ttprof.errors import ProfilerRunningError
from ttprof.plan import state
from ttprof.plan.observers import Witness, observers, unobserved

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def untraced():
    """Whatever a test leaves on is off afterwards; what watches the tests themselves stays."""
    trace, profile = sys.gettrace(), sys.getprofile()
    sys.settrace(None)
    sys.setprofile(None)
    yield
    sys.setprofile(profile)
    sys.settrace(trace)


def texts(code: NoteCode, witness: Witness, existing: tuple[Note, ...] = ()) -> list[str]:
    return [note.text for note in witness.notes(existing) if note.code is code]


def test_nothing_watches_a_plain_process():
    assert observers() == []
    assert Witness(CPU).notes() == []


TRACED = """
import cProfile, sys
from ttprof.plan.observers import observers
sys.settrace(lambda *event: None)
traced = observers()
sys.settrace(None)
with cProfile.Profile():
    profiled = observers()
print(*traced, *profiled, sep="\\n")
"""


def test_a_tracing_or_a_profiling_function_is_an_observer():
    # In a process of its own: Python 3.11 has hung here in one in which torch had compiled modules before.
    done = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=True, timeout=120)
    traced, profiled = done.stdout.splitlines()
    assert traced.startswith("a tracing function (")
    assert "which" in profiled and ("sys.setprofile" in profiled or "cProfile" in profiled)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is new in Python 3.12")
def test_a_tool_of_sys_monitoring_is_an_observer():
    sys.monitoring.use_tool_id(3, "coverage.py")
    try:
        assert observers() == ["a tool of sys.monitoring (coverage.py), which may slow Python code"]
    finally:
        sys.monitoring.free_tool_id(3)


def test_anomaly_mode_is_an_observer():
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        assert observers() == ["autograd's anomaly mode, which slows every op that needs a gradient"]


def test_a_dispatch_mode_and_a_function_mode_are_observers():
    class Logging(torch.overrides.TorchFunctionMode):
        pass

    with FlopCounterMode(display=False), Logging():
        (seen,) = observers()
    assert seen.endswith("Logging, which sees and slows every op")
    assert observers() == []


def test_autocast_and_a_default_device_are_contexts():
    witness = Witness(CPU)
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        assert texts(NoteCode.SUITE_CONTEXT, witness) == [
            "tested under the autocast to bfloat16 that is on around the suite",
            "tested with the default device meta, which slows every call of torch",
        ]
        assert texts(NoteCode.OBSERVED, witness) == []
        taken_over = (Note(NoteCode.CONTEXT_TAKEN_OVER, "tested as the model runs it: under autocast to bfloat16"),)
        assert texts(NoteCode.SUITE_CONTEXT, witness, taken_over) == [
            "tested with the default device meta, which slows every call of torch"
        ]


def test_a_note_names_the_settings_that_a_forward_changes(monkeypatch):
    monkeypatch.setenv("TTPROF_SOME", "1")
    with state.under_test([], [], CPU, 0):
        witness = Witness(CPU)
        torch.set_default_dtype(torch.float64)
        monkeypatch.delenv("TTPROF_SOME")
        assert texts(NoteCode.PROCESS_CHANGED, witness) == [
            "its forward changes the default dtype, the environment variables of the process: restored afterwards"
        ]
    assert texts(NoteCode.PROCESS_CHANGED, witness) == []


def test_a_note_names_the_threads_that_keep_the_process_alive():
    witness, stop = Witness(CPU), threading.Event()
    threads = [
        threading.Thread(target=stop.wait, name="feeder"),
        threading.Thread(target=stop.wait, name="harmless", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        left = texts(NoteCode.THREADS_LEFT, witness)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert left == ["its forward leaves threads running that keep the process from ending: 'feeder'"]
    assert texts(NoteCode.THREADS_LEFT, witness) == []


def test_the_threads_of_an_executor_keep_nothing_alive():
    witness = Witness(CPU)
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(int, "5").result() == 5
        assert witness.notes() == []


PROFILERS = {
    "torch.profiler": lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]),
    "autograd.profiler": torch.autograd.profiler.profile,
}


@pytest.mark.parametrize("name", PROFILERS)
def test_nothing_is_tested_under_a_profiler_and_that_goes_on(name):
    with PROFILERS[name]() as outer:
        with pytest.raises(ProfilerRunningError, match="runs around the suite"), unobserved():
            pytest.fail("the code ran")
        torch.ones(3).add(1)
    events = outer.events() if name == "torch.profiler" else outer.function_events
    assert any(event.name == "aten::add" for event in events)


@pytest.mark.parametrize("name", PROFILERS)
def test_a_profiler_that_is_left_on_is_stopped(name):
    with unobserved():
        PROFILERS[name]().__enter__()
        assert torch.autograd._profiler_enabled()
    assert not torch.autograd._profiler_enabled()
    with PROFILERS[name]() as later:
        nn.Linear(2, 2)(torch.ones(2, 2))
    events = later.events() if name == "torch.profiler" else later.function_events
    assert any(event.name == "aten::linear" for event in events)


def test_an_inference_mode_around_the_suite_does_not_reach_the_code():
    with torch.inference_mode(), unobserved():
        assert not torch.is_inference_mode_enabled()
        assert torch.ones(2, requires_grad=True).mul(2).sum().requires_grad
    with torch.no_grad(), unobserved():
        assert not torch.is_grad_enabled()
