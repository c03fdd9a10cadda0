"""Reads the tables of an Nsight Systems export into numpy columns, block by block.

The file is opened as ``sqlite_file`` does, so that it can't compute anything. A missing table is empty, and a missing
optional column is -1.
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

import numpy as np

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.budget import Budget
from ttprof.trace.events import UNKNOWN, UNREADABLE_NS, Int
from ttprof.trace.formats import sqlite_file
from ttprof.trace.formats.growing import GrowingTable
from ttprof.trace.formats.numbers import MAX_DURATION_US


@dataclass(frozen=True)
class TimeWindow:
    """A part of a recording: [start, end) in ns of the file's clock, of one process."""

    start: int
    end: int
    process: int


BLOCK = 10_000
"""Number of rows in memory as Python objects at a time."""

PROCESS_BITS = 24
"""The number of low bits of a global id that name the thread; the bits above them name the process."""

MAX_TIME_NS = 2**61
"""Times and their distances must be below this (73 years), so that their sums and differences fit in 64 bits."""

_META = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_EXPORTED = {*_META, "StringIds", "NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_KERNEL", "ANALYSIS_DETAILS"}
SYSTEM_ENVIRONMENT = "TARGET_INFO_SYSTEM_ENV"
"""The table of variables of the environment; only ``ttprof scrub`` reads it, to know whose names to hide."""

_PREFIXES = (
    *(*_EXPORTED, "CUPTI_ACTIVITY_KIND_", "CUDA_GPU_MEMORY_USAGE_EVENTS", "DIAGNOSTIC_EVENT"),
    *("TARGET_INFO_GPU", "TARGET_INFO_CUDA_DEVICE"),
    SYSTEM_ENVIRONMENT,
)
"""How the names of the tables that are read begin; the others are not looked at."""


@dataclass(frozen=True)
class TableSpec:
    """The columns to read of one table, required and optional ones, and whether ``end`` may be null."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    may_never_end: bool = False


class Database:
    """One open export; ``rows_read`` counts the rows read so far, of all tables."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, budget: Budget, window: TimeWindow | None = None
    ) -> None:
        self.path = path
        self.rows_read = 0
        self._connection = connection
        self._budget = budget
        self._window = window

    @cached_property
    def tables(self) -> Mapping[str, frozenset[str]]:
        """The columns of every table of an export.

        Raises:
            TraceError: one is not a plain table.
        """
        return sqlite_file.plain_tables(self._connection, self.path, lambda name: name.startswith(_PREFIXES))

    @property
    def table_names(self) -> frozenset[str]:
        """The names of all tables of the export, those that are not read included."""
        rows = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return frozenset(str(name) for (name,) in rows)

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of the export by name, for example ``EXPORT_SCHEMA_VERSION``."""
        meta = next((table for table in _META if table in self.tables), None)
        return {str(name): str(value) for name, value in self.rows(meta or _META[0], "name", "value")}

    def columns(self, table: TableSpec, where: str = "1") -> dict[str, Int]:
        """The columns of a table by name, for the rows in the window that the SQL condition *where* selects.

        They are empty if the file has no such table.

        Raises:
            TraceError: a required column is missing, or a value is not an integer.
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
        chosen = [_integer(name) if name in in_file else str(UNKNOWN) for name in names]
        try:
            columns = self._streamed(self._select(", ".join(chosen), table.name, where), names)
        except (ValueError, TypeError, OverflowError) as error:
            raise TraceError(
                f"{self.path}: {table.name} has a value that is not an integer where one is required: {error}",
                TraceErrorCode.IMPOSSIBLE_VALUES,
            ) from error
        self.rows_read += len(columns[names[0]])
        if "end" in columns:
            _mark_unreadable(columns["start"], columns["end"])
        return columns

    def text_column(self, table: str, column: str, where: str, names: NameTable) -> Int:
        """A column of strings as codes in *names*, for the rows that the SQL condition *where* selects."""
        blocks = [np.zeros(0, dtype=np.int64)]
        if column in self.tables.get(table, ()):
            for rows in self._blocks(self._select(f'"{column}"', table, where)):
                blocks.append(names.codes(str(text) for (text,) in rows))
        return np.concatenate(blocks)

    def rows(self, table: str, *columns: str, where: str = "1") -> Iterator[tuple[Any, ...]]:
        """Yield rows of a table as Python objects; none if the table or one of its columns is missing."""
        if columns and table in self.tables and self.tables[table].issuperset(columns):
            for rows in self._blocks(self._select(", ".join(map(_unless_blob, columns)), table, where)):
                yield from rows

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
        return self._connection.execute(
            f'SELECT {expression} FROM "{table}" NOT INDEXED WHERE ({where}){within}', values
        )

    def _blocks(self, cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query in blocks. Not counted first: a damaged tree of pages takes forever to count."""
        count = 0
        while rows := cursor.fetchmany(BLOCK):
            count += len(rows)
            self._budget.rows(count)
            yield rows

    def _streamed(self, cursor: sqlite3.Cursor, names: Sequence[str]) -> dict[str, Int]:
        """All rows of a query for integers, as a column by name."""
        table = GrowingTable()
        table.extend(0, dict.fromkeys(names, np.dtype(np.int64)))
        for rows in self._blocks(cursor):
            flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * len(names))
            table.add(dict(zip(names, flat.reshape(-1, len(names)).T, strict=True)))
        return table.finish()


@contextmanager
def open_export(path: Path, window: TimeWindow | None = None) -> Iterator[Database]:
    """Open an export of Nsight Systems. Raises TraceError if it is not one, truncated, or too large for its size."""
    with sqlite_file.open_file(path) as (connection, budget):
        database = Database(path, connection, budget, window)
        if not _EXPORTED & database.tables.keys():
            raise TraceError(
                f"{path}: an SQLite file, but not one written by `nsys export --type sqlite`",
                TraceErrorCode.NOT_A_TRACE,
            )
        yield database


def _mark_unreadable(start: Int, end: Int) -> None:
    """Give rows whose times are none, or too far apart to be, the duration ``UNREADABLE_NS``."""
    no_times = (np.maximum(start, end) >= MAX_TIME_NS) | (np.minimum(start, end) <= -MAX_TIME_NS)
    wrong = no_times | (start == UNKNOWN)
    wrong |= ~wrong & (np.abs(end - np.where(wrong, end, start)) >= MAX_DURATION_US * 1000) & (end != UNKNOWN)
    start[wrong], end[wrong] = 0, UNREADABLE_NS


def _integer(column: str) -> str:
    """SQL for an integer; a blob, which could be large, becomes a text, which is rejected.

    Numbers and texts sort before every blob, which is cheaper to ask than the type.
    """
    return f'CASE WHEN "{column}" < x\'\' THEN "{column}" WHEN "{column}" IS NULL THEN {UNKNOWN} ELSE \'a blob\' END'


def _unless_blob(column: str) -> str:
    """SQL for a text or a number; blobs, which no export has and which could be large, are only named."""
    return f"CASE typeof(\"{column}\") WHEN 'blob' THEN '(binary)' ELSE \"{column}\" END"


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
