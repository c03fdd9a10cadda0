"""Many traces for people: the JSON of ``ttprof analyze FOLDER`` enters, one row for each trace leaves."""

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
"""A rank whose steps take this much longer than the median of its job is named."""


def render(found: Found, top: int) -> RenderableType:
    """One row for each trace, then what could not be read and what is incomplete; all rows are shown."""
    return Group(*_parts(found))


def _parts(found: Found) -> Iterator[RenderableType]:
    traces = found["traces"]
    if traces:
        yield _table(traces)
    yield from _uneven(traces)
    for trace in traces:
        for reason in trace["trace"]["reasons"]:
            yield Text(f"WARNING {trace['source']['path']} is incomplete: {reason['text']}", style="bold red")
    for row in found["unreadable"]:
        yield Text(f"ERROR {row['error']}", style="bold red")


def _table(traces: list[Found]) -> RenderableType:
    on_device = any(trace["devices"] for trace in traces)
    device = ["kernels", "their time", "busy", "in comm. alone", "bound"]
    made = table("trace", "rank", "steps", "mean step", "peak memory", *(device if on_device else []))
    folder = _common_folder([trace["source"]["path"] for trace in traces])
    for trace in traces:
        step, rank = _mean_step(trace), trace["source"]["rank"]
        cells = ["" if rank is None else str(rank), str(len(trace["steps"])), "" if step is None else format_ns(step)]
        add(
            made,
            trace["source"]["path"].removeprefix(folder),
            [*cells, _peak(trace), *_use(trace)][: 9 if on_device else 4],
        )
    return made


def _common_folder(paths: list[str]) -> str:
    """What all paths begin with, up to a slash; it would push the numbers out of the table."""
    return os.path.commonpath(paths) + os.sep if len(paths) > 1 else ""


def _peak(trace: Found) -> str:
    """The largest peak of a device, or of the CPU where there is no other."""
    rows = [row for row in trace["memory"] if row["device_type"]] or trace["memory"]
    known = [row["peak_allocated_bytes"] for row in rows if row["peak_allocated_bytes"] is not None]
    return format_bytes(max(known)) if known else "–"


def _use(trace: Found) -> list[str]:
    devices = trace["devices"]
    span = sum(device["span_ns"] for device in devices)
    busy = sum(device["busy_ns"] for device in devices) / span if span else None
    alone = trace["communication"]["alone_ns"] / span if span and trace["communication"] else None
    bound = ", ".join(dict.fromkeys(device["bound"]["verdict"] for device in devices)) or "no device work"
    time = format_ns(trace["kernels"]["time_ns"])
    return [str(trace["kernels"]["count"]), time, share(busy, 0), share(alone, 0), bound]


def _mean_step(trace: Found) -> float | None:
    return statistics.fmean(step["time_ns"] for step in trace["steps"]) if trace["steps"] else None


def _uneven(traces: list[Found]) -> Iterator[Text]:
    """The ranks that are slower than the others; of traces that are not the ranks of one job, nothing is said."""
    ranks = [trace["source"]["rank"] for trace in traces]
    steps = {rank: step for rank, trace in zip(ranks, traces, strict=True) if (step := _mean_step(trace)) is not None}
    if None in ranks or len(set(ranks)) < len(ranks) or len(steps) < 2:
        return
    median = statistics.median(steps.values())
    for rank, step in steps.items():
        if step > UNEVEN * median:
            yield Text(f"rank {rank}: its steps take {step / median:.2f} times the median of all ranks", style="yellow")
