"""The bytes of a trace file, gunzipped where it is gzipped: a path enters, a source that fills buffers leaves."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Protocol

from isal import isal_zlib

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError

PACKED_BLOCK = 1 << 17
"""Compressed bytes read at a time."""

_GZIP = b"\x1f\x8b"


class Source(Protocol):
    """What fills a buffer with the next bytes of a file."""

    def readinto(self, free: memoryview) -> int:
        """Fill *free* from its start and return how many bytes that were; 0 at the end of the file.

        Raises TraceError, naming the file, when it can't be read on.
        """

    def skip(self, count: int) -> None:
        """Leave out the next *count* bytes."""


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The content of a file, unpacked when its first two bytes say that it is gzip.

    Raises TraceError when the file can't be read, is empty, or its compressed data are cut or corrupt.
    """
    try:
        with FileIO(path) as file:
            mark = file.read(2)
            if not mark:
                raise TraceError(
                    f"{path}: the file is empty; the profiler was stopped before it wrote the trace",
                    TraceErrorCode.EMPTY,
                )
            file.seek(0)
            yield _Gunzipped(path, file) if mark == _GZIP else _Plain(path, file)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}", TraceErrorCode.UNREADABLE) from error


def unpacked_bytes(path: Path) -> int:
    """The size of the content; of gzipped data what their end says, which is only a hint (it is modulo 2**32)."""
    with path.open("rb") as file:
        if file.read(2) != _GZIP:
            return path.stat().st_size
        file.seek(-4, os.SEEK_END)
        return int(struct.unpack("<I", file.read(4))[0])


def is_packed(path: Path) -> bool:
    """Whether a file is gzipped."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


class _Plain:
    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file

    def readinto(self, free: memoryview) -> int:
        try:
            return self._file.readinto(free) or 0
        except OSError as error:
            raise TraceError(f"{self._path}: {error.strerror or error}", TraceErrorCode.UNREADABLE) from error

    def skip(self, count: int) -> None:
        self._file.seek(count, os.SEEK_CUR)


class _Gunzipped:
    """Several gzip members may follow each other; what pads them with zeros is no member."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file
        self._packed = b""
        self._read = 0
        self._unpack = isal_zlib.decompressobj(wbits=31)

    def readinto(self, free: memoryview) -> int:
        try:
            data = self._next(len(free))
        except OSError as error:
            raise TraceError(f"{self._path}: {error.strerror or error}", TraceErrorCode.UNREADABLE) from error
        except (isal_zlib.IsalError, zlib.error) as error:  # type: ignore[misc]
            raise TraceError(
                f"{self._path}: corrupt gzip data before byte {self._read}: {error}", TraceErrorCode.CORRUPT
            ) from error
        free[: len(data)] = data
        return len(data)

    def skip(self, count: int) -> None:
        thrown_away = memoryview(bytearray(min(count, PACKED_BLOCK)))
        while count and (read := self.readinto(thrown_away[: min(count, PACKED_BLOCK)])):
            count -= read

    def _next(self, limit: int) -> bytes:
        while True:
            ended = not self._packed and not self._more()
            if self._unpack.eof:
                if not self._packed.strip(b"\0"):
                    self._packed = b""
                    if ended:
                        return b""
                    continue
                self._unpack = isal_zlib.decompressobj(wbits=31)
            data = self._unpack.decompress(self._packed, limit)
            self._packed = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
            if data:
                return data
            if ended and not self._unpack.eof:
                raise TraceError(
                    f"{self._path}: truncated or corrupt gzip after {self._read} bytes: it has no end; "
                    "record the trace again, or read the events before it with --salvage",
                    TraceErrorCode.TRUNCATED,
                )

    def _more(self) -> bool:
        self._packed = self._file.read(PACKED_BLOCK)
        self._read += len(self._packed)
        return bool(self._packed)
