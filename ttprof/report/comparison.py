"""A comparison of two runs for people: the JSON of ``ttprof compare`` enters, rich renderables leave."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.units import significant

Found = dict[str, Any]

COLOURS = {
    "regression": "bold red",
    "not measured": "bold magenta",
    "drift": "yellow",
    "undecided": "yellow",
    "removed": "cyan",
    "new": "cyan",
    "win": "green",
    "same": "dim",
}


def render(found: Found) -> RenderableType:
    """Every metric that changed, with the sentence that says how, those undecided last; and how many did not."""
    parts: list[RenderableType] = [Text(f"base {found['base']}\nnew  {found['new']}", style="bold")]
    parts += [
        Text(f"WARNING compared though the hardware differs: {what}", style="bold red") for what in found["forced"]
    ]
    if found["oldest"]:
        parts.append(Text(f"drift since {found['oldest']}", style="dim"))
    if found["software"]:
        parts.append(Text(f"software: {', '.join(found['software'])}", style="dim"))
    changed = (row for row in found["rows"] if row["change"] != "same")
    told = sorted(changed, key=lambda row: row["change"] == "undecided")
    if told:
        parts += [Text(), _table(told)]
    counts = Counter(row["change"] for row in found["rows"])
    said = ", ".join(f"{counts[change]} {change}" for change in COLOURS if counts[change]) or "nothing to compare"
    failing = any(row["status"] in ("FAIL", "ERROR") for row in found["rows"])
    threshold = f"{significant(100 * found['threshold'])} %"
    parts.append(Text(f"{said} (times by more than {threshold})", style="bold red" if failing else "bold green"))
    return Group(*parts)


def _table(rows: list[Found]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("case", "change", "what"):
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        point = ", ".join(f"{axis}={value}" for axis, value in row["point"].items())
        change = Text(row["change"], style=COLOURS[row["change"]])
        table.add_row(Text(f"{row['case']} {point}".rstrip()), change, Text(row["reason"]))
    return table
