"""Ends the process of a command with its exit code, whatever a script has left behind."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn


def end(code: int, say: Callable[[str], object]) -> NoReturn:
    """Exit with *code*, also if standard output is full or gone, or threads would keep the process from ending.

    Threads that were not started as daemons are named by *say*, and end with the process.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _discard(stream)
    left = [thread.name for thread in threading.enumerate() if _keeps_running(thread)]
    if left:
        say(f"threads that were left running are ended: {', '.join(left[:3])}{' …' if len(left) > 3 else ''}")
        os._exit(code)
    sys.exit(code)


def _keeps_running(thread: threading.Thread) -> bool:
    return thread is not threading.main_thread() and not thread.daemon and thread.is_alive()


def _discard(stream: object) -> None:
    """Send what is left in the buffer of a stream nowhere, or the interpreter would fail on it and exit with 120."""
    try:
        descriptor = stream.fileno()  # type: ignore[attr-defined]
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    except (OSError, ValueError, AttributeError):
        return
