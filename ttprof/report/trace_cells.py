"""Building blocks of the tables that ``ttprof analyze`` and ``ttprof ncu-explain`` print."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ttprof.system.device_types import MEMORY_TYPE_NAMES
from ttprof.units import format_bytes

MAX_NAME = 90
"""Maximum number of characters of a kernel's name in a table."""

TAIL = 30
"""Characters kept from the end of a shortened name."""

MIN_FIRST_COLUMN = 24
COLUMN_GAP = 2

UNKNOWN = "–"

_BOILERPLATE = re.compile(r"^void |at::native::|\(anonymous namespace\)::|std::")


class NumberTable(Table):
    """A table whose first column is text, which folds, and whose other columns are numbers.

    It may be wider than the terminal, because rich would otherwise cut off numbers.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        numbers = sum(
            COLUMN_GAP + max(Measurement.get(console, options, cell).maximum for cell in (column.header, *column.cells))
            for column in self.columns[1:]
        )
        width = max(options.max_width, MIN_FIRST_COLUMN + numbers)
        return super().__rich_console__(console, options.update_width(width))


def table(*headings: str) -> Table:
    """An empty table of one text column and otherwise number columns."""
    rows = NumberTable(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        rows.add_column(Text(heading), justify="right" if i else "left", overflow="fold", no_wrap=bool(i))
    rows.columns[0].min_width = MIN_FIRST_COLUMN
    return rows


def add(rows: Table, name: str, cells: Sequence[str | Text], indent: int = 0) -> None:
    """Add a row; a long name is shortened."""
    rows.add_row(
        Text("  " * indent + shorten(name)), *(Text(cell) if isinstance(cell, str) else cell for cell in cells)
    )


def add_rest(rows: Table, count: int, noun: str, cells: Sequence[str] = (), detail: str = "") -> None:
    """Add a last row that counts the rows not shown; none if *count* is not positive."""
    if count > 0:
        rows.add_row(Text(counted(count, f"more {noun}") + detail, style="dim"), *cells)


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 kernel``, ``2 kernels``."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def indented(text: Text) -> RenderableType:
    """A line below a table or a heading, whose continuation lines are indented too."""
    return Padding(text, (0, 0, 0, 2), expand=False)


def shorten(name: str, width: int = MAX_NAME, tail: int = TAIL) -> str:
    """A kernel's name without the namespaces that most kernels share, and without its middle beyond *width*."""
    plain = _BOILERPLATE.sub("", name)
    if len(plain) <= width:
        return plain
    return f"{plain[: width - tail - 1]}…{plain[len(plain) - tail :]}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash if it is unknown."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def percent_of(part: float, whole: float) -> str:
    """*part* as a percentage of *whole*; a dash if *whole* is 0."""
    return percent(part / whole if whole else None)


def size(count: int | None, unknown: str = UNKNOWN) -> str:
    """A number of bytes as text; *unknown* if the trace does not state it."""
    return unknown if count is None else format_bytes(count)


def memory_device(device_type: int, index: int) -> str:
    """The name of a memory device as torch numbers them, such as ``CUDA 0``."""
    name = MEMORY_TYPE_NAMES.get(device_type, f"device type {device_type}")
    return name if index < 0 else f"{name} {index}"
