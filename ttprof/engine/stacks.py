"""Reads what a dead process left: the stack that faulthandler wrote, and the last lines it printed. No torch."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from ttprof.errors import users_line

MAX_BYTES = 65536
"""How much of a file is read: a stack of threads has a few kilobytes, what a process printed may have no end."""

MAX_QUOTE = 200
"""Characters of a line that a reason quotes."""

_FRAME = re.compile(r'\s*File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)')
_DUMP = re.compile(r'Fatal Python error|(Current thread|Thread) 0x|  File "|Extension modules|<.*>|  \.\.\.')


def first_line(path: Path) -> str:
    """The innermost line of the user's code in a stack by faulthandler, such as ``model.py:12``; empty without one.

    It is that of the thread that died, if the stack says which.
    """
    threads: list[list[traceback.FrameSummary]] = []
    for line in _text(path).splitlines():
        if line.startswith("Current thread"):
            threads = [[]]
        elif line.startswith("Thread 0x"):
            threads.append([])
        elif (match := _FRAME.match(line)) and threads:
            where = match["file"], int(match["line"]), match["function"]
            threads[-1].append(traceback.FrameSummary(*where, lookup_line=False))
    return users_line(threads[0][::-1]) if threads else ""  # faulthandler writes the innermost frame first


def last_output(path: Path) -> str:
    """The last line that a process printed, without what faulthandler wrote; empty if it printed nothing."""
    lines = [line.strip() for line in _text(path).splitlines() if line.strip() and not _DUMP.match(line)]
    text = lines[-1] if lines else ""
    return text if len(text) <= MAX_QUOTE else text[:MAX_QUOTE] + " …"


def _text(path: Path) -> str:
    """The last part of a file; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - MAX_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
