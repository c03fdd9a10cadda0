"""Opens an SQLite file that may be damaged or hostile: read-only, without its own code, and within a ``Budget``.

Views, triggers, generated columns, virtual tables and indexes are ways for a file to make SQLite compute; none is used.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.system.budget import MIB, Budget, OverBudget
from ttprof.system.files import open_regular

LOCK_TIMEOUT_S = 0.5
"""How long to wait for another process to release its lock on the file."""

STEPS = 10_000
"""Instructions of SQLite between two looks at the budget."""

MAX_VALUE_BYTES = 16 * MIB
"""The longest row or text; demangled names of kernels have some kilobytes."""

_MAGIC = b"SQLite format 3\0"
_LIMITS = {
    "SQLITE_LIMIT_SQL_LENGTH": MIB,
    "SQLITE_LIMIT_EXPR_DEPTH": 100,
    "SQLITE_LIMIT_COMPOUND_SELECT": 10,
    "SQLITE_LIMIT_ATTACHED": 0,
    "SQLITE_LIMIT_TRIGGER_DEPTH": 1,
    "SQLITE_LIMIT_WORKER_THREADS": 0,
}
_SWITCHES = {
    "SQLITE_DBCONFIG_DEFENSIVE": True,
    "SQLITE_DBCONFIG_ENABLE_TRIGGER": False,
    "SQLITE_DBCONFIG_ENABLE_VIEW": False,
}
_SETTINGS = ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON", "mmap_size = 0")
_COMPANIONS = ("-journal", "-wal", "-shm")


@contextmanager
def open_file(path: Path) -> Iterator[tuple[sqlite3.Connection, Budget]]:
    """Open an SQLite file for reading, with the budget that its size allows.

    Raises:
        TraceError: it is missing, not a regular file, not SQLite, truncated, damaged or locked, or the body of the
            ``with`` raised an error of SQLite or OverBudget.
    """
    budget = Budget(_checked_size(path))
    meter = _Meter(budget)
    try:
        uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT_S)
        try:
            _restrict(connection, budget)
            connection.set_progress_handler(meter.step, STEPS)
            connection.text_factory = meter.text
            yield connection, budget
        finally:
            connection.close()
    except OverBudget as error:
        raise TraceError(f"{path}: {error.reason}", TraceErrorCode.TOO_LARGE) from error
    except sqlite3.Error as error:
        if meter.over is not None:
            raise TraceError(f"{path}: {meter.over.reason}", TraceErrorCode.TOO_LARGE) from error
        text, code = _explain(error)
        raise TraceError(f"{path}: {text}", code) from error
    except MemoryError as error:  # SQLite asks for what a damaged header states
        text = "reading it takes more memory than there is, or it is damaged: export it again"
        raise TraceError(f"{path}: {text}", TraceErrorCode.TOO_LARGE) from error
    except UnicodeDecodeError as error:  # of a message about a damaged schema: texts are decoded with replacements
        raise TraceError(f"{path}: the file is damaged ({error}): export it again", TraceErrorCode.CORRUPT) from error


class _Meter:
    """Counts the steps and texts of a connection; ``over`` is the bound that it hit."""

    def __init__(self, budget: Budget) -> None:
        self.over: OverBudget | None = None
        self._budget = budget

    def step(self) -> int:
        """Count steps; SQLite stops at a result other than 0."""
        try:
            self._budget.steps(STEPS)
        except OverBudget as error:
            self.over = error
            return 1
        return 0

    def text(self, text: bytes) -> str:
        """Decode a text."""
        self._budget.text(len(text))
        return text.decode(errors="replace")


def _restrict(connection: sqlite3.Connection, budget: Budget) -> None:
    """Switch off what a file could use against its reader."""
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}").close()
    if hasattr(connection, "setlimit"):  # Python 3.11
        for name, limit in _LIMITS.items():
            connection.setlimit(getattr(sqlite3, name), limit)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(MIB, min(budget.size, MAX_VALUE_BYTES)))
    if hasattr(connection, "setconfig"):  # Python 3.12
        for name, value in _SWITCHES.items():
            connection.setconfig(getattr(sqlite3, name), value)


def plain_tables(
    connection: sqlite3.Connection, path: Path, is_read: Callable[[str], bool]
) -> Mapping[str, frozenset[str]]:
    """The columns of the tables whose name *is_read*.

    Raises:
        TraceError: one of them is a view or a virtual table, or has a generated column.
    """
    schema = connection.execute("SELECT type, name, rootpage FROM sqlite_master WHERE type IN ('table', 'view')")
    kinds = {str(name): (kind, page) for kind, name, page in schema if is_read(str(name)) and '"' not in str(name)}
    tables = {}
    for name, (kind, page) in kinds.items():
        if kind != "table" or not isinstance(page, int) or page <= 0:
            raise _computed(path, f"{name} is a {'view' if kind != 'table' else 'virtual table'}")
        columns = connection.execute(f'PRAGMA table_xinfo("{name}")').fetchall()
        if computed := next((column for _, column, *_, hidden in columns if hidden), None):
            raise _computed(path, f"the column {computed} of {name} is generated")
        tables[name] = frozenset(str(column) for _, column, *_ in columns if '"' not in str(column))
    return tables


def _computed(path: Path, what: str) -> TraceError:
    return TraceError(
        f"{path}: {what}, and ttprof only reads tables as `nsys export --type sqlite` writes them; export the report "
        "again",
        TraceErrorCode.UNSUPPORTED,
    )


def is_sqlite(path: Path) -> bool:
    """Whether a file starts like an SQLite file; False if it can't be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _checked_size(path: Path) -> int:
    """The size of a complete SQLite file; SQLite only notices a missing part when it reads it.

    Raises TraceError unless it is one, and nothing beside it would block SQLite.
    """
    try:
        with open_regular(path) as file:
            header = file.read(100)
            size = file.seek(0, 2)
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
    for companion in (path.with_name(path.name + end) for end in _COMPANIONS):
        if companion.is_symlink() or (companion.exists() and not stat.S_ISREG(companion.stat().st_mode)):
            raise TraceError(
                f"{companion}: SQLite would read it together with {path.name}, and it is a link or no regular file; "
                "remove it",
                TraceErrorCode.UNREADABLE,
            )
    return size


def _explain(error: sqlite3.Error) -> tuple[str, TraceErrorCode]:
    """The problem and its remedy, from SQLite's message (its error codes need Python 3.11)."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"another process is writing this file ({text}): wait until nsys has exported it", TraceErrorCode.LOCKED
    if "readonly" in text:
        reason = f"nsys was stopped while it wrote this file and left a journal next to it ({text}): export it again"
        return reason, TraceErrorCode.TRUNCATED
    if "too big" in text or "too long" in text or "too large" in text:
        reason = f"a value of this file is longer than any name ({text}): export it again"
        return reason, TraceErrorCode.TOO_LARGE
    if "malformed" in text or "disk" in text:
        reason = f"the file is damaged ({text}): export it again with `nsys export --type sqlite`"
        return reason, TraceErrorCode.CORRUPT
    return text, TraceErrorCode.UNREADABLE
