"""Reads the bytes of a trace file into the caller's buffers, decompressing them if the file is gzipped.

Only regular files are read, and no more of them than ``Budget`` allows for their size.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from isal import isal_zlib

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.budget import Budget, OverBudget
from ttprof.system.files import open_regular

PACKED_BLOCK = 1 << 17
"""Compressed bytes read at a time."""

_GZIP = b"\x1f\x8b"
_GZIP_TRAILER = 8


class Damaged(Exception):
    """Compressed data that can't be decompressed further: ``problem`` says why, ``code`` is the code of the error."""

    def __init__(self, problem: str, code: TraceErrorCode) -> None:
        super().__init__(problem)
        self.problem = problem
        self.code = code


class ByteSource(Protocol):
    """Fills buffers with the content of a file, from its start to its end."""

    def readinto(self, free: memoryview) -> int:
        """Fill *free* from its start and return the number of bytes written; 0 at the end of the file.

        Raises:
            OSError: the file can't be read.
            Damaged: its compressed data are truncated or corrupt.
            OverBudget: it asks for more than its size allows.
        """

    def skip(self, count: int) -> None:
        """Skip the next *count* bytes. Raises the same errors as ``readinto``."""


@contextmanager
def open_source(path: Path) -> Iterator[ByteSource]:
    """Open a regular file for reading; it is decompressed if its first two bytes are those of gzip.

    Raises:
        TraceError: the file is missing, unreadable or empty, or the body of the ``with`` raised OSError, Damaged or
            OverBudget.
    """
    try:
        with open_regular(path) as file:
            magic = file.read(2)
            if not magic:
                raise TraceError(
                    "the file is empty; the profiler was stopped before it wrote the trace", TraceErrorCode.EMPTY, path
                )
            file.seek(0)
            budget = Budget(os.fstat(file.fileno()).st_size)
            yield _Gunzipped(file, budget) if magic == _GZIP else _Plain(file, budget)
    except OSError as error:
        raise TraceError.from_os(path, error) from error
    except Damaged as damage:
        raise TraceError(
            f"{damage.problem}; record the trace again, or read the events before it with --salvage",
            damage.code,
            path,
        ) from damage
    except OverBudget as error:
        raise TraceError(error.reason, TraceErrorCode.TOO_LARGE, path) from error


def unpacked_bytes(path: Path) -> int:
    """The uncompressed size in bytes; for gzip the size in its trailer, which is only a hint (modulo 2**32).

    Raises OSError if the file can't be read.
    """
    with open_regular(path) as file:
        magic, size = file.read(2), file.seek(0, os.SEEK_END)
        if magic != _GZIP or size < _GZIP_TRAILER:
            return size
        file.seek(-4, os.SEEK_END)
        return int(struct.unpack("<I", file.read(4))[0])


def is_packed(path: Path) -> bool:
    """Whether a file is gzipped. Raises OSError if it can't be read."""
    with open_regular(path) as file:
        return file.read(2) == _GZIP


class _Plain:
    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def readinto(self, free: memoryview) -> int:
        self._budget.check_time()
        return self._file.readinto(free) or 0  # type: ignore[attr-defined]

    def skip(self, count: int) -> None:
        self._file.seek(count, os.SEEK_CUR)


class _Gunzipped:
    """Decompresses one gzip member after the other; zero padding after a member is ignored."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._budget = budget
        self._packed = b""
        self._read = 0
        self._unpack = isal_zlib.decompressobj(wbits=31)

    def readinto(self, free: memoryview) -> int:
        try:
            data = self._next(len(free))
        except (isal_zlib.IsalError, zlib.error) as error:  # type: ignore[misc]
            problem = f"corrupt gzip data before byte {self._read}: {error}"
            raise Damaged(problem, TraceErrorCode.CORRUPT) from error
        self._budget.unpack(len(data), self._read)
        free[: len(data)] = data
        return len(data)

    def skip(self, count: int) -> None:
        discarded = memoryview(bytearray(min(count, PACKED_BLOCK)))
        while count and (read := self.readinto(discarded[: min(count, PACKED_BLOCK)])):
            count -= read

    def _next(self, limit: int) -> bytes:
        while True:
            at_end = not self._packed and not self._more()
            if self._unpack.eof:
                if not self._packed.strip(b"\0"):
                    self._packed = b""
                    if at_end:
                        return b""
                    continue
                self._budget.member()
                self._unpack = isal_zlib.decompressobj(wbits=31)
            data = self._unpack.decompress(self._packed, limit)
            self._packed = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
            if data:
                return data
            if at_end and not self._unpack.eof:
                raise Damaged(
                    f"truncated or corrupt gzip after {self._read} bytes: it has no end", TraceErrorCode.TRUNCATED
                )

    def _more(self) -> bool:
        self._packed = self._file.read(PACKED_BLOCK)
        self._read += len(self._packed)
        return bool(self._packed)
