"""Signals that end a process, as exceptions."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ttprof.system import signals

ENDING = pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])


@ENDING
def test_a_signal_raises_once_and_is_ignored_afterwards(name):
    number = getattr(signal, name)
    with pytest.raises(KeyboardInterrupt) as raised, signals.raised():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)  # while the results are saved
    assert signals.number_of(raised.value) == number
    assert signals.exit_code(number) == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


@ENDING
def test_a_signal_that_the_program_handles_is_left_to_it(name):
    received = []
    before = signal.signal(getattr(signal, name), lambda number, frame: received.append(number))
    try:
        with signals.raised():
            os.kill(os.getpid(), getattr(signal, name))
    finally:
        signal.signal(getattr(signal, name), before)
    assert received == [getattr(signal, name)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_ends_by_a_signal_as_without_a_handler():
    with signals.raised():
        child = os.fork()
        if not child:
            os._exit(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_handler_of_the_program_stays_that_of_its_children():
    def handler(number, frame):
        pass

    with signals.raised():
        signal.signal(signal.SIGTERM, handler)
        child = os.fork()
        if not child:
            os._exit(signal.getsignal(signal.SIGTERM) is not handler)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert signal.signal(signal.SIGTERM, signal.SIG_DFL) is handler


def test_another_thread_sets_no_handlers():
    handlers = []

    def look():
        with signals.raised():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_DFL]


def test_the_number_of_other_exceptions():
    assert signals.number_of(KeyboardInterrupt()) == signal.SIGINT
    assert signals.number_of(ValueError()) == 0
