"""Who holds a lock: a small file beside the lock, which only tells people whom they wait for."""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ttprof.system.escape import visible
from ttprof.system.files import open_regular

MAX_COMMAND = 100
"""The largest number of characters of a command in a message."""

MAX_BYTES = 4096
"""The largest file that is read."""


class LockHolder(msgspec.Struct, frozen=True):
    """The process that holds a lock: its id, its command, and since when, in seconds since the epoch."""

    pid: int
    command: str
    since: float

    def __str__(self) -> str:
        """For example ``pid 4711, ttprof run gate.py, since 12:03``."""
        pid = f"pid {self.pid}" if is_alive(self.pid) else f"a process that pid {self.pid} left behind"
        return f"{pid}, {visible(self.command)}, since {_clock(self.since)}"


def this_process() -> LockHolder:
    """The holder that this process is."""
    command = sys.orig_argv[1:] if len(sys.orig_argv) > 1 else sys.orig_argv
    text = " ".join([Path(part).name if number == 0 else part for number, part in enumerate(command)])
    return LockHolder(os.getpid(), text if len(text) <= MAX_COMMAND else f"{text[:MAX_COMMAND]} …", time.time())


def write(path: Path) -> None:
    """Note this process as the holder. A file that can't be written is left out: it decides nothing.

    It is created anew, so that a link that someone else put there leads nowhere.
    """
    with suppress(OSError):
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(this_process()))


def remove(path: Path) -> None:
    """Remove the note of this process; that of another, such as the parent of a fork, stays."""
    holder = read(path)
    if holder is not None and holder.pid == os.getpid():
        with suppress(OSError):
            path.unlink()


def read(path: Path) -> LockHolder | None:
    """The noted holder; None if there is no readable note of this user."""
    try:
        check_own_file(path)
        with open_regular(path) as file:
            holder = msgspec.json.decode(file.read(MAX_BYTES), type=LockHolder)
        _clock(holder.since)
    except (OSError, msgspec.MsgspecError, ValueError, OverflowError):
        return None
    return holder


def check_own_file(path: Path) -> None:
    """Raise OSError if what lies at *path* is a link, not a regular file, or another user's; nothing there is fine."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file", str(path))
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise PermissionError(0, "another user's file", str(path))


def is_alive(pid: int) -> bool:
    """Whether a process of this user with the id *pid* runs; True on Windows, where a signal would end it."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _clock(since: float) -> str:
    """The time of day, with the date if it is not today's."""
    then = time.localtime(since)
    form = "%H:%M" if then[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M"
    return time.strftime(form, then)
