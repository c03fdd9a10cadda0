"""Imports the optional packages for figures and data frames, and escapes text for plotly."""

from __future__ import annotations

import html
import importlib
from typing import Any

from ttprof.errors import TtprofError


def import_optional(package: str, module: str = "") -> Any:
    """Import *package*, or its *module* such as ``.graph_objects``. Raises TtprofError if it is not installed."""
    try:
        return importlib.import_module(package + module)
    except ModuleNotFoundError as error:
        raise TtprofError(f"{package} is not installed: pip install {package}") from error


def literal(text: str) -> str:
    """Text with its HTML escaped: plotly renders a few tags."""
    return html.escape(text, quote=False)
