"""Summarises many traces at once, given as files, folders and patterns.

Each file is read by a separate process, on all cores: decoding holds Python's GIL, so threads would not help.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ttprof.codes import TraceErrorCode
from ttprof.errors import NsightError, TraceError, printable
from ttprof.system.process import cores
from ttprof.trace.analyses import summary
from ttprof.trace.analyses.summary import Summary
from ttprof.trace.formats import detect

VERSION = 3
"""Version of the JSON of several traces. History: 1, the first; 2, 3: ``Summary`` became that version, ``not_read``."""

_PACKED = r"(\.(gz|zip|zst|xz|bz2|tar|tar\.gz|tgz))?$"
_TRACE_NAME = re.compile(r"\.trace(\.json)?" + _PACKED)
_EXPORT_NAME = re.compile(r"\.(sqlite|nsys-rep|qdrep)" + _PACKED)
_JSON_NAME = re.compile(r"\.json" + _PACKED)
_ENDING = re.compile(r"(\.\w[\w-]*)?\.\w[\w-]*$")


class Unreadable(msgspec.Struct, frozen=True):
    """A file that could not be read, and why; ``code`` is null if nsys could not export it."""

    path: str
    error: str
    code: TraceErrorCode | None


RankRow = Summary | Unreadable


class Ranks(msgspec.Struct, frozen=True):
    """The summaries of several traces, by rank and then by path, and the unreadable files.

    ``not_read`` counts, by ending, the files of folders that may be traces but are named otherwise than those read.
    """

    version: int
    traces: list[Summary]
    unreadable: list[Unreadable]
    not_read: dict[str, int] = {}


@dataclass(frozen=True)
class Found:
    """The files that are read, and those beside them that may be traces."""

    files: list[Path]
    others: list[Path]

    @property
    def not_read(self) -> dict[str, int]:
        """The number of the others by the ending of their names."""
        endings = Counter(match[0] if (match := _ENDING.search(file.name)) else file.name for file in self.others)
        return dict(sorted(endings.items()))


def is_one_file(paths: Sequence[str]) -> bool:
    """Whether *paths* is a single file, rather than a folder, a pattern or several files."""
    return (
        len(paths) == 1 and not os.path.isdir(paths[0]) and (os.path.exists(paths[0]) or not glob.has_magic(paths[0]))
    )


def trace_files(paths: Sequence[str]) -> list[Path]:
    """The distinct trace files given by *paths*, as in ``find``."""
    return find(paths).files


def find(paths: Sequence[str]) -> Found:
    """The distinct trace files given by *paths*: files, folders and glob patterns.

    In and below a folder, these are the files named ``*.trace.json[.gz]``, or else the recordings of Nsight Systems, or
    else all ``*.json[.gz]`` files, in archives too. Folders that can't be listed are included, so that reading them
    raises the error. Links that lead out of the folder are left out.

    Raises:
        TraceError: a path names no file.
    """
    files: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for path in paths:
        found = [_below(match) if os.path.isdir(match) else Found([match], []) for match in _matches(path)]
        below = [file for one in found for file in one.files]
        others |= {os.path.realpath(file): file for one in found for file in one.others}
        if not path or not below:
            raise TraceError(
                f"{path!r}: no trace found (*.trace.json[.gz], else *.sqlite or *.nsys-rep, else *.json[.gz])",
                TraceErrorCode.NOT_FOUND,
            )
        for file in below:
            files.setdefault(os.path.realpath(file), file)
    return Found(list(files.values()), [file for real, file in others.items() if real not in files])


def _matches(path: str) -> list[Path]:
    if os.path.lexists(path) or not glob.has_magic(path):
        return [Path(path)]
    return [Path(match) for match in sorted(glob.glob(path, recursive=True))]


def _below(folder: Path) -> Found:
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
    by_kind = [[f for f in files if kind.search(f.name)] for kind in (_TRACE_NAME, _EXPORT_NAME, _JSON_NAME)]
    chosen = next(filter(None, by_kind), [])
    return Found(chosen + denied, [file for of_kind in by_kind for file in of_kind if file not in set(chosen)])


def read_all(
    files: Sequence[Path],
    salvage: bool,
    processes: int | None = None,
    communication: re.Pattern[str] | None = None,
    steps_glob: str | None = None,
) -> Iterator[RankRow]:
    """Yield the summary of each file, in the order of *files*, as soon as it is ready."""
    count = min(len(files), processes or cores())
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = [pool.submit(_read, file, salvage, communication, steps_glob) for file in files]
        for file, row in zip(files, rows, strict=True):
            try:
                yield row.result()
            except BrokenProcessPool:
                text = f"{file}: the process that read it was killed (out of memory?)"
                yield Unreadable(printable(str(file)), printable(text), TraceErrorCode.UNREADABLE)


def by_rank(rows: Sequence[RankRow], not_read: dict[str, int] | None = None) -> Ranks:
    """Sort the rows by rank; traces that do not state one come last."""
    traces = [row for row in rows if isinstance(row, Summary)]
    last = max((t.source.rank or 0 for t in traces), default=0) + 1
    traces.sort(key=lambda t: (last if t.source.rank is None else t.source.rank, t.source.path))
    return Ranks(VERSION, traces, [row for row in rows if isinstance(row, Unreadable)], not_read or {})


def _read(path: Path, salvage: bool, communication: re.Pattern[str] | None, steps_glob: str | None) -> RankRow:
    try:
        return summary.summarise(detect.read(path, salvage, processes=1), communication, steps_glob)
    except (TraceError, NsightError) as error:
        code = error.code if isinstance(error, TraceError) else None
        return Unreadable(printable(str(path)), printable(str(error)), code)
