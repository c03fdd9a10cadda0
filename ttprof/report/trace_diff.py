"""The differences of two traces for people: the JSON of ``ttprof analyze --diff`` enters, rich renderables leave."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.report.trace_cells import add, table
from ttprof.units import format_ns, significant

Found = dict[str, Any]

COLOURS = {"added": "yellow", "removed": "cyan", "slower": "red", "faster": "green", "same": "dim"}


def render(found: Found, top: int) -> RenderableType:
    """What changed, the largest difference first."""
    per = "per step" if found["per"] == "step" else "in the whole trace"
    parts: list[RenderableType] = [
        Text(f"A {found['paths'][0]}\nB {found['paths'][1]}", style="bold"),
        Text(f"all numbers {per} (steps: {found['steps'][0]} in A, {found['steps'][1]} in B)", style="dim"),
        _totals(found),
    ]
    for what, title in (("kernels", "kernel"), ("ops", "operator (self time)")):
        if found[what]:
            parts += [_counts(what, found[what]), _changes(title, found[what], top)]
    return Group(*parts)


def _totals(found: Found) -> Table:
    made = table("", "A", "B", "B/A")
    for label, key in (("kernel launches", "launches"), ("kernels", "kernel_count")):
        add(made, label, [*map(significant, found[key]), _ratio(*found[key])])
    times = found["kernel_time_ns"]
    add(made, "kernel time", [*map(format_ns, times), _ratio(*times)])
    return made


def _counts(what: str, rows: list[Found]) -> Text:
    counts = Counter(row["change"] for row in rows)
    return Text(f"{what}: " + ", ".join(f"{counts[change]} {change}" for change in COLOURS if counts[change]))


def _changes(title: str, rows: list[Found], top: int) -> RenderableType:
    changed = [row for row in rows if row["change"] != "same"]
    made = table(title, "change", "count A", "count B", "time A", "time B", "B/A")
    for row in changed[:top]:
        colour = COLOURS[row["change"]]
        cells = [f"[{colour}]{row['change']}[/]", *map(significant, row["count"]), *map(format_ns, row["time_ns"])]
        add(made, row["name"], [*cells, _ratio(*row["time_ns"])])
    if len(changed) > top:
        add(made, f"{len(changed) - top} more changes: --top {len(changed)}", [])
    return made


def _ratio(first: float, second: float) -> str:
    return f"{second / first:.2f}" if first else ""
