"""Files that a command leaves when everything has run: results and paths enter, one file for each format leaves.

A format is a module of this folder with ``write(results, path)``, and a row of ``FORMATS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ttprof.errors import ResultFileError
from ttprof.result import SuiteResult

FORMATS = {"json": "jsonfile", "junit": "junit", "html": "html"}
"""What a format is called on a command line, and the module that writes it."""


def write(results: Sequence[SuiteResult], paths: Mapping[str, Path | None]) -> list[str]:
    """Write each format that has a path; returns a sentence for each file.

    Raises ResultFileError when a file can't be written.
    """
    written = []
    for name, path in paths.items():
        if path is not None:
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
