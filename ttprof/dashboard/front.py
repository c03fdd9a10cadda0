"""The files of the front end: plain ES modules, one style sheet, and plotly.js from the installed plotly package.

Files are looked up by name under ``static/`` only.
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
"""Prefix of the module names in the import map of a page that has no server."""

_IMPORT = re.compile(r'(\bfrom |\bimport )"(\.{1,2}/[^"]+)"')


def names() -> list[str]:
    """List the files of the front end, e.g. ``panes/suite.js``."""
    return sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.suffix in TYPES)


def text(name: str) -> str:
    """Read one of the files that ``names`` lists."""
    return (STATIC / name).read_text(encoding="utf-8")


def bare(name: str) -> str:
    """Read a module with its relative imports replaced by names that an import map can resolve."""
    folder = posixpath.dirname(name)

    def renamed(match: re.Match[str]) -> str:
        return f'{match[1]}"{PREFIX}{posixpath.normpath(posixpath.join(folder, match[2]))}"'

    return _IMPORT.sub(renamed, text(name))


@functools.cache
def plotly() -> bytes:
    """Read the source of plotly.js. Raises TtprofError if plotly is not installed."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise TtprofError("plotly is not installed: pip install plotly")
    return (Path(spec.origin).parent / "package_data" / PLOTLY).read_bytes()
