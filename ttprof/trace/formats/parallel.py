"""The rows of one file as tables, read in one piece, or when it is large by several processes, a piece each.

A path enters; the tables of all its rows leave. Python's lock lets threads decode no faster, so each further piece has
a process of its own, which is started with nothing but the interpreter and sends its tables through a pipe.
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
from ttprof.trace.formats.kineto_rows import DECODERS, Blocks
from ttprof.trace.formats.numbers import TooLargeForFloats
from ttprof.trace.formats.source import is_packed, unpacked_bytes

PIECE_BYTES = 64 << 20
"""A piece is at least so large: a process takes a fifth of a second to start, in which it could have read this."""

MOST_PIECES = 8
MOST_PACKED_PIECES = 3
"""To reach its piece of a gzipped file, a process has to unpack all that lies before it."""

FIRST_SHARE = 1.25
"""The size of the first piece in those of the others: it needs no process to be started."""


@dataclass
class Rows:
    """All rows that were read: a table for each kind, and what stands around them in the file."""

    blocks: Blocks
    tables: dict[str, GrowingTable] = field(default_factory=lambda: defaultdict(GrowingTable))
    events: int = 0
    header: bytes = b"{}"
    trailer: bytes = b"{}"
    lost: str | None = None


def read_rows(path: Path, salvage: bool, processes: int | None = None) -> Rows:
    """The rows of a file. *processes* is the most to use; None: one for each core that is worth starting.

    Raises TraceError as the reader does. What can't be read in pieces is read in one, which also finds the error.
    """
    count = 1 if salvage else _pieces(path, processes)
    if count > 1:
        try:
            return _read_pieces(path, count)
        except TraceError:
            pass
    return _read(EventStream(path, DECODERS, salvage))


def _pieces(path: Path, processes: int | None) -> int:
    try:
        most = MOST_PACKED_PIECES if is_packed(path) else MOST_PIECES
        return min(processes or cores(), most, unpacked_bytes(path) // PIECE_BYTES)
    except OSError:
        return 1  # reading it says why


def _read(stream: EventStream) -> Rows:
    found = Rows(Blocks(str(stream.path)))
    with no_gc():
        for rows in stream:
            first = stream.events - len(rows)
            try:
                parts = found.blocks.tables(rows, first)
            except TooLargeForFloats:
                parts = found.blocks.tables(stream.decode_again(), first)
            for kind, part in parts:
                found.tables[kind].add(part)
    found.events, found.header, found.trailer, found.lost = stream.events, stream.header, stream.trailer, stream.lost
    return found


def _read_pieces(path: Path, count: int) -> Rows:
    """The rows of all pieces, in the order of the file."""
    size = unpacked_bytes(path)
    share = size / (FIRST_SHARE + count - 1)
    cuts = [0, *(int(share * (FIRST_SHARE + i)) for i in range(count - 1)), None]
    with _readers(path, list(pairwise(cuts))[1:]) as readers:
        found = _read(EventStream(path, DECODERS, stop=cuts[1]))
        for reader in readers:
            _append(found, reader.stdout)
            if reader.wait():
                raise TraceError(f"{path}: a reader of a piece failed", TraceErrorCode.UNREADABLE)
    return found


@contextmanager
def _readers(path: Path, pieces: list[tuple[Any, Any]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A process for each piece; none is left behind."""
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


def _send(found: Rows, pipe: IO[bytes]) -> None:
    """Write what ``_append`` reads: first the numbered names, then each table."""
    names, threads = list(found.blocks.names), list(found.blocks.threads)
    tables = {kind: table.done() for kind, table in found.tables.items()}
    sizes = {kind: (len(table["ts"]), {c: v.dtype for c, v in table.items()}) for kind, table in tables.items()}
    pickle.dump((found.events, found.trailer, names, threads, sizes), pipe, protocol=5)
    for table in tables.values():
        for column in table.values():
            pipe.write(column.data)


def _append(found: Rows, pipe: IO[bytes] | None) -> None:
    """Add what another process read of the next piece; TraceError when it could not read it."""
    try:
        if pipe is None:
            raise EOFError
        events, trailer, names, threads, sizes = pickle.load(pipe)
        numbers = {"name": _numbers(found.blocks.names, names), "thread": _numbers(found.blocks.threads, threads)}
        for kind, (count, columns) in sizes.items():
            for column, room in found.tables[kind].room(count, columns).items():
                _fill(room, pipe)
                if column in numbers:
                    room[:] = numbers[column][room]
    except EOFError as error:
        raise TraceError(
            "the process that reads a piece of the trace ended early", TraceErrorCode.UNREADABLE
        ) from error
    found.events += events
    found.trailer = trailer


def _numbers(known: dict[Any, int], theirs: list[Any]) -> Int:
    return np.array([known[each] for each in theirs], dtype=np.int64)


def _fill(room: NDArray[Any], pipe: IO[bytes]) -> None:
    if room.size and pipe.readinto(room.data.cast("B")) != room.nbytes:  # type: ignore[attr-defined]
        raise EOFError


def main() -> None:
    """Read the piece that the command line names and send it through standard output."""
    path, start, stop = sys.argv[1:]
    try:
        found = _read(EventStream(Path(path), DECODERS, start=int(start), stop=int(stop) if stop else None))
    except TraceError:
        sys.exit(1)  # the parent reads the file in one piece, and finds the error
    _send(found, sys.stdout.buffer)


if __name__ == "__main__":
    main()
