"""Ends a pass that takes too long, in the thread that runs it, as far as that thread can be interrupted at all.

Python code, sleeps and waits for locks can be interrupted. C code that never returns can't: then *on_stuck* is called
in another thread, and if that code even holds the interpreter's lock, faulthandler ends the process. Must not import
torch.
"""

from __future__ import annotations

import ctypes
import faulthandler
import math
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ttprof.errors import ControlFlow, users_line

LONGEST_S = 1e8
"""Three years: more than this no timer takes."""

GRACE_S = 10.0
"""How long code may take to end after it was interrupted."""

NUDGE = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else None
"""The signal that interrupts the main thread: a real-time one, which programs do not use; None without any."""


class TimedOut(ControlFlow):
    """Raised in code that takes longer than its limit."""


@contextmanager
def limit(seconds: float, on_stuck: Callable[[str], object]) -> Iterator[None]:
    """Raise TimedOut within the context after *seconds*; infinity sets no limit.

    If the code has not ended ``GRACE_S`` later, *on_stuck* is called in another thread with the line that it is at.
    """
    if seconds == math.inf:
        yield
        return
    seconds = min(seconds, LONGEST_S)
    ended, watched = threading.Event(), threading.get_ident()
    in_main = threading.current_thread() is threading.main_thread() and NUDGE is not None
    raising = _raising_on_nudge(ended) if in_main else _raising_in_thread(ended)

    with raising as interrupt, _last_resort(seconds + 2 * GRACE_S):

        def watch() -> None:
            if ended.wait(seconds):
                return
            interrupt(watched)
            if not ended.wait(GRACE_S):
                on_stuck(where(watched))

        thread = threading.Thread(target=watch, daemon=True, name="ttprof-watch")
        try:
            thread.start()
            yield
        finally:
            try:
                ended.set()
            finally:
                ended.set()  # the interrupt may come during the first


@contextmanager
def deadline(seconds: float, on_stuck: Callable[[str], object]) -> Iterator[None]:
    """Call *on_stuck* in another thread if the context, which ``limit`` may not interrupt as a whole, never ends.

    It gets twice the *seconds* that the limit within allows; infinity sets no deadline.
    """
    if seconds == math.inf:
        yield
        return
    ended, watched = threading.Event(), threading.get_ident()

    def watch() -> None:
        if not ended.wait(2 * (min(seconds, LONGEST_S) + GRACE_S)):
            on_stuck(where(watched))

    threading.Thread(target=watch, daemon=True, name="ttprof-deadline").start()
    try:
        yield
    finally:
        ended.set()


def where(ident: int) -> str:
    """The innermost line of a thread outside of ttprof and torch, such as ``model.py:12``; empty if it has ended."""
    frame = sys._current_frames().get(ident)
    return users_line(traceback.extract_stack(frame)) if frame is not None else ""


@contextmanager
def _raising_on_nudge(ended: threading.Event) -> Iterator[Callable[[int], None]]:
    """Yield what interrupts the main thread, also in a sleep, a wait for a lock or a system call."""

    def raise_in_main(number: int, frame: FrameType | None) -> None:
        if not ended.is_set():
            raise TimedOut

    def interrupt(ident: int) -> None:
        assert NUDGE is not None
        signal.pthread_kill(ident, NUDGE)

    assert NUDGE is not None
    before = signal.signal(NUDGE, raise_in_main)
    try:
        yield interrupt
    finally:
        # A nudge that comes too late must not end the process, as it does by default.
        signal.signal(NUDGE, signal.SIG_IGN if before is signal.SIG_DFL else before)


@contextmanager
def _raising_in_thread(ended: threading.Event) -> Iterator[Callable[[int], None]]:
    """Yield what interrupts another thread at its next line of Python."""
    turn = threading.Lock()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def interrupt(ident: int) -> None:
        with turn:
            if not ended.is_set():
                raise_in(ctypes.c_ulong(ident), ctypes.py_object(TimedOut))

    try:
        yield interrupt
    finally:
        with turn:  # an interrupt that comes too late must not be raised in the code that follows
            raise_in(ctypes.c_ulong(threading.get_ident()), None)


@contextmanager
def _last_resort(seconds: float) -> Iterator[None]:
    """Let faulthandler end the process if no thread has run Python for so long; pytest uses its timer itself."""
    if "pytest" in sys.modules or sys.stderr is None:
        yield
        return
    try:
        faulthandler.dump_traceback_later(seconds, exit=True)
    except (OSError, ValueError, RuntimeError, AttributeError):  # a replaced stderr has no descriptor to write to
        yield
        return
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
