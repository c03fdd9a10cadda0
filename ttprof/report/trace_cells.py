"""What the tables of the trace reports share: columns, shortened names, shares."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

LONGEST_NAME = 90


def table(*headings: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for i, heading in enumerate(headings):
        made.add_column(heading, justify="right" if i else "left", overflow="fold", no_wrap=bool(i))
    return made


def add(made: Table, name: str, cells: Sequence[str], indent: int = 0) -> None:
    """A row whose name is shortened when it is very long; kernel names are, by their template arguments."""
    shown = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    made.add_row(Text("  " * indent + shown), *cells)


def share(part: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where it is not known."""
    return "–" if part is None else f"{100 * part:.{digits}f} %"


def device_name(kind: int, index: int) -> str:
    """The name of a memory device: device types are those of torch."""
    name = {0: "CPU", 1: "CUDA", 6: "HIP"}.get(kind, f"device type {kind}")
    return name if index < 0 else f"{name} {index}"
