"""The summary of a trace for people: the documented JSON of ``ttprof analyze`` enters, rich renderables leave."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.units import format_bytes, format_ns

DEVICE_TYPES = {0: "CPU", 1: "CUDA", 6: "HIP"}
LONGEST_NAME = 90


def render(found: dict[str, Any], top: int) -> RenderableType:
    """Everything that the trace says; what it can't say is named, not shown as zero."""
    parts: list[RenderableType] = [_head(found)]
    if found["lost"]:
        parts.append(Text(f"WARNING salvaged, incomplete: {found['lost']}", style="bold red"))
    if found["launches_without_kernel"]:
        lost = f"{found['launches_without_kernel']} of {found['launches']} kernel launches have no kernel in this trace"
        parts.append(Text(f"WARNING {lost}: its kernel times are incomplete", style="bold red"))
    if found["kernels"]["without_launch"]:
        parts.append(
            Text(f"{found['kernels']['without_launch']} kernels have no launch and belong to no step", style="yellow")
        )
    parts.append(_totals(found))
    if found["kernels"]["by_name"]:
        parts.append(_by_time("kernel", found["kernels"]["by_name"], top))
    if found["ops_by_self_time"]:
        parts.append(_by_time("operator (self time)", found["ops_by_self_time"], top))
    if found["steps"]:
        parts.append(_steps(found["steps"]))
    if found["memory"]:
        parts.append(_memory(found["memory"]))
    return Group(*parts)


def _head(found: dict[str, Any]) -> Text:
    source = found["source"]
    devices = ", ".join(dict.fromkeys(source["devices"])) or "no device named"
    return Text(f"{source['path']} · {source['format']} · {found['events']} events · {devices}", style="bold")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", overflow="fold")
    return table


def _totals(found: dict[str, Any]) -> RenderableType:
    kernels = found["kernels"]
    if not kernels["count"] and not found["memcpy"]["count"]:
        return Text("no device activity in this trace", style="dim")
    table = _table("device work", "count", "time")
    table.add_row("kernels", str(kernels["count"]), format_ns(kernels["time_ns"]))
    table.add_row("  at least one running", "", format_ns(kernels["union_ns"]))
    table.add_row("memcpy", str(found["memcpy"]["count"]), format_ns(found["memcpy"]["time_ns"]))
    table.add_row("memset", str(found["memset"]["count"]), format_ns(found["memset"]["time_ns"]))
    table.add_row("device busy", "", format_ns(found["device_busy_ns"]))
    return table


def _by_time(what: str, rows: list[dict[str, Any]], top: int) -> Table:
    total = sum(row["time_ns"] for row in rows) or 1
    table = _table(what, "count", "time", "mean", "share")
    for row in rows[:top]:
        name = row["name"] if len(row["name"]) <= LONGEST_NAME else row["name"][: LONGEST_NAME - 1] + "…"
        mean = format_ns(row["time_ns"] / row["count"])
        share = f"{100 * row['time_ns'] / total:.1f} %"
        table.add_row(Text(name), str(row["count"]), format_ns(row["time_ns"]), mean, share)
    if len(rows) > top:
        rest = sum(row["time_ns"] for row in rows[top:])
        table.add_row(f"{len(rows) - top} more", "", format_ns(rest), "", f"{100 * rest / total:.1f} %")
    return table


def _steps(rows: list[dict[str, Any]]) -> Table:
    table = _table("step", "host time", "kernels launched", "their time")
    for row in rows:
        table.add_row(
            Text(row["name"]), format_ns(row["time_ns"]), str(row["kernel_count"]), format_ns(row["kernel_time_ns"])
        )
    return table


def _memory(rows: list[dict[str, Any]]) -> Table:
    table = _table("memory", "events", "peak allocated", "peak reserved", "net")
    for row in rows:
        kind = DEVICE_TYPES.get(row["device_type"], f"device type {row['device_type']}")
        name = kind if row["device_index"] < 0 else f"{kind} {row['device_index']}"
        peaks = [row["peak_allocated_bytes"], row["peak_reserved_bytes"]]
        shown = ["not in this trace" if peak is None else format_bytes(peak) for peak in peaks]
        table.add_row(name, str(row["events"]), *shown, format_bytes(row["net_bytes"]))
    return table
