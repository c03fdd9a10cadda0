"""The reports of traces as Markdown, for pull requests: the same lines and the same tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ttprof.report.markdown import plain


def markdown(report: RenderableType) -> str:
    """A report, as ``render`` of the trace reports draws it, as Markdown; its first line becomes a heading."""
    lines = list(_lines(report))
    first = next((i for i, line in enumerate(lines) if line), None)
    if first is not None and not lines[first].startswith("|"):
        lines[first] = f"### {lines[first]}"
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _lines(part: RenderableType) -> Iterator[str]:
    if isinstance(part, Group):
        for inside in part.renderables:
            yield from _lines(inside)
    elif isinstance(part, Padding):
        yield from _lines(part.renderable)
    elif isinstance(part, Table):
        yield from _table(part)
    else:
        text = part.plain if isinstance(part, Text) else str(part)
        for line in text.splitlines() or [""]:
            yield from ((plain(line), "") if line.strip() else ("",))


def _table(table: Table) -> Iterator[str]:
    columns = table.columns
    yield ""
    yield _row([_cell(column.header) for column in columns])
    yield _row(["---" if column.justify == "left" else "---:" for column in columns])
    for cells in zip(*(list(column.cells) for column in columns), strict=True):
        yield _row([_cell(cell) for cell in cells])
    yield ""


def _cell(cell: RenderableType) -> str:
    text = cell.plain if isinstance(cell, Text) else str(cell)
    name = text.lstrip(" ")
    return "&emsp;" * ((len(text) - len(name)) // 2) + plain(name)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
