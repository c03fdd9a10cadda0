"""The tables of an export of Nsight Systems: a path enters, numpy columns leave, streamed block by block.

The file is opened read-only. What is no whole SQLite file is refused before a row is read; a table that is not there
is empty, and a column that is not there is -1, unless nothing can be read without it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.trace.events import UNKNOWN, Int


@dataclass(frozen=True)
class Window:
    """A part of a recording: the first moment and the one after the last, in ns of the file's clock, of one process."""

    start: int
    end: int
    process: int


BLOCK = 50_000
"""Rows that stand in memory as Python objects at a time."""

PROCESS_BITS = 24
"""A global id names a process, and in its lowest bits, so many, a thread."""

PATIENCE_S = 0.5
"""How long a lock of another process is waited for."""

_MAGIC = b"SQLite format 3\0"
_META = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_EXPORTED = {*_META, "StringIds", "NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_KERNEL", "ANALYSIS_DETAILS"}


@dataclass(frozen=True)
class Table:
    """What is read of one table: columns that it must have, and that it may have; whether ``end`` may be null."""

    name: str
    needs: tuple[str, ...]
    may_have: tuple[str, ...] = ()
    may_never_end: bool = False


class Database:
    """One open export; ``rows_read`` counts the rows of all tables that were read."""

    def __init__(self, path: Path, connection: sqlite3.Connection, window: Window | None) -> None:
        self.path = path
        self.rows_read = 0
        self._connection = connection
        self._window = window

    @cached_property
    def tables(self) -> Mapping[str, frozenset[str]]:
        """The columns of every table."""
        rows = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = [str(name) for (name,) in rows if '"' not in str(name)]
        return {
            name: frozenset(r[1] for r in self._connection.execute(f'PRAGMA table_info("{name}")')) for name in names
        }

    @cached_property
    def about(self) -> Mapping[str, str]:
        """What the export says of itself, by name (``EXPORT_SCHEMA_VERSION``, say)."""
        meta = next((table for table in _META if table in self.tables), None)
        return {str(name): str(value) for name, value in self.rows(meta or _META[0], "name", "value")}

    def columns(self, table: Table, where: str = "1") -> dict[str, Int]:
        """The columns of a table by name, of the rows that lie in the window and are selected by *where*.

        Without the table they are empty. Raises TraceError for a table that lacks a column it needs, and for one that
        holds something else than whole numbers, or what ends before it begins.
        """
        wanted = (*table.needs, *table.may_have)
        if table.name not in self.tables:
            return {name: np.zeros(0, dtype=np.int64) for name in wanted}
        there = self.tables[table.name]
        missing = [name for name in table.needs if name not in there]
        if missing:
            raise TraceError(
                f"{self.path}: table {table.name} has no column {', '.join(missing)}; this is an export of "
                f"nsys {self.about.get('EXPORT_PRODUCT_VERSION', '(unknown)')} with schema "
                f"{self.about.get('EXPORT_SCHEMA_VERSION', '(unknown)')}",
                TraceErrorCode.UNSUPPORTED,
            )
        chosen = [f'IFNULL("{name}", {UNKNOWN})' if name in there else str(UNKNOWN) for name in wanted]
        count = self._select("count(*)", table.name, where).fetchone()[0]
        try:
            found = _streamed(self._select(", ".join(chosen), table.name, where), (len(wanted), count))
        except (ValueError, TypeError, OverflowError) as error:
            raise TraceError(
                f"{self.path}: no whole number where one belongs in {table.name}: {error}",
                TraceErrorCode.IMPOSSIBLE_VALUES,
            ) from error
        self.rows_read += count
        rows = dict(zip(wanted, found, strict=True))
        if "end" in rows:
            self._check_times(table.name, rows["start"], rows["end"], table.may_never_end)
        return rows

    def _check_times(self, table: str, start: Int, end: Int, may_never_end: bool) -> None:
        backwards = end < start
        if may_never_end:
            backwards &= end != UNKNOWN
        wrong = int((backwards | (start == UNKNOWN)).sum())
        if wrong:
            raise TraceError(
                f"{self.path}: {wrong} of {len(start)} rows of {table} have no start or end before it; it is damaged",
                TraceErrorCode.IMPOSSIBLE_VALUES,
            )

    def column_of_texts(self, table: str, column: str, where: str, names: Names) -> Int:
        """The codes of the texts of a column, of the rows that *where* selects."""
        blocks = [np.zeros(0, dtype=np.int64)]
        if column in self.tables.get(table, ()):
            cursor = self._select(column, table, where)
            while rows := cursor.fetchmany(BLOCK):
                blocks.append(names.codes(str(text) for (text,) in rows))
        return np.concatenate(blocks)

    def rows(self, table: str, *columns: str, where: str = "1") -> Iterator[tuple[Any, ...]]:
        """Rows of a table as Python objects, one by one; none where the table or a column of it is not there."""
        if self.tables.get(table, frozenset()).issuperset(columns):
            yield from self._select(", ".join(f'"{column}"' for column in columns), table, where)

    def strings(self, wanted: Int) -> dict[int, str]:
        """The texts of some ids of the table of strings."""
        ids = frozenset(wanted.tolist())
        rows = self.rows("StringIds", "id", "value") if ids else iter(())
        return {number: str(value) for number, value in rows if number in ids}

    def _select(self, expression: str, table: str, where: str) -> sqlite3.Cursor:
        within, values = "", []
        if self._window is not None and "start" in self.tables[table]:
            within, values = " AND start >= ? AND start < ?", [self._window.start, self._window.end]
            owner = next((column for column in ("globalTid", "globalPid") if column in self.tables[table]), None)
            if owner is not None:
                within, values = f"{within} AND {owner} >> {PROCESS_BITS} = ?", [*values, self._window.process]
        return self._connection.execute(f'SELECT {expression} FROM "{table}" WHERE ({where}){within}', values)


