"""Summarises many traces at once, given as files, folders and patterns.

Each file is read by a separate process, on all cores: decoding holds Python's GIL, so threads would not help.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.errors import NsightError, TraceError, printable
from ttprof.system.process import cores
from ttprof.trace.analyses import summary
from ttprof.trace.analyses.summary import Summary
from ttprof.trace.formats import detect

VERSION = 2
"""Version of the JSON of several traces. History: 1, the first; 2, ``Summary`` became version 2."""

_TRACE_NAME = re.compile(r"\.trace\.json(\.gz)?$")
_EXPORT_NAME = re.compile(r"\.(sqlite|nsys-rep)$")
_JSON_NAME = re.compile(r"\.json(\.gz)?$")


class Unreadable(msgspec.Struct, frozen=True):
    """A file that could not be read, and why; ``code`` is null if nsys could not export it."""

    path: str
    error: str
    code: TraceErrorCode | None


RankRow = Summary | Unreadable


class Ranks(msgspec.Struct, frozen=True):
    """The summaries of several traces, by rank and then by path, and the unreadable files."""

    version: int
    traces: list[Summary]
    unreadable: list[Unreadable]


def is_one_file(paths: Sequence[str]) -> bool:
    """Whether *paths* is a single file, rather than a folder, a pattern or several files."""
    return (
        len(paths) == 1 and not os.path.isdir(paths[0]) and (os.path.exists(paths[0]) or not glob.has_magic(paths[0]))
    )


def trace_files(paths: Sequence[str]) -> list[Path]:
    """The distinct trace files given by *paths*: files, folders and glob patterns.

    In and below a folder, these are the files named ``*.trace.json[.gz]``, or else the recordings of Nsight Systems, or
    else all ``*.json[.gz]`` files. Folders that can't be listed are included, so that reading them raises the error.
    Links that lead out of the folder are left out.

    Raises:
        TraceError: a path names no file.
    """
    files: dict[str, Path] = {}
    for path in paths:
        below = [file for match in _matches(path) for file in (_below(match) if os.path.isdir(match) else [match])]
        if not path or not below:
            raise TraceError(
                f"{path!r}: no trace found (*.trace.json[.gz], else *.sqlite or *.nsys-rep, else *.json[.gz])",
                TraceErrorCode.NOT_FOUND,
            )
        for file in below:
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())


def _matches(path: str) -> list[Path]:
    if os.path.lexists(path) or not glob.has_magic(path):
        return [Path(path)]
    return [Path(match) for match in sorted(glob.glob(path, recursive=True))]


def _below(folder: Path) -> list[Path]:
    """The traces below a folder, and the folders that can't be listed; links are followed that stay inside of it."""
    files: list[Path] = []
    denied: list[Path] = []
    root, visited = os.path.realpath(folder), set()

    def is_inside(path: str) -> bool:
        return os.path.commonpath([root, os.path.realpath(path)]) == root

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=lambda e: denied.append(Path(e.filename))):
        visited.add(os.path.realpath(parent))
        inside = [name for name in folders if is_inside(os.path.join(parent, name))]
        folders[:] = sorted(name for name in inside if os.path.realpath(os.path.join(parent, name)) not in visited)
        files += [Path(parent, name) for name in sorted(names) if is_inside(os.path.join(parent, name))]
    by_kind = ([f for f in files if kind.search(f.name)] for kind in (_TRACE_NAME, _EXPORT_NAME, _JSON_NAME))
    return next(filter(None, by_kind), []) + denied


def read_all(files: Sequence[Path], salvage: bool, processes: int | None = None) -> Iterator[RankRow]:
    """Yield the summary of each file, in the order of *files*, as soon as it is ready."""
    count = min(len(files), processes or cores())
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = [pool.submit(_read, file, salvage) for file in files]
        for file, row in zip(files, rows, strict=True):
            try:
                yield row.result()
            except BrokenProcessPool:
                text = f"{file}: the process that read it was killed (out of memory?)"
                yield Unreadable(printable(str(file)), printable(text), TraceErrorCode.UNREADABLE)


def by_rank(rows: Sequence[RankRow]) -> Ranks:
    """Sort the rows by rank; traces that do not state one come last."""
    traces = [row for row in rows if isinstance(row, Summary)]
    last = max((t.source.rank or 0 for t in traces), default=0) + 1
    traces.sort(key=lambda t: (last if t.source.rank is None else t.source.rank, t.source.path))
    return Ranks(VERSION, traces, [row for row in rows if isinstance(row, Unreadable)])


def _read(path: Path, salvage: bool) -> RankRow:
    try:
        return summary.summarise(detect.read(path, salvage, processes=1))
    except (TraceError, NsightError) as error:
        code = error.code if isinstance(error, TraceError) else None
        return Unreadable(printable(str(path)), printable(str(error)), code)
