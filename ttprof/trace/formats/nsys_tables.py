"""Reads the tables of an Nsight Systems export into numpy columns, block by block.

The file is opened read-only; a truncated file is rejected before any row is read. A missing table is empty, and a
missing optional column is -1.
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
class TimeWindow:
    """A part of a recording: [start, end) in ns of the file's clock, of one process."""

    start: int
    end: int
    process: int


BLOCK = 50_000
"""Number of rows in memory as Python objects at a time."""

PROCESS_BITS = 24
"""The number of low bits of a global id that name the thread; the bits above them name the process."""

LOCK_TIMEOUT_S = 0.5
"""How long to wait for another process to release its lock on the file."""

_MAGIC = b"SQLite format 3\0"
_META = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_EXPORTED = {*_META, "StringIds", "NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_KERNEL", "ANALYSIS_DETAILS"}


@dataclass(frozen=True)
class TableSpec:
    """The columns to read of one table, required and optional ones, and whether ``end`` may be null."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    may_never_end: bool = False


class Database:
    """One open export; ``rows_read`` counts the rows read so far, of all tables."""

    def __init__(self, path: Path, connection: sqlite3.Connection, window: TimeWindow | None) -> None:
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
    def metadata(self) -> Mapping[str, str]:
        """The metadata of the export by name, for example ``EXPORT_SCHEMA_VERSION``."""
        meta = next((table for table in _META if table in self.tables), None)
        return {str(name): str(value) for name, value in self.rows(meta or _META[0], "name", "value")}

    def columns(self, table: TableSpec, where: str = "1") -> dict[str, Int]:
        """The columns of a table by name, for the rows in the window that the SQL condition *where* selects.

        They are empty if the file has no such table.

        Raises:
            TraceError: a required column is missing, a value is not an integer, or a row ends before it starts.
        """
        names = (*table.required, *table.optional)
        if table.name not in self.tables:
            return {name: np.zeros(0, dtype=np.int64) for name in names}
        in_file = self.tables[table.name]
        missing = [name for name in table.required if name not in in_file]
        if missing:
            raise TraceError(
                f"{self.path}: table {table.name} has no column {', '.join(missing)}; this is an export of "
                f"nsys {self.metadata.get('EXPORT_PRODUCT_VERSION', '(unknown)')} with schema "
                f"{self.metadata.get('EXPORT_SCHEMA_VERSION', '(unknown)')}",
                TraceErrorCode.UNSUPPORTED,
            )
        chosen = [f'IFNULL("{name}", {UNKNOWN})' if name in in_file else str(UNKNOWN) for name in names]
        count = self._select("count(*)", table.name, where).fetchone()[0]
        try:
            columns = _streamed(self._select(", ".join(chosen), table.name, where), (len(names), count))
        except (ValueError, TypeError, OverflowError) as error:
            raise TraceError(
                f"{self.path}: {table.name} has a value that is not an integer where one is required: {error}",
                TraceErrorCode.IMPOSSIBLE_VALUES,
            ) from error
        self.rows_read += count
        rows = dict(zip(names, columns, strict=True))
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
                f"{self.path}: {wrong} of {len(start)} rows of {table} have no start, or end before it; the export is "
                "damaged",
                TraceErrorCode.IMPOSSIBLE_VALUES,
            )

    def text_column(self, table: str, column: str, where: str, names: NameTable) -> Int:
        """A column of strings as codes in *names*, for the rows that the SQL condition *where* selects."""
        blocks = [np.zeros(0, dtype=np.int64)]
        if column in self.tables.get(table, ()):
            cursor = self._select(column, table, where)
            while rows := cursor.fetchmany(BLOCK):
                blocks.append(names.codes(str(text) for (text,) in rows))
        return np.concatenate(blocks)

    def rows(self, table: str, *columns: str, where: str = "1") -> Iterator[tuple[Any, ...]]:
        """Yield rows of a table as Python objects; none if the table or one of its columns is missing."""
        if self.tables.get(table, frozenset()).issuperset(columns):
            yield from self._select(", ".join(f'"{column}"' for column in columns), table, where)

    def strings(self, ids: Int) -> dict[int, str]:
        """The strings with these ids in the table ``StringIds``."""
        chosen = frozenset(ids.tolist())
        rows = self.rows("StringIds", "id", "value") if chosen else iter(())
        return {number: str(value) for number, value in rows if number in chosen}

    def _select(self, expression: str, table: str, where: str) -> sqlite3.Cursor:
        within, values = "", []
        if self._window is not None and "start" in self.tables[table]:
            within, values = " AND start >= ? AND start < ?", [self._window.start, self._window.end]
            column = next((name for name in ("globalTid", "globalPid") if name in self.tables[table]), None)
            if column is not None:
                within, values = f"{within} AND {column} >> {PROCESS_BITS} = ?", [*values, self._window.process]
        return self._connection.execute(f'SELECT {expression} FROM "{table}" WHERE ({where}){within}', values)


@contextmanager
def open_export(path: Path, window: TimeWindow | None = None) -> Iterator[Database]:
    """Open an export of Nsight Systems. Raises TraceError if it is not one, or truncated."""
    _check(path)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=LOCK_TIMEOUT_S)
        try:
            connection.text_factory = lambda text: text.decode(errors="replace")
            database = Database(path, connection, window)
            if not _EXPORTED & database.tables.keys():
                raise TraceError(
                    f"{path}: an SQLite file, but not one written by `nsys export --type sqlite`",
                    TraceErrorCode.NOT_A_TRACE,
                )
            yield database
        finally:
            connection.close()
    except sqlite3.Error as error:
        text, code = _explain(error)
        raise TraceError(f"{path}: {text}", code) from error


def is_sqlite(path: Path) -> bool:
    """Whether a file starts like an SQLite file; False if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _check(path: Path) -> None:
    """Raise TraceError unless it is a complete SQLite file: SQLite only notices when it reads the missing part."""
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
        raise TraceError(f"{path}: not an SQLite file", TraceErrorCode.NOT_A_TRACE)
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    if len(header) < 100 or size < expected:
        raise TraceError(
            f"{path}: the file is truncated, {size} bytes of {expected or 'at least 100'}: export it again with "
            "`nsys export --type sqlite`",
            TraceErrorCode.TRUNCATED,
        )


