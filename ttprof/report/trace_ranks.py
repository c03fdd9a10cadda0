"""Draws the summaries of many traces as one table, with a row per trace."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ttprof.codes import NoteCode
from ttprof.report.trace_cells import UNKNOWN, add, counted, percent, size, table
from ttprof.trace.analyses.ranks import Ranks
from ttprof.trace.analyses.summary import Summary
from ttprof.units import format_ns

SLOW = 1.05
"""A rank is named if its steps take this many times the median of all ranks."""


def render(ranks: Ranks) -> RenderableType:
    """A row for each trace, then slow ranks, incomplete traces, and files that could not be read."""
    return Group(*_parts(ranks))


def _parts(ranks: Ranks) -> Iterator[RenderableType]:
    if ranks.traces:
        yield _table(ranks.traces)
    yield from _slow_ranks(ranks.traces)
    for summary in ranks.traces:
        for reason in summary.trace.reasons:
            what = "has impossible records" if reason.code is NoteCode.RECORDS_LEFT_OUT else "is incomplete"
            yield Text(f"WARNING {summary.source.path} {what}: {reason}", style="bold red")
        if summary.trace.unknown:
            count = sum(row.count for row in summary.trace.unknown)
            text = f"WARNING {summary.source.path}: {counted(count, 'row')} of no category that ttprof knows"
            yield Text(text, style="bold yellow")
    for file in ranks.unreadable:
        yield Text(f"ERROR {file.error}", style="bold red")
    if ranks.not_read:
        counts = ", ".join(f"{count} {ending}" for ending, count in ranks.not_read.items())
        yield Text(
            f"not read: {counts} (named otherwise than the traces above; name them to read them)", style="yellow"
        )


def _table(traces: list[Summary]) -> RenderableType:
    on_device = any(summary.devices for summary in traces)
    device = ["kernels", "kernel\ntime", "busy", "exposed\ncomm.", "bound"] if on_device else []
    rows = table("trace", "rank", "steps", "mean\nstep", "peak\nmemory", *device)
    folder = _common_folder([summary.source.path for summary in traces])
    for summary in traces:
        step, rank = _mean_step_ns(summary), summary.source.rank
        cells = [
            UNKNOWN if rank is None else str(rank),
            str(len(summary.steps)),
            UNKNOWN if step is None else format_ns(step),
            size(_peak_bytes(summary)),
            *(_device_cells(summary) if on_device else []),
        ]
        add(rows, summary.source.path.removeprefix(folder), cells)
    return rows


def _common_folder(paths: list[str]) -> str:
    """The folder that all paths share, with a slash; repeating it would push the numbers out of the table."""
    return os.path.commonpath(paths) + os.sep if len(paths) > 1 else ""


def _peak_bytes(summary: Summary) -> int | None:
    """The largest peak of any device, or of the CPU if the trace has no other memory events."""
    rows = [row for row in summary.memory if row.device_type] or summary.memory
    peaks = [row.peak_allocated_bytes for row in rows if row.peak_allocated_bytes is not None]
    return max(peaks, default=None)


def _device_cells(summary: Summary) -> list[str]:
    span = sum(device.span_ns for device in summary.devices)
    busy = sum(device.busy_ns for device in summary.devices) / span if span else None
    exposed = summary.communication.alone_ns / span if span and summary.communication else None
    verdicts = (device.bound.verdict if device.bound is not None else None for device in summary.devices)
    bounds = dict.fromkeys(verdict or UNKNOWN for verdict in verdicts)
    kernels = summary.kernels
    return [
        str(kernels.count),
        format_ns(kernels.time_ns),
        percent(busy, 0),
        percent(exposed, 0),
        ", ".join(bounds) or "no device work",
    ]


def _mean_step_ns(summary: Summary) -> float | None:
    return statistics.fmean(step.time_ns for step in summary.steps) if summary.steps else None


def _slow_ranks(traces: list[Summary]) -> Iterator[Text]:
    """The ranks that are slower than the others; nothing if the traces are not the distinct ranks of one job."""
    ranks = [summary.source.rank for summary in traces]
    steps = {
        rank: ns for rank, summary in zip(ranks, traces, strict=True) if (ns := _mean_step_ns(summary)) is not None
    }
    if None in ranks or len(set(ranks)) < len(ranks) or len(steps) < 2:
        return
    median = statistics.median(steps.values())
    for rank, ns in steps.items():
        if ns > SLOW * median:
            yield Text(f"rank {rank}: its steps take {ns / median:.2f} times the median of all ranks", style="yellow")
