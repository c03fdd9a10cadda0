"""Writes the result files of a command, one per format.

A format is a module in this package with ``write(results, path)``, and a row of ``FORMATS``.
"""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ttprof.errors import ResultFileError, TtprofError, writing
from ttprof.result import SuiteResult
from ttprof.system import files

FORMATS = {"json": "jsonfile", "junit": "junit", "html": "html"}
"""The name of each format on the command line, and the module that writes it."""


def check(paths: Mapping[str, Path | None]) -> None:
    """Raise ResultFileError if ``write`` could not write a file. Runs before any suite and creates nothing."""
    for path in paths.values():
        if path is not None:
            try:
                _check(path)
            except OSError as error:
                raise ResultFileError(f"{path}: {error.strerror or error}") from error


def _check(path: Path) -> None:
    """Raise OSError if *path* is a folder, or if its closest existing ancestor is not a writable folder."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    existing = next(candidate for candidate in (path, *path.absolute().parents) if candidate.exists())
    if existing != path and not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{existing} is not a folder")
    if existing.is_file() and not os.access(existing.parent, os.W_OK):  # the file is replaced, not overwritten
        raise PermissionError(errno.EACCES, f"cannot replace it in {existing.parent}: permission denied")
    if not os.access(existing, os.W_OK):
        raise PermissionError(errno.EACCES, f"cannot write to {existing}: permission denied")


class Written(NamedTuple):
    """What became of the files of a command: one message per file, or one error per file that can't be written."""

    messages: list[str]
    failures: list[TtprofError]


def write(results: Sequence[SuiteResult], paths: Mapping[str, Path | None]) -> Written:
    """Write each format that has a path; a file that can't be written does not keep the others from being written.

    Without results, no file is written: the report of an earlier run is worth more than an empty one.
    """
    written = Written([], [])
    for name, path in paths.items():
        if path is not None and not results:
            written.messages.append(f"no suite ran: {path} was not written")
        elif path is not None:
            try:
                importlib.import_module(f"ttprof.report.{FORMATS[name]}").write(results, path)  # a slow import
                written.messages.append(f"wrote {path}")
            except TtprofError as error:
                written.failures.append(error)
    return written


def write_text(path: Path, text: str) -> None:
    """Write a file and create its folder. Raises ResultFileError on failure; an existing file is then as it was."""
    with writing(path):
        files.replace(path, text)
