"""The differences of two traces for people: the JSON of ``ttprof analyze --diff`` enters, rich renderables leave."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.report.trace_cells import add, more, share, table
from ttprof.units import format_ns, significant

Found = dict[str, Any]

COLOURS = {"added": "yellow", "removed": "cyan", "slower": "red", "faster": "green", "same": "dim"}


def render(found: Found, top: int) -> RenderableType:
    """What changed, the largest difference first."""
    per = "per step" if found["per"] == "step" else "in the whole trace"
    parts: list[RenderableType] = [
        Text(f"A {found['paths'][0]}\nB {found['paths'][1]}", style="bold"),
        Text(f"all numbers {per} (steps: {found['steps'][0]} in A, {found['steps'][1]} in B)", style="dim"),
    ]
    a, b = (", ".join(dict.fromkeys(names)) or "not named" for names in found["devices"])
    if a != b:
        parts.append(Text(f"WARNING the devices differ: {a} in A, {b} in B", style="bold red"))
    for name, reasons, left_out in zip("AB", found["incomplete"], found["kernels_left_out"], strict=True):
        parts += [Text(f"WARNING {name} is incomplete: {reason['text']}", style="bold red") for reason in reasons]
        if left_out:
            parts.append(Text(f"{left_out} kernels of {name} belong to no step, and are left out", style="yellow"))
    parts += [Text(), _totals(found)]
    for what, title in (("kernels", "kernel"), ("ops", "operator (self time)")):
        if found[what]:
            parts += [Text(), _counts(what, found[what])]
            if any(row["change"] != "same" for row in found[what]):
                parts.append(_changes(title, found[what], top))
    return Group(*parts)


def _totals(found: Found) -> Table:
    made = table("", "A", "B", "B/A")
    if None not in found["step_time_ns"]:
        add(made, "step on the host, mean", [*map(format_ns, found["step_time_ns"]), _ratio(*found["step_time_ns"])])
    if found["kernel_count"] != [0, 0]:
        for label, key in (("kernel launches", "launches"), ("kernels", "kernel_count")):
            add(made, label, [*map(significant, found[key]), _ratio(*found[key])])
        times = found["kernel_time_ns"]
        add(made, "kernel time", [*map(format_ns, times), _ratio(*times)])
        add(made, "device busy", [share(part) for part in found["busy_share"]])
    return made


def _counts(what: str, rows: list[Found]) -> Text:
    counts = Counter(row["change"] for row in rows)
    return Text(f"{what}: " + ", ".join(f"{counts[change]} {change}" for change in COLOURS if counts[change]))


def _changes(title: str, rows: list[Found], top: int) -> Table:
    changed = [row for row in rows if row["change"] != "same"]
    made = table(title, "change", "count A", "count B", "time A", "time B", "B/A", "B/A per call")
    for row in changed[:top]:
        colour = COLOURS[row["change"]]
        cells = [f"[{colour}]{row['change']}[/]", *map(significant, row["count"]), *map(format_ns, row["time_ns"])]
        per_call = [time / count if count else 0 for time, count in zip(row["time_ns"], row["count"], strict=True)]
        both = all(row["count"])
        add(made, row["name"], [*cells, *([_ratio(*row["time_ns"]), _ratio(*per_call)] if both else [])])
    more(made, len(changed) - top, "changes (--top shows more)")
    return made


def _ratio(first: float, second: float) -> str:
    return f"{second / first:.2f}" if first else ""
