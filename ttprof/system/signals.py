"""Turns the signals that end a process into an exception, so that what was measured can be saved first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""The signals by which systems end a process politely, as far as this one has them."""


_handled: dict[int, Callable[..., None]] = {}
"""The signals that this process turns into an exception now, and their handlers."""


# A forked child ends by these signals as it does by default: a handler of Python does not run while it waits for a
# lock, and a pool waits for its children to end. A signal that comes before the default is restored waits for it.


def _before_fork() -> None:
    _before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _handled)


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before.mask)


def _after_fork_in_child() -> None:
    for number, handler in _handled.items():
        if signal.getsignal(number) is handler:  # and not one that the program has set since
            signal.signal(number, signal.SIG_DFL)
    _handled.clear()
    _after_fork()


_before = threading.local()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


class Terminated(KeyboardInterrupt):
    """A signal that ends the process arrived; ``number`` says which. Whatever ends on Ctrl-C ends on it too."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def number_of(stop: BaseException) -> int:
    """The signal behind an exception that ends a run; 0 if it was none."""
    if isinstance(stop, Terminated):
        return stop.number
    return signal.SIGINT if isinstance(stop, KeyboardInterrupt) else 0


def exit_code(number: int) -> int:
    """The exit code of a process that a signal ended, as shells give it."""
    return 128 + number


@contextmanager
def raised() -> Iterator[None]:
    """Raise ``Terminated`` in the main thread when SIGTERM or SIGHUP arrives within the context.

    Later ones are ignored, so that the results can be saved. A signal that the program handles or ignores itself is
    left to it, and only the main thread can set handlers. Forked children don't keep them.
    """
    handled = []
    if threading.current_thread() is threading.main_thread():
        handled = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    for number in handled:
        signal.signal(number, end)
        _handled[number] = end
    try:
        yield
    finally:
        for number in handled:
            if signal.getsignal(number) in (end, signal.SIG_IGN):
                signal.signal(number, signal.SIG_DFL)
            _handled.pop(number, None)
