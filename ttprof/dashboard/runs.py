"""Finds the runs under a log directory, on every request, and their trace files.

Nothing outside the log directory is ever read, no matter where a link or a path in a result points. A result that
can't be read becomes a run with an error.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ttprof.codes import TraceErrorCode
from ttprof.errors import ResultFileError, TraceError, printable
from ttprof.result import RESULT_FILE, SuiteResult, TrialResult
from ttprof.result_file import load, moved
from ttprof.system.instants import instant

ID_LENGTH = 16

READS = 3
"""How often a result is read that changes meanwhile, before it is taken as it is."""

Version = tuple[int, int, int, int]
"""The state of a file: its inode, the times of its last changes in ns, and its size."""

UNUSABLE_PATH = (OSError, ValueError, RuntimeError)
"""The exceptions for a path that is too long, contains a null byte, or is a loop of links."""


@dataclass(frozen=True)
class Run:
    """A folder with a result: exactly one of ``result`` and ``error`` is set.

    ``root`` is the folder that must contain the traces, ``name`` the folder as it is displayed. ``id`` addresses the
    run without revealing a path, and stays the same as long as ``name`` does.
    """

    root: Path
    folder: Path
    name: str
    result: SuiteResult | None = None
    error: str | None = None

    @classmethod
    def of(cls, result: SuiteResult, name: str) -> Run:
        """Make a run of a result in memory; its traces are read from ``result.run_dir`` only."""
        folder = Path(result.run_dir).resolve()
        return cls(folder, folder, name, result=moved(result, folder))

    @property
    def id(self) -> str:
        """The first hex digits of the SHA-256 hash of the name."""
        return hashlib.sha256(os.fsencode(self.name)).hexdigest()[:ID_LENGTH]

    @property
    def read(self) -> SuiteResult:
        """The result. Raises ResultFileError if it could not be read."""
        if self.result is None:
            raise ResultFileError(f"{self.name}: {self.error}")
        return self.result

    def display_path(self, path: Path) -> str:
        """The path of a file relative to the log directory, because a browser need not know the server's folders."""
        return printable(path.relative_to(self.root).as_posix())

    def trace_file(self, trial: TrialResult) -> Path:
        """Return the path of the trace of a trial.

        Raises:
            TraceError: no trace was recorded, it is missing, or its path leaves the log directory.
        """
        if trial.trace_path is None:
            raise TraceError("no trace of this case was recorded", TraceErrorCode.NOT_RECORDED)
        try:
            path = (self.folder / trial.trace_path).resolve()
            exists = path.is_file()
        except UNUSABLE_PATH as error:
            text = f"the trace path of this case is not usable: {_why_unusable(error)}"
            raise TraceError(text, TraceErrorCode.UNREADABLE) from error
        if not path.is_relative_to(self.root):
            raise TraceError(
                "the trace of this case is outside the log directory, so it was not read",
                TraceErrorCode.OUTSIDE_LOG_DIRECTORY,
            )
        if not exists:
            raise TraceError(
                f"the trace of this case no longer exists: {self.display_path(path)}", TraceErrorCode.NOT_FOUND
            )
        return path


class LogDirectory:
    """The runs under a folder. A result is cached until its file changes. Safe to use from several threads."""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).resolve()
        self._lock = threading.Lock()
        self._cache: dict[Path, tuple[Version, Run]] = {}

    def runs(self) -> list[Run]:
        """List the runs: first those that cannot be read, then the newest first."""
        with self._lock:
            by_file = {file: self._run(file) for file in self._files()}
            self._cache = {file: cached for file, cached in self._cache.items() if file in by_file}
        runs = sorted(by_file.values(), key=lambda run: run.name)
        return sorted(runs, key=lambda run: instant(run.result.started) if run.result else math.inf, reverse=True)

    def _files(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self._root):
            if RESULT_FILE in (*files, *folders):
                yield Path(folder) / RESULT_FILE

    def _run(self, file: Path) -> Run:
        """The run of a result, which is read again while another process rewrites it."""
        for _ in range(READS):
            version = _version(file)
            cached = self._cache.get(file)
            if version is not None and cached is not None and cached[0] == version:
                return cached[1]
            run = self._checked(file)
            if version == _version(file):
                break
        if version is not None:
            self._cache[file] = version, run
        return run

    def _checked(self, file: Path) -> Run:
        """The run of a result that is a file below the log directory; a run with an error for anything else."""
        try:
            if not file.resolve().is_relative_to(self._root):
                return self._broken(file, "result.json is a link that leaves the log directory")
            if not stat.S_ISREG(file.stat().st_mode):
                return self._broken(file, "result.json is not a regular file")
        except UNUSABLE_PATH as error:
            return self._broken(file, _why_unusable(error))
        try:
            result = moved(load(file), file.parent)
        except ResultFileError as error:
            return self._broken(file, error.reason)
        return Run(self._root, file.parent, self._name(file), result=result)

    def _broken(self, file: Path, reason: str) -> Run:
        return Run(self._root, file.parent, self._name(file), error=printable(reason))

    def _name(self, file: Path) -> str:
        return printable(file.parent.relative_to(self._root).as_posix())


def _version(file: Path) -> Version | None:
    """The state of a file, which differs after every change of it; None if it can't be looked up."""
    try:
        state = file.stat()
    except UNUSABLE_PATH:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size


def _why_unusable(error: Exception) -> str:
    """Why a path can't be used, without the path itself."""
    if isinstance(error, RuntimeError):
        return "it is a loop of links"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
