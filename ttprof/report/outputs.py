"""Files that a command leaves when everything has run: results and paths enter, one file for each format leaves.

A format is a module of this folder with ``write(results, path)``, and a row of ``FORMATS``.
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
"""What a format is called on a command line, and the module that writes it."""


def check(paths: Mapping[str, Path | None]) -> None:
    """Raise ResultFileError for a file that ``write`` could not write, before anything runs; nothing is made."""
    for path in paths.values():
        if path is not None:
            try:
                _check(path)
            except OSError as error:
                raise ResultFileError(f"{path}: {error.strerror or error}") from error


def _check(path: Path) -> None:
    """Raise OSError where a file could not be written: it is a folder, or what is there of its folder can't be used."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there != path and not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{there} is no folder")
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, f"nothing can be written to {there}: permission denied")


def write(results: Sequence[SuiteResult], paths: Mapping[str, Path | None]) -> list[str]:
    """Write each format that has a path; returns a sentence for each file.

    Without a result no file is written: what an earlier run left there says more than an empty report. Raises
    ResultFileError when a file can't be written.
    """
    written = []
    for name, path in paths.items():
        if path is not None and not results:
            written.append(f"no suite ran: {path} was not written")
        elif path is not None:
            importlib.import_module(f"ttprof.report.{FORMATS[name]}").write(results, path)  # when asked for: it is slow
            written.append(f"wrote {path}")
    return written


def write_text(path: Path, text: str) -> None:
    """Write a file, making its folder. Raises ResultFileError when that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ResultFileError(f"{path}: {error.strerror or error}") from error
