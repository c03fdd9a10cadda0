"""Reads and writes whole files safely: a write replaces the file at once or leaves it alone, a read never blocks."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def replace(path: str | Path, data: bytes | str) -> Path:
    """Write *data* (text as UTF-8) to *path* and return it; at no moment is there half a file under that name.

    The data go to a temporary file beside it, are flushed to the disk, and then take the name. A link is followed, the
    permissions of an existing file are kept, and what is not a regular file (``/dev/stdout``) is written in place.
    Missing folders are created.

    Raises:
        OSError: the file can't be written; what was there before is unchanged.
    """
    target = Path(os.path.realpath(path))
    payload = data.encode("utf-8", errors="replace") if isinstance(data, str) else data
    mode = _mode(target)
    if mode is not None and not stat.S_ISREG(mode):
        with Path(path).open("wb") as file:
            file.write(payload)
        return Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(stat.S_IMODE(mode) if mode is not None else 0o666 & ~_umask())
        Path(temporary).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(target.parent)
    return Path(path)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file to read it; a FIFO or a device, which could block or never end, is refused.

    Raises:
        OSError: the file can't be opened, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"not a regular file but {_kind(mode)}", str(path))
    return os.fdopen(descriptor, "rb")


class Claim:
    """A file that one process claims for itself; the system gives the claim up when that process ends.

    Systems without flock (Windows) grant every claim.
    """

    def __init__(self, path: str | Path) -> None:
        """Claim *path*, which exists. Raises BlockingIOError if another process has it, or another OSError."""
        self._descriptor: int | None = os.open(path, os.O_RDONLY)
        try:
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            return
        except OSError:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Let others claim the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a folder" if stat.S_ISDIR(mode) else "something else")


def _mode(path: Path) -> int | None:
    """The mode of an existing file; None if there is none."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _umask() -> int:
    """The umask of this process, which the system only tells when it is set."""
    before = os.umask(0o077)
    os.umask(before)
    return before


def _sync_folder(folder: Path) -> None:
    """Flush the new name to the disk; file systems that can't sync a folder keep the file anyway."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
