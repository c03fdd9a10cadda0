"""One measurement at a time on each device, across all processes of one user on one machine.

The lock is on a file in the temporary directory; the operating system releases it when the process dies.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from ttprof.system import lock_holder
from ttprof.system.device_types import device_type

REMINDER_S = 60.0
"""How often a waiting process says whom it waits for, in seconds."""

_held: ContextVar[frozenset[Path]] = ContextVar("ttprof_locks", default=frozenset())
"""The locks of the code that runs: a suite inside a suite would wait for itself."""


@contextmanager
def exclusive(
    device: str, on_wait: Callable[[str], None], environ: Mapping[str, str] = os.environ, timeout: float = -1
) -> Iterator[None]:
    """Hold the lock of *device* (``cpu``, ``cuda:1``), waiting while another process has it.

    Where no lock can be made (there is no temporary folder, or something else lies at the path of the lock), the
    context runs without one, and *on_wait* gets a sentence that says so.

    Args:
        device: the device as torch names it.
        on_wait: called with a message before waiting, and every minute; it names the process that holds the lock.
        environ: where to look up the visible devices.
        timeout: seconds to wait; negative waits forever.

    Raises:
        filelock.Timeout: the lock was not free within *timeout*.
    """
    lock = _acquired(device, on_wait, environ, timeout)
    if lock is None:
        yield
        return
    note = _note(lock)
    token = _held.set(_held.get() | {Path(lock.lock_file)})
    lock_holder.write(note)
    try:
        yield
    finally:
        lock_holder.remove(note)
        _held.reset(token)
        lock.release()


def _acquired(
    device: str, on_wait: Callable[[str], None], environ: Mapping[str, str], timeout: float
) -> FileLock | None:
    """The lock, acquired; None if this code holds it already, or if it can't be made."""
    try:
        path = lock_path(device, environ)
        if path in _held.get():
            return None
        lock_holder.check_own_file(path)
        lock = FileLock(path)
        _acquire(lock, device, on_wait, timeout)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        on_wait(f"running on {device} without its lock ({where}{why}): another suite may slow it")
        return None
    return lock


def _acquire(lock: FileLock, device: str, on_wait: Callable[[str], None], timeout: float) -> None:
    """Acquire *lock*, and say again and again who holds it. Raises Timeout."""
    deadline = math.inf if timeout < 0 else time.monotonic() + timeout
    announced, patience = "waiting", 0.0
    while True:
        try:
            lock.acquire(timeout=max(0.0, min(patience, deadline - time.monotonic())))
            return
        except Timeout:
            if announced != "waiting" and time.monotonic() >= deadline:
                raise
        holder = lock_holder.read(_note(lock))
        on_wait(f"{announced} for {device}: another suite runs on it{'' if holder is None else f' ({holder})'}")
        announced, patience = "still waiting", REMINDER_S


def _note(lock: FileLock) -> Path:
    """The path of the note that says who holds *lock*."""
    return Path(f"{lock.lock_file}.holder")


def lock_path(device: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The lock file of *device*, the same for every process whatever subset of the GPUs it can see."""
    kind, _, index = device.partition(":")
    name = index
    if kind != "cpu":
        name = index or "0"
        variables = device_type(kind).visible
        visible = next((environ[variable].split(",") for variable in variables if environ.get(variable)), [])
        name = visible[int(name)].strip() if int(name) < len(visible) else name
    user = os.getuid() if hasattr(os, "getuid") else 0
    file_safe = "".join(c if c.isalnum() else "-" for c in "-".join(filter(None, (kind, name))))
    return Path(tempfile.gettempdir()) / f"ttprof-{user}-{file_safe}.lock"