@contextmanager
def opened(path: Path, window: Window | None = None) -> Iterator[Database]:
    """A file that was checked to be a whole SQLite file, and an export. Raises TraceError otherwise."""
    _check(path)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=PATIENCE_S)
        try:
            connection.text_factory = lambda text: text.decode(errors="replace")
            database = Database(path, connection, window)
            if not _EXPORTED & database.tables.keys():
                raise TraceError(
                    f"{path}: an SQLite file, but none that `nsys export --type sqlite` wrote",
                    TraceErrorCode.NOT_A_TRACE,
                )
            yield database
        finally:
            connection.close()
    except sqlite3.Error as error:
        text, code = _explained(error)
        raise TraceError(f"{path}: {text}", code) from error


def is_sqlite(path: Path) -> bool:
    """Whether a file begins like an SQLite file; False for one that can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _check(path: Path) -> None:
    """Raise TraceError for what is no whole SQLite file, by its header: SQLite itself notices only in the lost part."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise TraceError.from_os(path, error) from error
    if not size:
        raise TraceError(
            f"{path}: the file is empty; nsys was stopped before it exported anything", TraceErrorCode.EMPTY
        )
    if not header.startswith(_MAGIC):
        raise TraceError(f"{path}: this is no SQLite file", TraceErrorCode.NOT_A_TRACE)
    page = int.from_bytes(header[16:18], "big")
    whole = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    if len(header) < 100 or size < whole:
        raise TraceError(
            f"{path}: the file is cut off, {size} bytes of {whole or 'at least 100'}: export it again with "
            "`nsys export --type sqlite`",
            TraceErrorCode.TRUNCATED,
        )


def _explained(error: sqlite3.Error) -> tuple[str, TraceErrorCode]:
    """What went wrong and what to do about it, by the words of SQLite (its codes need Python 3.11)."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"another process is writing this file ({text}): wait until nsys has exported it", TraceErrorCode.LOCKED
    if "readonly" in text:
        why = f"nsys was stopped while it wrote this file: a journal lies beside it ({text}); export it again"
        return why, TraceErrorCode.TRUNCATED
    if "malformed" in text or "disk" in text:
        why = f"the file is damaged ({text}): export it again with `nsys export --type sqlite`"
        return why, TraceErrorCode.CORRUPT
    return text, TraceErrorCode.UNREADABLE


def _streamed(cursor: sqlite3.Cursor, shape: tuple[int, int]) -> Int:
    """All rows of whole numbers, as an array of that many columns and rows."""
    found = np.empty(shape, dtype=np.int64)
    width, first = shape[0], 0
    while rows := cursor.fetchmany(BLOCK):
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * width)
        found[:, first : first + len(rows)] = flat.reshape(-1, width).T
        first += len(rows)
    return found


def renumbered(values: Int, number: Callable[[int], int]) -> Int:
    """Each value by its number. Of many values few are different: each is asked for once in a block."""
    found = np.empty_like(values)
    for first in range(0, len(values), BLOCK):
        different, place = np.unique(values[first : first + BLOCK], return_inverse=True)
        found[first : first + BLOCK] = np.array([number(value) for value in different.tolist()], dtype=np.int64)[place]
    return found


class Names:
    """Names as codes: an id of the table of strings, or below -1 a text of its own; ``resolved`` numbers them all."""

    def __init__(self) -> None:
        self._own = _Own()

    def code(self, text: str) -> int:
        """The code of a text."""
        return self._own[text]

    def codes(self, texts: Iterable[str]) -> Int:
        """The codes of some texts."""
        return np.fromiter(map(self._own.__getitem__, texts), dtype=np.int64)

    def texts(self, database: Database, codes: Int) -> dict[int, str]:
        """The text of each code; those of no text at all are left out."""
        return database.strings(codes[codes >= 0]) | {code: text for text, code in self._own.items()} | {UNKNOWN: ""}

    def resolved(self, database: Database, columns: Sequence[Int]) -> tuple[tuple[str, ...], list[Int]]:
        """All names that occur in *columns* of codes, each once, and the columns as indices into them."""
        used = np.unique(np.concatenate([np.unique(column) for column in columns]))
        texts = self.texts(database, used)
        numbers: dict[str, int] = {}

        def number(code: int) -> int:
            return numbers.setdefault(texts.get(code, f"(string {code})"), len(numbers))

        parts = [renumbered(column, number) for column in columns]
        return tuple(numbers), parts


class _Own(dict[str, int]):
    """Codes of texts that stand in no table of strings, given as they come."""

    def __missing__(self, text: str) -> int:
        code = self[text] = -2 - len(self)
        return code
