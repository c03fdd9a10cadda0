"""Finds the line of the user's or a library's Python from which an operator is called."""

from __future__ import annotations

import linecache
import os
import sys
import zlib
from pathlib import Path
from types import FrameType

import ttprof
from ttprof.errors import is_users

OURS = str(Path(ttprof.__file__).parent) + os.sep


def calling_line() -> tuple[str, int] | None:
    """The innermost file and line outside torch that leads to the caller, which is in the file of a dispatch mode.

    None for what no such line calls, such as the operators of a backward.
    """
    frame: FrameType | None = sys._getframe(1)
    mode = frame.f_code.co_filename if frame is not None else ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS) and file != mode:
            return None
        if is_users(file):
            return file, frame.f_lineno
        frame = frame.f_back
    return None


def place(file: str, line: int) -> str:
    """A line as people look it up: relative to the working folder, or with the last folders of its path."""
    path = Path(file)
    try:
        shown = path.resolve().relative_to(Path.cwd())
    except (OSError, ValueError):
        shown = Path(*path.parts[-3:]) if path.is_absolute() else path
    return f"{shown.as_posix()}:{line}"


def digest(file: str, line: int) -> str:
    """A number for the text of a line, the same wherever it stands."""
    return f"{zlib.crc32(linecache.getline(file, line).strip().encode(errors='replace')):08x}"
