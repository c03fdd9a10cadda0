"""Draws the differences between two traces, for ``ttprof analyze A --diff B``."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.report.trace_cells import add, add_rest, counted, percent, shorten, table
from ttprof.trace.analyses.diff import Diff, Growth, NameChange
from ttprof.units import format_ns, significant
from ttprof.units import percent as percent_change

SHOWN_CAUSES = 3
"""Kernels or operators that are named if --fail-over fails."""

COLOURS = {"added": "yellow", "removed": "cyan", "slower": "red", "faster": "green", "same": "dim"}


def render(diff: Diff, top: int) -> RenderableType:
    """The *top* largest changes of kernels and of operators, below the totals of both traces."""
    a, b = diff.paths
    per = "per step" if diff.per == "step" else "for the whole trace"
    parts: list[RenderableType] = [
        Text(f"A {a}\nB {b}", style="bold"),
        Text(f"all numbers are {per} (steps: {diff.steps[0]} in A, {diff.steps[1]} in B)", style="dim"),
        *_warnings(diff),
        Text(),
        _totals(diff),
    ]
    for noun, title, changes in (
        ("kernels", "kernel", diff.kernels),
        ("operators", "operator (self time)", diff.ops),
    ):
        if changes:
            parts += [Text(), _counts(noun, changes)]
        changed = [change for change in changes if change.change != "same"]
        if changed:
            parts.append(_changes(title, changed, top))
    return Group(*parts)


def _warnings(diff: Diff) -> list[Text]:
    lines = []
    a, b = (", ".join(dict.fromkeys(names)) or "unknown" for names in diff.devices)
    if a != b:
        lines.append(Text(f"WARNING the devices differ: {a} in A, {b} in B", style="bold red"))
    for name, reasons, left_out in zip("AB", diff.incomplete, diff.kernels_left_out, strict=True):
        lines += [Text(f"WARNING {name} is incomplete: {reason}", style="bold red") for reason in reasons]
        if left_out:
            text = f"{counted(left_out, 'kernel')} of {name} outside all steps left out"
            lines.append(Text(text, style="yellow"))
    return lines


def _totals(diff: Diff) -> Table:
    rows = table("", "A", "B", "B/A")
    step_a, step_b = diff.step_time_ns
    if step_a is not None and step_b is not None:
        add(rows, "mean step on the host", [format_ns(step_a), format_ns(step_b), _ratio(step_a, step_b)])
    if any(diff.kernel_count):
        for label, pair in (("kernel launches", diff.launches), ("kernels", diff.kernel_count)):
            add(rows, label, [*map(significant, pair), _ratio(*pair)])
        times = diff.kernel_time_ns
        add(rows, "kernel time", [*map(format_ns, times), _ratio(*times)])
        add(rows, "device busy", [percent(share) for share in diff.busy_share])
    return rows


def _counts(noun: str, changes: list[NameChange]) -> Text:
    counts = Counter(change.change for change in changes)
    return Text(f"{noun}: " + ", ".join(f"{counts[change]} {change}" for change in COLOURS if counts[change]))


def _changes(title: str, changes: list[NameChange], top: int) -> Table:
    rows = table(title, "change", "count A", "count B", "time A", "time B", "B/A", "B/A per call")
    for change in changes[:top]:
        cells: list[str | Text] = [
            Text(change.change, style=COLOURS[change.change]),
            *map(significant, change.count),
            *map(format_ns, change.time_ns),
        ]
        if all(change.count):
            mean_a, mean_b = (time / count for time, count in zip(change.time_ns, change.count, strict=True))
            cells += [_ratio(*change.time_ns), _ratio(mean_a, mean_b)]
        add(rows, change.name, cells)
    add_rest(rows, len(changes) - top, "change", detail=" (--top shows more)")
    return rows


def _ratio(first: float, second: float) -> str:
    return f"{second / first:.2f}" if first else ""


def growth(grown: list[Growth], causes: list[NameChange], allowed: float) -> str:
    """A sentence on totals that grew by more than is *allowed*, and what grew most."""
    totals = [
        f"{row.what} {percent_change(row.ratio)} ({format_ns(row.time_ns[0])} → {format_ns(row.time_ns[1])})"
        if row.ratio is not None
        else f"{row.what} 0 → {format_ns(row.time_ns[1])}"
        for row in grown
    ]
    rows = [f"{shorten(row.name)} +{format_ns(row.time_ns[1] - row.time_ns[0])}" for row in causes[:SHOWN_CAUSES]]
    what = f"; what grew: {', '.join(rows)}" if rows else ""
    return f"more than {percent_change(1 + allowed)}: {', '.join(totals)}{what}"