def _explain(error: sqlite3.Error) -> tuple[str, TraceErrorCode]:
    """The problem and its remedy, from SQLite's message (its error codes need Python 3.11)."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"another process is writing this file ({text}): wait until nsys has exported it", TraceErrorCode.LOCKED
    if "readonly" in text:
        reason = f"nsys was stopped while it wrote this file and left a journal next to it ({text}): export it again"
        return reason, TraceErrorCode.TRUNCATED
    if "malformed" in text or "disk" in text:
        reason = f"the file is damaged ({text}): export it again with `nsys export --type sqlite`"
        return reason, TraceErrorCode.CORRUPT
    return text, TraceErrorCode.UNREADABLE


def _streamed(cursor: sqlite3.Cursor, shape: tuple[int, int]) -> Int:
    """All rows of a query for integers, as an array of *shape* (columns, rows)."""
    result = np.empty(shape, dtype=np.int64)
    width, first = shape[0], 0
    while rows := cursor.fetchmany(BLOCK):
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * width)
        result[:, first : first + len(rows)] = flat.reshape(-1, width).T
        first += len(rows)
    return result


def renumbered(values: Int, number: Callable[[int], int]) -> Int:
    """Replace each value by its *number*, which is called once per block for each distinct value."""
    result = np.empty_like(values)
    for first in range(0, len(values), BLOCK):
        unique, place = np.unique(values[first : first + BLOCK], return_inverse=True)
        result[first : first + BLOCK] = np.array([number(value) for value in unique.tolist()], dtype=np.int64)[place]
    return result


class NameTable:
    """Names as codes: ids of the table ``StringIds``, and numbers below -1 for strings that are not in it."""

    def __init__(self) -> None:
        self._codes = _TextCodes()

    def code(self, text: str) -> int:
        """The code of a string; a new one for a new string."""
        return self._codes[text]

    def codes(self, texts: Iterable[str]) -> Int:
        """The codes of strings; new ones for new strings."""
        return np.fromiter(map(self._codes.__getitem__, texts), dtype=np.int64)

    def texts(self, database: Database, codes: Int) -> dict[int, str]:
        """The string of each code; codes without one are left out."""
        return database.strings(codes[codes >= 0]) | {code: text for text, code in self._codes.items()} | {UNKNOWN: ""}

    def resolved(self, database: Database, columns: Sequence[Int]) -> tuple[tuple[str, ...], list[Int]]:
        """The distinct names in *columns* of codes, and the columns as indices into them."""
        used = np.unique(np.concatenate([np.unique(column) for column in columns]))
        texts = self.texts(database, used)
        numbers: dict[str, int] = {}

        def number(code: int) -> int:
            return numbers.setdefault(texts.get(code, f"(string {code})"), len(numbers))

        parts = [renumbered(column, number) for column in columns]
        return tuple(numbers), parts


class _TextCodes(dict[str, int]):
    """The codes of strings, assigned on first use: -2, -3, and so on."""

    def __missing__(self, text: str) -> int:
        code = self[text] = -2 - len(self)
        return code
