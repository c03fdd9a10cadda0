"""Where a result finds what shows it in a notebook, without importing it: what draws enters itself here."""

from __future__ import annotations

from typing import Any, Protocol

from ttprof.errors import TtprofError


class Notebook(Protocol):
    """What shows a result in a notebook; the implementation is ``ttprof.notebook``."""

    def table(self, result: Any) -> str:
        """The table of cases as HTML."""

    def plot_scaling(self, case: Any) -> Any:
        """A scaling as a plotly figure."""

    def plot_timeline(self, result: Any, case: Any) -> Any:
        """A timeline as a plotly figure."""

    def to_dataframe(self, result: Any) -> Any:
        """All measurements as a pandas data frame."""


NOTEBOOKS: list[Notebook] = []
"""Filled when ``ttprof.notebook`` is imported, as every name of ``ttprof`` that leads to a result does."""


def notebook() -> Notebook:
    """What draws. Raises TtprofError where nothing has entered itself."""
    if not NOTEBOOKS:
        raise TtprofError("nothing here can draw a result: import ttprof.notebook")
    return NOTEBOOKS[-1]
