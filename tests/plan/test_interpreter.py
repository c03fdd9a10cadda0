"""What code changes of Python's own state in a process is restored after it, and named."""

from __future__ import annotations

import builtins
import cProfile
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ttprof.plan.process_state import process_settings
from ttprof.plan.settings import ProcessSettings

CPU = torch.device("cpu")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarms and no limits")


def go_elsewhere() -> None:
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")


def go_to_a_deleted_folder() -> None:
    go_elsewhere()
    shutil.rmtree(Path.cwd())


def lower_a_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


def file_limit() -> Any:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)


def umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a function of builtins": (lambda: setattr(builtins, "open", None), lambda: builtins.open),
    "a function of time": (lambda: setattr(time, "perf_counter_ns", lambda: 0), lambda: time.perf_counter_ns),
    "a function of json": (lambda: delattr(json, "dumps"), lambda: getattr(json, "dumps", None)),
    "a function of torch": (lambda: setattr(torch, "equal", lambda a, b: True), lambda: torch.equal),
    "the tracing function": (lambda: sys.settrace(lambda *event: None), sys.gettrace),
    "the profiling function": (lambda: sys.setprofile(lambda *event: None), sys.getprofile),
    "the tracing function of threads": (lambda: threading.settrace(lambda *event: None), threading.gettrace),
    "the profiling function of threads": (lambda: threading.setprofile(lambda *event: None), threading.getprofile),
    "the working directory": (go_elsewhere, Path.cwd),
    "the working directory ": (go_to_a_deleted_folder, Path.cwd),
    "the environment variables": (lambda: os.environ.clear(), lambda: dict(os.environ)),
    "the switch of the garbage collector": (gc.disable, gc.isenabled),
    "the recursion limit": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "the signal handlers": (
        lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        lambda: signal.getsignal(signal.SIGINT),
    ),
    "sys.excepthook": (lambda: setattr(sys, "excepthook", None), lambda: sys.excepthook),
    "threading.excepthook": (lambda: setattr(threading, "excepthook", None), lambda: threading.excepthook),
    "sys.stdout": (lambda: setattr(sys, "stdout", None), lambda: sys.stdout),
    "the umask": (lambda: os.umask(0o777), umask),
}
ON_POSIX = {
    "the alarm clock": (lambda: signal.alarm(1000), lambda: signal.getitimer(signal.ITIMER_REAL)),
    "the limits of the process": (lower_a_limit, file_limit),
}
if sys.platform != "win32":
    CHANGES |= ON_POSIX


if sys.version_info >= (3, 12):
    CHANGES["the tools of sys.monitoring"] = (
        lambda: sys.monitoring.use_tool_id(4, "left"),
        lambda: sys.monitoring.get_tool(4),
    )


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_process_is_restored_and_named(name):
    change, read = CHANGES[name]
    before = read()
    with process_settings(CPU):
        watched = ProcessSettings(CPU)
        change()
        changed = watched.changed()
    assert read() == before
    assert set(changed) == {name.strip()}


def test_a_profiler_of_the_caller_goes_on_after_code_that_ended_it():
    with cProfile.Profile() as profiler:
        with process_settings(CPU):
            sys.setprofile(None)
        json.dumps([])
    assert any("dumps" in str(entry.code) for entry in profiler.getstats())


def test_what_libraries_add_when_they_are_first_used_is_no_change_that_is_named(monkeypatch):
    monkeypatch.delenv("TTPROF_NEW", raising=False)
    filters = list(warnings.filters)
    with process_settings(CPU):
        watched = ProcessSettings(CPU)
        os.environ["TTPROF_NEW"] = "1"
        warnings.simplefilter("error")
        builtins.ttprof_new = len
        assert watched.changed() == []
    assert "TTPROF_NEW" not in os.environ
    assert warnings.filters == filters
    del builtins.ttprof_new


def test_a_restored_filter_takes_effect_at_once():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with process_settings(CPU):
            warnings.simplefilter("error")
            with pytest.raises(UserWarning):
                warnings.warn("x", UserWarning, stacklevel=1)
        warnings.warn("x", UserWarning, stacklevel=1)


@posix
def test_an_alarm_of_the_caller_goes_on():
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        with process_settings(CPU):
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_settings_are_restored_in_a_thread_that_may_set_no_signals():
    problems: list[BaseException] = []

    def go() -> None:
        try:
            with process_settings(CPU):
                os.environ["TTPROF_NEW"] = "1"
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert problems == [] and "TTPROF_NEW" not in os.environ


STREAMS = """
import os, sys, torch
from ttprof.plan.process_state import process_settings
out, err = sys.stdout, sys.stderr
for change in (
    "pass",
    "sys.stdout.close(); sys.stderr.close()",
    "os.close(1); os.close(2)",
    "sys.stdout = sys.stderr = None",
    "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
    "sys.stdout.close(); sys.stdout = None; os.close(1)",
):
    with process_settings(torch.device("cpu")):
        exec(change)
    print("out", change, flush=True)
    print("err", change, file=sys.stderr)
    assert (sys.stdout, sys.stderr) == (out, err)
os.close(1)
with process_settings(torch.device("cpu")):
    pass
"""


def test_standard_streams_are_open_afterwards_if_they_were_before():
    done = subprocess.run([sys.executable, "-c", STREAMS], capture_output=True, text=True, timeout=300, check=False)
    out, err = done.stdout.splitlines(), done.stderr.splitlines()
    assert done.returncode == 0, err
    assert len(out) == len(err) == 6
    assert [line.partition(" ")[0] for line in (*out, *err)] == ["out"] * 6 + ["err"] * 6
