"""Reads a trace file of any supported format with the reader of that format."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from ttprof.codes import TraceErrorCode
from ttprof.errors import TraceError
from ttprof.nsight import nsys
from ttprof.trace.events import Trace
from ttprof.trace.formats import kineto, nsys_sqlite, packed
from ttprof.trace.formats.sqlite_file import is_sqlite

REPORTS = (".nsys-rep", ".qdrep")
EXPORT = ".sqlite"


def read(path: str | Path, salvage: bool = False, processes: int | None = None) -> Trace:
    """Read a Kineto trace, an SQLite export of Nsight Systems or, if nsys is installed, its report.

    Args:
        path: the file, which may be in a .zip, .tar, .gz, .xz, .bz2 or .zst, told by its content; ``-`` is standard
            input.
        salvage: as in ``kineto.read``; ignored for the formats of Nsight Systems.
        processes: as in ``kineto.read``.

    Raises:
        TraceError: the file can't be read.
        NsightError: nsys is missing, or can't export the report.
    """
    path = Path(path)
    with packed.unpacked(path) as file:
        trace = _read(file, salvage, processes)
    return trace if file == path else replace(trace, path=str(path))


def _read(path: Path, salvage: bool, processes: int | None) -> Trace:
    if path.suffix in REPORTS and path.is_file():
        return _exported(path)
    if path.suffix == EXPORT or is_sqlite(path):
        return nsys_sqlite.read(path)
    return kineto.read(path, salvage, processes)


def _exported(report: Path) -> Trace:
    """Read a report by exporting it to a temporary folder."""
    if not report.stat().st_size:
        raise TraceError(
            f"{report}: the file is empty; nsys was stopped before it wrote the report", TraceErrorCode.EMPTY
        )
    with tempfile.TemporaryDirectory(prefix="ttprof-nsys-") as folder:
        target = Path(folder, "export.sqlite")
        nsys.find().export(report, target)
        return replace(nsys_sqlite.read(target), path=str(report))
