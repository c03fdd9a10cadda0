"""The runs under a log directory, found anew each time, and the trace files that belong to them.

A folder enters; runs with opaque ids leave. Nothing outside that folder is ever read, whatever a link or a result
says, and a result that can't be read is a run with an error.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ttprof.codes import TraceErrorCode
from ttprof.errors import ResultFileError, TraceError, printable
from ttprof.result import RESULT_FILE, SuiteResult, TrialResult, load, moved

ID_LENGTH = 16

UNRESOLVED = (OSError, ValueError, RuntimeError)
"""What a path raises that is too long, holds a null byte, or goes round in links."""


@dataclass(frozen=True)
class Run:
    """A folder with a result; either ``result`` or ``error`` is there. Its traces are read from below ``root`` only.

    ``id`` addresses the run: it says nothing of a path, and stays the same as long as ``name`` does, its folder for
    people.
    """

    root: Path
    folder: Path
    name: str
    result: SuiteResult | None = None
    error: str | None = None

    @classmethod
    def of(cls, result: SuiteResult, name: str) -> Run:
        """A result whose traces lie in the folder that it states, from wherever that is looked at."""
        folder = Path(result.run_dir).resolve()
        return cls(folder, folder, name, result=moved(result, folder))

    @property
    def id(self) -> str:
        """The hash of the name."""
        return hashlib.sha256(os.fsencode(self.name)).hexdigest()[:ID_LENGTH]

    @property
    def read(self) -> SuiteResult:
        """The result. Raises ResultFileError where it could not be read."""
        if self.result is None:
            raise ResultFileError(f"{self.name}: {self.error}")
        return self.result

    def relative(self, text: str) -> str:
        """A sentence for the browser: paths in it begin at the log directory, wherever that lies on the server."""
        return printable(text).replace(printable(f"{self.root}{os.sep}"), "")

    def trace_file(self, trial: TrialResult) -> Path:
        """The trace of a trial.

        Raises TraceError where the trial has no trace, where that lies outside the log directory, and where it is gone.
        """
        if trial.trace_path is None:
            raise TraceError("no trace of this case was recorded", TraceErrorCode.NOT_RECORDED)
        try:
            found = (self.folder / trial.trace_path).resolve()
            there = found.is_file()
        except UNRESOLVED as error:
            raise TraceError(
                self.relative(f"the path of the trace of this case leads nowhere: {error}"), TraceErrorCode.UNREADABLE
            ) from error
        if not found.is_relative_to(self.root):
            raise TraceError(
                "the trace of this case lies outside the log directory, and is not read",
                TraceErrorCode.OUTSIDE_LOG_DIRECTORY,
            )
        if not there:
            raise TraceError(
                f"the trace of this case is gone: {printable(found.relative_to(self.root).as_posix())}",
                TraceErrorCode.NOT_FOUND,
            )
        return found


class LogDirectory:
    """The runs below a folder. Results are kept in memory until their file changes."""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).resolve()
        self._known: dict[Path, tuple[tuple[int, int], Run]] = {}

    def runs(self) -> list[Run]:
        """All runs, the latest first, and those that can't be read before them."""
        found = {file: self._run(file) for file in self._files()}
        self._known = {file: known for file, known in self._known.items() if file in found}
        runs = sorted(found.values(), key=lambda run: run.name)
        return sorted(runs, key=lambda run: run.result.started if run.result else "~", reverse=True)

    def _files(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self._root):
            if RESULT_FILE in (*files, *folders):
                yield Path(folder) / RESULT_FILE

    def _run(self, file: Path) -> Run:
        try:
            if not file.resolve().is_relative_to(self._root):
                return self._broken(file, "result.json is a link that leaves the log directory")
            state = file.stat()
            if not stat.S_ISREG(state.st_mode):
                return self._broken(file, "result.json is no regular file")
        except UNRESOLVED as error:
            return self._broken(file, str(error))
        stamp = (state.st_mtime_ns, state.st_size)
        known = self._known.get(file)
        if known is None or known[0] != stamp:
            known = self._known[file] = (stamp, self._loaded(file))
        return known[1]

    def _loaded(self, file: Path) -> Run:
        try:
            result = moved(load(file), file.parent)
        except ResultFileError as error:
            return self._broken(file, printable(str(error)).removeprefix(printable(f"{file}: ")))
        return Run(self._root, file.parent, self._name(file), result=result)

    def _broken(self, file: Path, why: str) -> Run:
        broken = Run(self._root, file.parent, self._name(file))
        return replace(broken, error=broken.relative(why))

    def _name(self, file: Path) -> str:
        return printable(file.parent.relative_to(self._root).as_posix())
