"""Writes the result files of a command, one per format.

A format is a module in this package with ``write(results, path)``, and a row of ``FORMATS``.
"""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ttprof.errors import ResultFileError
from ttprof.result import SuiteResult

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
    if not os.access(existing, os.W_OK):
        raise PermissionError(errno.EACCES, f"cannot write to {existing}: permission denied")


def write(results: Sequence[SuiteResult], paths: Mapping[str, Path | None]) -> list[str]:
    """Write each format that has a path, and return one message per file.

    Without results, no file is written: the report of an earlier run is worth more than an empty one.

    Raises:
        ResultFileError: A file can't be written.
    """
    messages = []
    for name, path in paths.items():
        if path is not None and not results:
            messages.append(f"no suite ran: {path} was not written")
        elif path is not None:
            importlib.import_module(f"ttprof.report.{FORMATS[name]}").write(results, path)  # lazily: the import is slow
            messages.append(f"wrote {path}")
    return messages


def write_text(path: Path, text: str) -> None:
    """Write a file and create its folder. Raises ResultFileError on failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ResultFileError(f"{path}: {error.strerror or error}") from error
