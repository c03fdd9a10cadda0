"""The files of the front end: plain ES modules, one style sheet, and plotly.js from the installed plotly.

A name enters; bytes with their content type leave. Only the files that lie in ``static/`` are known, by their names.
"""

from __future__ import annotations

import functools
import importlib.util
import posixpath
import re
from pathlib import Path

from ttprof.errors import TtprofError

STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript", ".css": "text/css"}
PLOTLY = "plotly.min.js"
PREFIX = "ttprof/"
"""What the modules of a page without a server are called by."""

_IMPORT = re.compile(r'(\bfrom |\bimport )"(\.{1,2}/[^"]+)"')


def names() -> list[str]:
    """The files of the front end, such as ``panes/suite.js``."""
    return sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.suffix in TYPES)


def text(name: str) -> str:
    """One of those files."""
    return (STATIC / name).read_text(encoding="utf-8")


def bare(name: str) -> str:
    """A module whose imports name others by ``PREFIX`` and their file, as an import map resolves them."""
    folder = posixpath.dirname(name)

    def renamed(match: re.Match[str]) -> str:
        return f'{match[1]}"{PREFIX}{posixpath.normpath(posixpath.join(folder, match[2]))}"'

    return _IMPORT.sub(renamed, text(name))


@functools.cache
def plotly() -> bytes:
    """The source of plotly.js. Raises TtprofError where plotly is not installed."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise TtprofError("plotly is not installed: pip install plotly")
    return (Path(found.origin).parent / "package_data" / PLOTLY).read_bytes()
