"""One measurement at a time: the name of a device enters, a context leaves in which nobody else measures on it.

It holds between the processes of one user on one machine, through a lock on a file in the folder of temporary files,
which the system gives up when a process dies.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


@contextmanager
def alone(
    device: str, told: Callable[[str], None], environ: Mapping[str, str] = os.environ, timeout: float = -1
) -> Iterator[None]:
    """Wait until nothing else is measured on *device* (``cpu``, ``cuda:1``), then keep others waiting.

    *told* gets a sentence before it waits. Raises filelock.Timeout after *timeout* seconds; below 0 there is no end.
    """
    lock = FileLock(path(device, environ))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        told(f"waiting for {device}: another suite runs on it")
        lock.acquire(timeout=timeout)
    try:
        yield
    finally:
        lock.release()


def path(device: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The file that stands for a device. A visible-devices variable says which card ``cuda:0`` is to this process."""
    kind, _, index = device.partition(":")
    name = index
    if kind == "cuda":
        name = index or "0"
        cards = next((environ[variable].split(",") for variable in VISIBLE if environ.get(variable)), [])
        name = cards[int(name)].strip() if int(name) < len(cards) else name
    user = os.getuid() if hasattr(os, "getuid") else 0
    plain = "".join(c if c.isalnum() else "-" for c in "-".join(filter(None, (kind, name))))
    return Path(tempfile.gettempdir()) / f"ttprof-{user}-{plain}.lock"
