"""Draws the roofline of an Nsight Compute report as a plotly figure, and as an HTML page that works offline.

Each kernel is a point at the intensity and the rate of the kind of work it does most; the roofs are the peaks that the
report states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ttprof.nsight.bottleneck import Ceiling, Roof
from ttprof.nsight.compute_report import Kernel, Report, slowest_first
from ttprof.report.figures import import_optional, literal
from ttprof.report.ncu_kernels import format_percent, limiter, rate
from ttprof.report.outputs import write_text
from ttprof.report.trace_cells import shorten
from ttprof.units import format_ns

COLOURS = {"fp16": "#d1781f", "fp32": "#3b7dd8", "fp64": "#7a5cbf", "tensor": "#23845a"}
OTHER_COLOUR = "#5d6b7a"
DASHES = ("solid", "dash", "dot", "dashdot")
"""Line styles that distinguish the roofs of several devices."""

MARGIN = 4.0
"""The roofs extend beyond the outermost point or ridge by this factor."""

PlacedKernel = tuple[Kernel, Roof]


@dataclass(frozen=True)
class _Entry:
    """A kernel in the list below the plot."""

    name: str
    sentence: str
    lines: list[str]


def figure(report: Report) -> Any:
    """The roofs with the kernels under them, as a plotly figure with logarithmic axes.

    Raises TtprofError if plotly is not installed.
    """
    go = import_optional("plotly", ".graph_objects")
    plot = go.Figure()
    points = _points(slowest_first(report))
    ends = _range(report.ceilings, points)
    devices = list(dict.fromkeys(ceiling.device for ceiling in report.ceilings))
    for ceiling in report.ceilings:
        dash = DASHES[devices.index(ceiling.device) % len(DASHES)]
        plot.add_trace(_roof(go, ceiling, ends, dash))
    for kind in dict.fromkeys(roof.kind for _, roof in points):
        plot.add_trace(_markers(go, kind, [point for point in points if point[1].kind == kind]))
    axis = {"type": "log", "exponentformat": "power", "dtick": "D2", "zeroline": False}
    plot.update_layout(
        template="none",
        xaxis={**axis, "title": {"text": "FLOP per byte of DRAM traffic"}},
        yaxis={**axis, "title": {"text": "FLOP/s"}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"t": 60, "l": 70, "r": 20, "b": 60},
    )
    return plot


def write(report: Report, path: str | Path) -> Path:
    """Write the figure and a description of each kernel to *path*, creating its folder; returns the path.

    Raises ResultFileError if it can't be written, TtprofError if plotly is not installed.
    """
    kernels = slowest_first(report)
    points = len(_points(kernels))
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("roofline.html.j2").render(
        title=f"Roofline of {Path(report.path).name}",
        points=points,
        unplaced=len(kernels) - points,
        kernels=[_entry(kernel) for kernel in kernels],
        plotly=Markup(import_optional("plotly", ".offline").get_plotlyjs() if points else ""),
        figure=Markup(_script(figure(report).to_json()) if points else ""),
    )
    write_text(Path(path), page)
    return Path(path)


def _points(kernels: Sequence[Kernel]) -> list[PlacedKernel]:
    """The kernels that have a place under a roof, with it."""
    return [(kernel, kernel.roof) for kernel in kernels if kernel.roof is not None]


def _range(ceilings: Sequence[Ceiling], points: Sequence[PlacedKernel]) -> tuple[float, float]:
    """The intensities (FLOP/byte) at which the roofs begin and end."""
    intensities = [ceiling.peak_flops_per_s / ceiling.peak_bytes_per_s for ceiling in ceilings]
    intensities += [roof.intensity for _, roof in points]
    return min(intensities, default=1.0) / MARGIN, max(intensities, default=1.0) * MARGIN


def _roof(go: Any, ceiling: Ceiling, ends: tuple[float, float], dash: str) -> Any:
    """The memory roof up to the ridge, the compute roof from there."""
    flops, bandwidth = ceiling.peak_flops_per_s, ceiling.peak_bytes_per_s
    device = ceiling.device or "device not named"
    return go.Scatter(
        x=[ends[0], flops / bandwidth, ends[1]],
        y=[ends[0] * bandwidth, flops, flops],
        mode="lines",
        name=literal(f"{device}, {ceiling.kind}: {rate(flops)}FLOP/s, {rate(bandwidth)}B/s"),
        line={"color": COLOURS.get(ceiling.kind, OTHER_COLOUR), "dash": dash, "width": 2},
        hoverinfo="name",
        hoverlabel={"namelength": -1},
    )


def _markers(go: Any, kind: str, points: Sequence[PlacedKernel]) -> Any:
    return go.Scatter(
        x=[roof.intensity for _, roof in points],
        y=[roof.flops_per_s for _, roof in points],
        mode="markers",
        name=f"kernels, {kind}",
        text=[_hover(kernel, roof) for kernel, roof in points],
        hovertemplate="%{text}<extra></extra>",
        marker={"color": COLOURS.get(kind, OTHER_COLOUR), "size": 11, "line": {"width": 1, "color": "#ffffff"}},
    )


def _hover(kernel: Kernel, roof: Roof) -> str:
    sm, memory, occupancy = map(format_percent, (kernel.use.sm, kernel.use.memory, kernel.use.occupancy))
    lines = [
        shorten(kernel.name),
        f"{_time(kernel)}; {rate(roof.flops_per_s)}FLOP/s of {roof.kind}, {roof.intensity:.3g} FLOP/byte",
        f"SM {sm}, memory {memory}, occupancy {occupancy}",
        f"bound by: {limiter(kernel)}",
    ]
    return "<br>".join(literal(line) for line in lines)


def _entry(kernel: Kernel) -> _Entry:
    ranges = [f"in {', '.join(kernel.nvtx)}"] if kernel.nvtx else []
    rules = [f"NVIDIA, {rule.name}: {rule.message}" for rule in kernel.rules]
    missing = [f"not in this report: {number.what} (ncu --section {number.section})" for number in kernel.missing]
    return _Entry(kernel.name, f"{_time(kernel)}; {kernel.bottleneck.sentence}", [*ranges, *rules, *missing])


def _time(kernel: Kernel) -> str:
    return "time not measured" if kernel.time_ns is None else format_ns(kernel.time_ns)


def _script(json: str) -> str:
    """JSON that is safe inside a ``<script>``."""
    for character in "<>&\u2028\u2029":
        json = json.replace(character, f"\\u{ord(character):04x}")
    return json
