"""Draws the steps of a trace, and what a step does, as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from ttprof.report.trace_cells import add, add_rest, indented, percent_of, table
from ttprof.trace.analyses.summary import Summary
from ttprof.units import format_ns

PROFILER_STEPS = "ProfilerStep#N"


def tables(summary: Summary, top: int) -> Iterator[RenderableType]:
    """The steps by both definitions, and what they did."""
    on_device = bool(summary.kernels.count)
    device = ["kernels\nlaunched", "kernel\ntime", "device\nspan", "kernels\nin window", "kernel\ntime"]
    rows = table(_heading(summary), "host time", *(device if on_device else []))
    behind = False
    for step, window in list(zip(summary.steps, summary.steps_by_window, strict=True))[:top]:
        cells = [format_ns(step.time_ns)]
        if on_device:
            cells += [str(step.kernel_count), format_ns(step.kernel_time_ns), format_ns(window.device_span_ns)]
            cells += [str(window.kernel_count), format_ns(window.kernel_time_ns)]
            behind = behind or window.device_span_ns > step.time_ns
        add(rows, step.name, cells)
    times = [step.time_ns for step in summary.steps]
    add_rest(rows, len(times) - top, "step", detail=f"; all take {format_ns(min(times))} to {format_ns(max(times))}")
    yield rows
    if behind:
        text = "the device runs behind the host: a step's host time is not its duration"
        yield indented(Text(text, style="yellow"))
    yield from _phases(summary)


def _heading(summary: Summary) -> str:
    rule = summary.steps_rule
    return "step" if rule in (None, PROFILER_STEPS) else f"step ({rule})"


def _phases(summary: Summary) -> Iterator[RenderableType]:
    """What a step does on average: on the device, or on the host in a trace without kernels."""
    phases = summary.step_phases
    of_kernels = any(row.measured == "kernels" for row in phases)
    times = {
        "forward": [row.forward_ns for row in phases],
        "backward": [row.backward_ns for row in phases],
        "optimizer": [row.optimizer_ns for row in phases],
        "communication": [row.communication_ns for row in phases],
        "outside of operators": [row.other_ns for row in phases],
    }
    total = sum(map(sum, times.values()))
    if not total:
        return
    rows = table("a step on average", "kernel time" if of_kernels else "host time", "share")
    for name, of_steps in times.items():
        if any(of_steps):
            add(rows, name, [format_ns(sum(of_steps) / len(phases)), percent_of(sum(of_steps), total)])
    yield rows
    loading = sum(row.data_loading_ns for row in phases) / len(phases)
    idle = sum(row.idle_ns for row in phases) / len(phases)
    beside = [f"loading data takes the host {format_ns(loading)}"] if loading else []
    beside += [f"no device runs anything for {format_ns(idle)}"] if of_kernels else []
    if beside:
        yield indented(Text("; ".join(beside)))
