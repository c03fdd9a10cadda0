"""Shortens the home folders in paths to ``~``: reports are shared, and a home folder is named after its user."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from ttprof.system.escape import mapped

S = TypeVar("S", bound=msgspec.Struct)

_HOME = re.compile(
    r"(?<![\w.~/-])(?:/[\w.-]+)*/(?:home|Users)/[^/\\\s:;,'\"()<>]+"
    r"|(?<![\w.~/-])/root(?=[/\s:;,'\"()<>]|$)"
    r"|(?<!\w)[A-Za-z]:[\\/]+Users[\\/]+[^/\\:;,'\"()<>]+(?=[/\\])"
)
"""Home folders of Linux, also on another volume (``/mnt/home/alice``), of macOS and of Windows."""


def without_homes(text: str) -> str:
    """A text in which ``~`` stands for the home folder of any user."""
    return _HOME.sub("~", text)


def struct_without_homes(struct: S) -> S:
    """A copy of *struct* with ``without_homes`` applied to every string, however deeply nested."""
    return mapped(struct, without_homes)
