"""What watches or surrounds the code under test and falsifies its measurement: profilers, tracers, modes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils import _python_dispatch

from ttprof.codes import Note, NoteCode
from ttprof.errors import ProfilerRunningError
from ttprof.plan.interpreter import monitoring_tools
from ttprof.plan.settings import ProcessSettings

MAX_NAMES = 3
"""The largest number of settings or threads that a note names."""


class Witness:
    """What a process is like before a case: its settings and its threads."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._settings = ProcessSettings(device)
        self._threads = set(threading.enumerate())

    def notes(self, existing: Sequence[Note] = ()) -> list[Note]:
        """Notes on what watched the case, and on what its forward left behind; *existing* notes are not repeated."""
        notes = [Note(NoteCode.OBSERVED, f"measured under {text}") for text in observers()]
        taken_over = any(note.code is NoteCode.CONTEXT_TAKEN_OVER for note in existing)
        around = [*([] if taken_over else _autocast(self._device)), *_default_device()]
        notes += [Note(NoteCode.SUITE_CONTEXT, text) for text in around]
        if changed := list(dict.fromkeys(self._settings.changed())):
            text = f"its forward changes {_listed(changed)} of the process: restored afterwards"
            notes.append(Note(NoteCode.PROCESS_CHANGED, text))
        if left := [thread for thread in _lasting_threads() if thread not in self._threads]:
            named = _listed([repr(thread.name) for thread in left])
            text = f"its forward leaves threads running that keep the process from ending: {named}"
            notes.append(Note(NoteCode.THREADS_LEFT, text))
        return notes


def _lasting_threads() -> list[threading.Thread]:
    """The threads that Python waits for at its end; those of executors end by themselves."""
    executors = sys.modules.get("concurrent.futures.thread")
    of_executors = getattr(executors, "_threads_queues", {})
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in of_executors]


def observers() -> list[str]:
    """What watches this thread now and slows it, each as an object of "measured under"."""
    found = []
    if sys.gettrace() is not None:
        found.append("a tracing function (sys.settrace: coverage or a debugger), which slows Python code")
    if sys.getprofile() is not None:
        found.append("a profiling function (sys.setprofile: cProfile, for example), which slows Python code")
    if tools := [name for name in monitoring_tools() if name is not None]:
        found.append(f"a tool of sys.monitoring ({_listed(tools)}), which may slow Python code")
    if torch.is_anomaly_enabled():
        found.append("autograd's anomaly mode, which slows every op that needs a gradient")
    if modes := _modes():
        found.append(f"{_listed(modes)}, which sees and slows every op")
    return found


def _autocast(device: torch.device) -> Iterator[str]:
    """A sentence on the autocast around the suite, if there is one."""
    if torch.is_autocast_enabled(device.type):
        dtype = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
        yield f"tested under the autocast to {dtype} that is on around the suite"


def _default_device() -> Iterator[str]:
    """A sentence on the default device, if one is set."""
    if any(type(mode).__name__ == "DeviceContext" for mode in _function_modes()):
        yield f"tested with the default device {torch.get_default_device()}, which slows every call of torch"


def _modes() -> list[str]:
    """The names of torch's dispatch and function modes that are on, without that of a default device."""
    modes = [*_python_dispatch._get_current_dispatch_mode_stack(), *_function_modes()]
    return [name for mode in modes if (name := type(mode).__name__) != "DeviceContext"]


def _function_modes() -> list[Any]:
    return list(torch.overrides._get_current_function_mode_stack())  # type: ignore[no-untyped-call]


def _listed(names: Sequence[str]) -> str:
    hidden = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {hidden} more" if hidden > 0 else "")


@contextmanager
def unobserved() -> Iterator[None]:
    """Leave a surrounding inference mode, and end whatever profiler the code within the context starts and leaves on.

    Raises:
        ProfilerRunningError: a profiler of torch records this thread already.
    """
    if _is_profiled():
        raise ProfilerRunningError(
            "a profiler of torch (torch.profiler, torch.autograd.profiler, emit_nvtx) runs around the suite: it slows "
            "what is timed, and nothing else can be recorded; end it before the suite runs"
        )
    try:
        with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
            yield
    finally:
        if _is_profiled():
            torch._C._autograd._disable_profiler()
            torch.autograd.profiler._run_on_profiler_stop()  # type: ignore[no-untyped-call]


def _is_profiled() -> bool:
    return torch._C._autograd._profiler_enabled()
