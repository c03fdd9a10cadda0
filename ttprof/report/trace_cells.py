"""Building blocks of the tables that ``ttprof analyze`` and ``ttprof ncu-explain`` print."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ttprof.units import format_bytes

MAX_NAME = 90
MAX_NAME_IN_LINE = 40
"""Characters of a kernel's name in a table, and in a line of text."""

UNKNOWN = "–"

_BOILERPLATE = re.compile(r"^void |at::native::|\(anonymous namespace\)::|std::")
_DEVICE_TYPES = {0: "CPU", 1: "CUDA", 6: "HIP"}
"""Names of ``c10::DeviceType``."""


def table(*headings: str) -> Table:
    """A table whose first column is text and whose other columns are numbers."""
    columns = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for i, heading in enumerate(headings):
        columns.add_column(
            Text(heading),
            justify="right" if i else "left",
            overflow="fold",
            no_wrap=bool(i),
            min_width=None if i else 24,
        )
    return columns


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


def shorten(name: str, width: int = MAX_NAME) -> str:
    """A kernel's name without the namespaces that most kernels share, and with its middle elided beyond *width*."""
    plain = _BOILERPLATE.sub("", name)
    if len(plain) <= width:
        return plain
    tail = width // 3
    return f"{plain[: width - tail - 1]}…{plain[-tail:]}"


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
    name = _DEVICE_TYPES.get(device_type, f"device type {device_type}")
    return name if index < 0 else f"{name} {index}"
