"""Scrubs an export of Nsight Systems: writes a new database with the tables and columns that ttprof reads.

A new file has no free pages, in which a database keeps what was deleted. The environment, the command lines, the
processes and everything else that nsys stores stay behind.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ttprof.trace.formats.nsys_tables import SYSTEM_ENVIRONMENT, Database, open_export
from ttprof.trace.scrub.names import Names
from ttprof.trace.scrub.tally import Tally

_WORK = ("start", "end", "deviceId", "streamId", "correlationId", "globalPid")
_RANGES = "eventType IN (59, 60, 75)"
"""NVTX ranges and names of domains; marks, categories and the names of threads and resources stay behind."""

NUMBERS = {
    "CUPTI_ACTIVITY_KIND_KERNEL": (*_WORK, "demangledName", "shortName"),
    "CUPTI_ACTIVITY_KIND_MEMCPY": (*_WORK, "copyKind", "bytes"),
    "CUPTI_ACTIVITY_KIND_MEMSET": (*_WORK, "bytes"),
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": (*_WORK, "graphId"),
    "CUPTI_ACTIVITY_KIND_RUNTIME": ("start", "end", "globalTid", "correlationId", "nameId"),
    "CUPTI_ACTIVITY_KIND_OVERHEAD": ("start", "end", "globalTid", "correlationId", "nameId"),
    "NVTX_EVENTS": ("start", "end", "eventType", "globalTid", "textId", "domainId"),
    "ANALYSIS_DETAILS": ("duration",),
    "TARGET_INFO_CUDA_DEVICE": ("gpuId", "cudaId", "pid"),
    "CUDA_GPU_MEMORY_USAGE_EVENTS": (
        *("start", "globalPid", "deviceId", "address", "bytes", "memoryOperationType", "localMemoryPoolSize"),
    ),
}
"""The tables of events with their columns, all of them numbers."""

_STRING_IDS = {"demangledName": "kernels", "shortName": "kernels", "nameId": "runtime calls", "textId": "ranges"}
"""The columns that are ids of strings, and what the strings name."""

_META = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_META_NAMES = ("EXPORT_SCHEMA_VERSION", "EXPORT_PRODUCT_VERSION")
_WHO = ("EXPORT_HOST", "EXPORT_USER", "Hostname", "HOSTNAME", "USER", "LOGNAME", "USERNAME")
"""Names of metadata and of variables of the environment whose values are hidden in names too."""

_VERSION = re.compile(r"\d[\d.]{0,30}")
_LOSS = re.compile(r"dropped|discarded|lost|missed|missing|not all", re.IGNORECASE)
"""Words in the diagnostics that ttprof reads: those about lost events. The others stay behind."""


def copy(source: Path, target: Path, names: Names) -> Tally:
    """Write the scrubbed copy of an export to *target*, a path without a file.

    Raises:
        TraceError: the export can't be read, as for ``formats.nsys_sqlite.read``.
        sqlite3.Error: the copy can't be written.
    """
    tally = Tally()
    with open_export(source) as database:
        names.hide(_who(database))
        connection = sqlite3.connect(target)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            with connection:
                _Copy(database, connection, names, tally).all()
        finally:
            connection.close()
    return tally


class _Copy:
    """Copies one export into an open, empty database."""

    def __init__(self, database: Database, connection: sqlite3.Connection, names: Names, tally: Tally) -> None:
        self._from = database
        self._to = connection
        self._names = names
        self._tally = tally
        self._used: dict[int, str] = {}
        """What each string that is used names, by its id."""

    def all(self) -> None:
        """Copy all tables that stay, and count the others."""
        for table, columns in NUMBERS.items():
            if table in self._from.tables:
                self._numbers(table, columns)
        self._strings()
        self._devices()
        self._diagnostics()
        self._metadata()
        kept = {str(name) for (name,) in self._to.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._tally.removed["table of the export"] += len(self._from.table_names - kept)
        self._tally.removed["column of a table"] += sum(
            len(self._from.tables[table]) - len(self._to.execute(f'PRAGMA table_info("{table}")').fetchall())
            for table in kept
        )

    def _numbers(self, table: str, wanted: tuple[str, ...]) -> None:
        columns = [name for name in wanted if name in self._from.tables[table]]
        has_text = table == "NVTX_EVENTS" and "text" in self._from.tables[table]
        is_event = table != "NVTX_EVENTS" or "eventType" not in columns
        names = [*columns, "text"] if has_text else columns
        rows = self._from.rows(table, *names, where="1" if is_event else _RANGES)
        ids = [(i, _STRING_IDS[name]) for i, name in enumerate(columns) if name in _STRING_IDS]
        self._create(table, names, (self._row(row, len(columns), ids) for row in rows))

    def _row(self, row: tuple[Any, ...], numbers: int, ids: list[tuple[int, str]]) -> list[Any]:
        """The integers of a row, then its text if it has one; notes the strings that it refers to."""
        self._tally.rows += 1
        copied: list[Any] = [value if isinstance(value, int) else None for value in row[:numbers]]
        for i, what in ids:
            if copied[i] is not None:
                self._used.setdefault(copied[i], what)
        return copied + [self._name(text, "ranges") for text in row[numbers:]]

    def _name(self, text: Any, what: str) -> str | None:
        if text is None:
            return None
        cleaned = self._names.clean(str(text))
        self._tally.keep(what, cleaned)
        return cleaned

    def _strings(self) -> None:
        """The strings that kept columns refer to."""
        strings = list(self._from.rows("StringIds", "id", "value"))
        used = [(number, value) for number, value in strings if number in self._used]
        self._create("StringIds", ["id", "value"], ([n, self._name(value, self._used[n])] for n, value in used))
        self._tally.removed["string that no kept column uses"] += len(strings) - len(used)

    def _devices(self) -> None:
        if "TARGET_INFO_GPU" in self._from.tables:
            names = [str(name) for (name,) in self._from.rows("TARGET_INFO_GPU", "name")]
            self._create("TARGET_INFO_GPU", ["id", "name"], ([i, self._names.text(n)] for i, n in enumerate(names)))

    def _diagnostics(self) -> None:
        if "DIAGNOSTIC_EVENT" in self._from.tables:
            texts = [str(text) for (text,) in self._from.rows("DIAGNOSTIC_EVENT", "text")]
            kept = [[self._names.text(text)] for text in texts if _LOSS.search(text)]
            self._create("DIAGNOSTIC_EVENT", ["text"], kept)
            self._tally.removed["message of nsys"] += len(texts) - len(kept)

    def _metadata(self) -> None:
        table = next((name for name in _META if name in self._from.tables), None)
        if table is not None:
            rows = [(str(name), str(value)) for name, value in self._from.rows(table, "name", "value")]
            kept = [list(row) for row in rows if row[0] in _META_NAMES and _VERSION.fullmatch(row[1])]
            self._create(table, ["name", "value"], kept)
            self._tally.removed["entry of the metadata"] += len(rows) - len(kept)

    def _create(self, table: str, columns: list[str], rows: Iterable[list[Any]]) -> None:
        named = ", ".join(f'"{column}"' for column in columns)
        marks = ", ".join("?" for _ in columns)
        self._to.execute(f'CREATE TABLE "{table}" ({named})')
        self._to.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)


def _who(database: Database) -> Iterator[str]:
    """The host and the user, as the metadata and the environment state them."""
    for table in (*_META, SYSTEM_ENVIRONMENT):
        for name, value in database.rows(table, "name", "value"):
            if name in _WHO and value:
                yield str(value)
