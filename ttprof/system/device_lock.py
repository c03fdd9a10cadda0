"""One measurement at a time on each device, across all processes of one user on one machine.

The lock is on a file in the temporary directory; the operating system releases it when the process dies.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ttprof.system.device_types import device_type


@contextmanager
def exclusive(
    device: str, on_wait: Callable[[str], None], environ: Mapping[str, str] = os.environ, timeout: float = -1
) -> Iterator[None]:
    """Hold the lock of *device* (``cpu``, ``cuda:1``), waiting while another process has it.

    Args:
        device: the device as torch names it.
        on_wait: called with a message before waiting.
        environ: where to look up the visible devices.
        timeout: seconds to wait; negative waits forever.

    Raises:
        filelock.Timeout: the lock was not free within *timeout*.
    """
    lock = FileLock(lock_path(device, environ))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait(f"waiting for {device}: another suite runs on it")
        lock.acquire(timeout=timeout)
    try:
        yield
    finally:
        lock.release()


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
