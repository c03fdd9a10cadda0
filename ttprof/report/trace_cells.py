"""What the tables of the trace reports share: columns, shortened names, numbers of one width."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

LONGEST_NAME = 90
_TAIL = 30
_BOILERPLATE = re.compile(r"^void |at::native::|\(anonymous namespace\)::|std::")


def table(*headings: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for i, heading in enumerate(headings):
        made.add_column(
            Text(heading),
            justify="right" if i else "left",
            overflow="fold",
            no_wrap=bool(i),
            min_width=None if i else 24,
        )
    return made


def add(made: Table, name: str, cells: Sequence[str], indent: int = 0) -> None:
    """A row whose name is shortened when it is long."""
    made.add_row(Text("  " * indent + shortened(name)), *cells)


def shortened(name: str) -> str:
    """A kernel's name without what all of them share, and without its middle when it is still long."""
    plain = _BOILERPLATE.sub("", name)
    if len(plain) <= LONGEST_NAME:
        return plain
    return f"{plain[: LONGEST_NAME - _TAIL - 1]}…{plain[-_TAIL:]}"


def more(made: Table, count: int, what: str, cells: Sequence[str] = ()) -> None:
    """A last row for what is not shown."""
    if count > 0:
        made.add_row(Text(f"{count} more {what}", style="dim"), *cells)


def share(part: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where it is not known."""
    return "–" if part is None else f"{100 * part:.{digits}f} %"


def of(part: float, whole: float) -> str:
    """A part as a share of a whole; a dash where there is no whole."""
    return share(part / whole if whole else None)


def device_name(kind: int, index: int) -> str:
    """The name of a memory device: device types are those of torch."""
    name = {0: "CPU", 1: "CUDA", 6: "HIP"}.get(kind, f"device type {kind}")
    return name if index < 0 else f"{name} {index}"
