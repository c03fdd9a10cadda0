"""Many traces for people: the JSON of ``ttprof analyze FOLDER`` enters, one row for each rank leaves."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ttprof.report.trace_cells import add, share, table
from ttprof.units import format_bytes, format_ns

Found = dict[str, Any]

UNEVEN = 1.05
"""A rank whose steps take this much longer than the median is named."""


def render(found: Found, top: int) -> RenderableType:
    """One row for each trace, then what could not be read and what is incomplete; all rows are shown."""
    return Group(*_parts(found))


def _parts(found: Found) -> Iterator[RenderableType]:
    made = table("trace", "rank", "steps", "mean step", "kernels", "time", "busy", "alone in comm.", "peak", "bound by")
    folder = _common_folder([trace["source"]["path"] for trace in found["traces"]])
    for trace in found["traces"]:
        add(made, trace["source"]["path"].removeprefix(folder), _cells(trace))
    if found["traces"]:
        yield made
    yield from _uneven(found["traces"])
    for trace in found["traces"]:
        for reason in trace["trace"]["reasons"]:
            yield Text(f"WARNING {trace['source']['path']} is incomplete: {reason}", style="bold red")
    for row in found["unreadable"]:
        yield Text(f"ERROR {row['error']}", style="bold red")


def _common_folder(paths: list[str]) -> str:
    """What all paths begin with, up to a slash; it would push the numbers out of the table."""
    return os.path.commonpath(paths) + os.sep if len(paths) > 1 else ""


def _cells(trace: Found) -> list[str]:
    devices = trace["devices"]
    span = sum(device["span_ns"] for device in devices)
    busy = sum(device["busy_ns"] for device in devices) / span if span else None
    alone = trace["communication"]["alone_ns"] / span if span and trace["communication"] else None
    peaks = [row["peak_allocated_bytes"] for row in trace["memory"] if row["device_type"]]
    known = [peak for peak in peaks if peak is not None]
    step = _mean_step(trace)
    return [
        "" if trace["source"]["rank"] is None else str(trace["source"]["rank"]),
        str(len(trace["steps"])),
        "" if step is None else format_ns(step),
        str(trace["kernels"]["count"]),
        format_ns(trace["kernels"]["time_ns"]),
        share(busy, 0),
        share(alone, 0),
        format_bytes(max(known)) if known else "–",
        ", ".join(dict.fromkeys(device["bound"]["verdict"] for device in devices)) or "no device work",
    ]


def _mean_step(trace: Found) -> float | None:
    return statistics.fmean(step["time_ns"] for step in trace["steps"]) if trace["steps"] else None


def _uneven(traces: list[Found]) -> Iterator[Text]:
    """The ranks that are slower than the others."""
    steps = {trace["source"]["path"]: step for trace in traces if (step := _mean_step(trace)) is not None}
    if len(steps) < 2:
        return
    median = statistics.median(steps.values())
    for path, step in steps.items():
        if step > UNEVEN * median:
            yield Text(f"{path}: its steps take {step / median:.2f} times the median of all ranks", style="yellow")
