"""Reads the rows of one file into tables; a large file is read by several processes, one piece each.

Python's GIL keeps threads from decoding in parallel. The processes are plain interpreters that send their tables
through a pipe.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.process import cores, no_gc
from ttprof.trace.events import Int
from ttprof.trace.formats.growing import GrowingTable
from ttprof.trace.formats.json_stream import EventStream
from ttprof.trace.formats.kineto_lenient import decode_leniently
from ttprof.trace.formats.kineto_rows import DECODERS, Blocks
from ttprof.trace.formats.numbers import TooLargeForFloats
from ttprof.trace.formats.source import is_packed, unpacked_bytes

PIECE_BYTES = 64 << 20
"""The smallest piece: starting a process takes a fifth of a second, enough time to read this much."""

MAX_PIECES = 8
MAX_PACKED_PIECES = 3
"""Fewer for a gzipped file, because a process has to decompress everything before its piece."""

FIRST_SHARE = 1.25
"""The size of the first piece relative to the others: it needs no new process."""


@dataclass
class TraceRows:
    """All rows of a file: a table per kind, and the JSON around the events."""

    blocks: Blocks
    tables: dict[str, GrowingTable] = field(default_factory=lambda: defaultdict(GrowingTable))
    events: int = 0
    header: bytes = b"{}"
    trailer: bytes = b"{}"
    lost: str | None = None


def read_rows(path: Path, salvage: bool, processes: int | None = None) -> TraceRows:
    """Read the rows of a file with at most *processes* processes (None: one per core, as far as that pays off).

    A file that can't be read in pieces is read in one go, which also locates the error. Raises TraceError as
    ``EventStream`` does.
    """
    count = 1 if salvage else _piece_count(path, processes)
    if count > 1:
        try:
            return _read_pieces(path, count)
        except TraceError:
            pass
    return _read(EventStream(path, DECODERS, salvage, decode_leniently))


def _piece_count(path: Path, processes: int | None) -> int:
    try:
        most = MAX_PACKED_PIECES if is_packed(path) else MAX_PIECES
        return min(processes or cores(), most, unpacked_bytes(path) // PIECE_BYTES)
    except OSError:
        return 1  # reading it will raise the error


def _read(stream: EventStream) -> TraceRows:
    result = TraceRows(Blocks(str(stream.path)))
    with no_gc():
        for rows in stream:
            first = stream.events - len(rows)
            try:
                parts = result.blocks.tables(rows, first)
            except TooLargeForFloats:
                parts = result.blocks.tables(stream.decode_again(), first)
            for kind, part in parts:
                result.tables[kind].add(part)
    result.events, result.lost = stream.events, stream.lost
    result.header, result.trailer = stream.header, stream.trailer
    return result


def _read_pieces(path: Path, count: int) -> TraceRows:
    """The rows of all pieces, in the order of the file."""
    size = unpacked_bytes(path)
    share = size / (FIRST_SHARE + count - 1)
    cuts = [0, *(int(share * (FIRST_SHARE + i)) for i in range(count - 1)), None]
    with _readers(path, list(pairwise(cuts))[1:]) as readers:
        result = _read(EventStream(path, DECODERS, lenient=decode_leniently, stop=cuts[1]))
        for reader in readers:
            _append(result, reader.stdout)
            if reader.wait():
                raise TraceError("a process that read a piece of the file failed", TraceErrorCode.UNREADABLE, path)
    return result


@contextmanager
def _readers(path: Path, pieces: list[tuple[Any, Any]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start a process per piece, and end them all on exit."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    readers: list[subprocess.Popen[bytes]] = []
    try:
        for start, stop in pieces:
            command = [sys.executable, "-m", __name__, str(path), str(start), str(stop or "")]
            readers.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            )
        yield readers
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def _send(rows: TraceRows, pipe: IO[bytes]) -> None:
    """Write the rows in the format of ``_append``: first the numbered names, then each table."""
    names, threads = list(rows.blocks.names), list(rows.blocks.threads)
    tables = {kind: table.finish() for kind, table in rows.tables.items()}
    sizes = {kind: (len(table["ts"]), {c: v.dtype for c, v in table.items()}) for kind, table in tables.items()}
    pickle.dump((rows.events, rows.trailer, names, threads, sizes), pipe, protocol=5)
    for table in tables.values():
        for column in table.values():
            pipe.write(column.data)


def _append(rows: TraceRows, pipe: IO[bytes] | None) -> None:
    """Append the next piece, as another process sends it. Raises TraceError if that process failed."""
    try:
        if pipe is None:
            raise EOFError
        events, trailer, names, threads, sizes = pickle.load(pipe)
        numbers = {"name": _renumbering(rows.blocks.names, names)}
        numbers["thread"] = _renumbering(rows.blocks.threads, threads)
        for kind, (count, columns) in sizes.items():
            for column, view in rows.tables[kind].extend(count, columns).items():
                _fill(view, pipe)
                if column in numbers:
                    view[:] = numbers[column][view]
    except EOFError as error:
        raise TraceError("a process that read a piece of the trace ended early", TraceErrorCode.UNREADABLE) from error
    rows.events += events
    rows.trailer = trailer


def _renumbering(numbers: dict[Any, int], keys: list[Any]) -> Int:
    """The number in this process of each key that another process numbered by its position."""
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def _fill(view: NDArray[Any], pipe: IO[bytes]) -> None:
    if view.size and pipe.readinto(view.data.cast("B")) != view.nbytes:  # type: ignore[attr-defined]
        raise EOFError


def main() -> None:
    """Read the piece given on the command line and send it to standard output."""
    path, start, stop = sys.argv[1:]
    try:
        rows = _read(
            EventStream(
                Path(path),
                DECODERS,
                lenient=decode_leniently,
                start=int(start),
                stop=int(stop) if stop else None,
            )
        )
    except TraceError:
        sys.exit(1)  # the parent then reads the entire file and raises the error
    _send(rows, sys.stdout.buffer)


if __name__ == "__main__":
    main()
