"""Writes the scrubbed copy of a trace, completely or not at all, and never over a file that exists."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError, printable
from ttprof.trace.formats.sqlite_file import is_sqlite
from ttprof.trace.scrub import kineto, nsys
from ttprof.trace.scrub.names import Names
from ttprof.trace.scrub.tally import Scrubbed, Tally

REPORT = ".nsys-rep"
EXPORT = ".sqlite"
KINETO = (".json", ".json.gz")


def scrub(source: Path, target: Path, hide: Sequence[str] = (), salvage: bool = False) -> Scrubbed:
    """Write a copy of a trace without what identifies people and machines; it is analysed to the same numbers.

    Args:
        source: a Kineto trace, or an SQLite export of Nsight Systems.
        target: the copy, which must not exist; its ending is that of the format: .json, .json.gz or .sqlite.
        hide: texts to replace in all names that are kept.
        salvage: copy the complete events of a truncated or damaged Kineto trace.

    Returns:
        What was removed and what was kept.

    Raises:
        TraceError: the trace can't be read, or the copy exists or can't be written.
    """
    is_export = source.suffix == EXPORT or is_sqlite(source)
    _check(source, target, (EXPORT,) if is_export else KINETO)
    names = Names()
    names.hide(hide, always=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".ttprof-scrub-", dir=target.parent) as folder:
            part = Path(folder, "copy")
            tally = nsys.copy(source, part, names) if is_export else _kineto(source, part, target, salvage, names)
            _place(part, target)
    except (OSError, sqlite3.Error) as error:
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise TraceError(f"the copy can't be written: {text}", TraceErrorCode.UNWRITABLE, target) from error
    shown = [printable(str(path)) for path in (source, target)]
    return tally.outcome(shown[0], shown[1], "nsys" if is_export else "kineto", names)


def _check(source: Path, target: Path, endings: Sequence[str]) -> None:
    """Raise TraceError unless the source may be a trace, and the target is new and of the same format."""
    if source.suffix == REPORT:
        text = "a report of nsys can't be scrubbed, only its export: nsys export --type sqlite, then scrub that"
        raise TraceError(text, TraceErrorCode.UNSUPPORTED, source)
    if not target.name.endswith(tuple(endings)):
        expected = " or ".join(endings)
        text = f"the copy of {source.name} has the same format, so its name must end in {expected}"
        raise TraceError(text, TraceErrorCode.UNWRITABLE, target)
    if os.path.lexists(target):
        text = "the file exists already; scrub never overwrites one, so name another, or remove it"
        raise TraceError(text, TraceErrorCode.UNWRITABLE, target)


def _kineto(source: Path, part: Path, target: Path, salvage: bool, names: Names) -> Tally:
    with part.open("xb") as file:
        return kineto.copy(source, file, target.name.endswith(".gz"), salvage, names)


def _place(part: Path, target: Path) -> None:
    """Give the copy its name; a file that took it in the meantime stays, where the file system has hard links."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links
        part.replace(target)
