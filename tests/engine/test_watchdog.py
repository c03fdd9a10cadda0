"""The time limit of a pass: code that can be interrupted is, and what can't be is said in another thread."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time

import pytest

from ttprof.engine import watchdog


def busy() -> None:
    while True:
        pass


def asleep() -> None:
    time.sleep(3600)


def locked() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def catching() -> None:
    try:
        busy()
    except Exception:
        pytest.fail("the limit is no Exception")


@pytest.mark.parametrize("code", [busy, asleep, locked, catching], ids=lambda code: code.__name__)
def test_the_main_thread_is_interrupted(code):
    with pytest.raises(watchdog.TimedOut), watchdog.limit(0.05, pytest.fail):
        code()


def test_what_may_not_be_interrupted_is_said_in_another_thread(monkeypatch):
    monkeypatch.setattr(watchdog, "GRACE_S", 0.0)
    stuck, lines = threading.Event(), []
    with watchdog.deadline(0.01, lambda line: (lines.append(line), stuck.set())):
        assert stuck.wait(60)
    with watchdog.deadline(60, pytest.fail), watchdog.deadline(math.inf, pytest.fail):
        pass
    assert len(lines) == 1 and "test_watchdog.py" in lines[0]


def test_a_nudge_that_comes_too_late_does_not_end_the_process():
    code = (
        "import signal, threading\nfrom ttprof.engine import watchdog\n"
        "with watchdog.limit(60, print): pass\n"
        "signal.pthread_kill(threading.get_ident(), watchdog.NUDGE)\nprint('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_another_thread_is_interrupted_in_python_code():
    raised = []

    def work():
        try:
            with watchdog.limit(0.05, raised.append):
                busy()
        except watchdog.TimedOut as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(error) for error in raised] == [watchdog.TimedOut]


@pytest.mark.parametrize("seconds", [60, math.inf])
def test_code_within_the_limit_is_left_alone(seconds):
    with watchdog.limit(seconds, pytest.fail):
        result = sum(range(10))
    assert result == 45


def test_code_that_catches_everything_is_said_with_its_line(monkeypatch):
    monkeypatch.setattr(watchdog, "GRACE_S", 0.05)
    stuck, go_on = [], threading.Event()

    def say(line: str) -> None:
        stuck.append(line)
        go_on.set()

    with watchdog.limit(0.05, say):
        while not go_on.is_set():
            try:
                go_on.wait()
            except watchdog.TimedOut:
                continue
    assert [line.partition(":")[0] for line in stuck] == [__file__]


def test_code_that_holds_the_interpreter_ends_the_process():
    code = (
        "import re\nfrom ttprof.engine import watchdog\nwatchdog.GRACE_S = 0.05\n"
        "with watchdog.limit(0.05, print): re.match('(a*)*b', 'a' * 100)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 1
    assert "Timeout" in done.stderr and 'File "<string>", line 4' in done.stderr
