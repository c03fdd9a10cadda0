"""The roofline of a Nsight Compute report: the JSON of ``ttprof ncu-explain`` enters, a plotly figure or a page leaves.

Each kernel is a point, at the intensity and the rate of the work it does most; the roofs are the report's own peaks.
The page is one file that asks for nothing: plotly.js is in it.
"""

from __future__ import annotations

import html
import importlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ttprof.errors import ResultFileError, TtprofError
from ttprof.report.ncu_kernels import by_time, percent, rate
from ttprof.report.trace_cells import shortened
from ttprof.units import format_ns

Found = dict[str, Any]

COLOURS = {"fp16": "#d1781f", "fp32": "#3b7dd8", "fp64": "#7a5cbf", "tensor": "#23845a"}
OTHER = "#5d6b7a"
DASHES = ("solid", "dash", "dot", "dashdot")
"""One for each device, so that the roofs of two cards can be told apart."""

MARGIN = 4.0
"""How many times beyond the outermost point or ridge the roofs are drawn."""


def figure(found: Found) -> Any:
    """The roofs and the kernels under them, as a plotly figure with logarithmic axes.

    Raises TtprofError where plotly is not installed.
    """
    go = _plotly(".graph_objects")
    made = go.Figure()
    placed = [kernel for kernel in by_time(found) if kernel["roof"]]
    low, high = _range(found, placed)
    devices = list(dict.fromkeys(ceiling["device"] for ceiling in found["ceilings"]))
    for ceiling in found["ceilings"]:
        dash = DASHES[devices.index(ceiling["device"]) % len(DASHES)]
        made.add_trace(_roof(go, ceiling, (low, high), dash))
    for kind in dict.fromkeys(kernel["roof"]["kind"] for kernel in placed):
        made.add_trace(_points(go, kind, [kernel for kernel in placed if kernel["roof"]["kind"] == kind]))
    axis = {"type": "log", "exponentformat": "power", "dtick": "D2", "zeroline": False}
    made.update_layout(
        template="none",
        xaxis={**axis, "title": {"text": "FLOP per byte of DRAM traffic"}},
        yaxis={**axis, "title": {"text": "FLOP/s"}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"t": 60, "l": 70, "r": 20, "b": 60},
    )
    return made


def write(found: Found, path: str | Path) -> Path:
    """Write the figure and what is said of every kernel to *path*, making its folder; returns the path.

    Raises ResultFileError when it can't be written, TtprofError where plotly is not installed.
    """
    kernels = by_time(found)
    points = [kernel for kernel in kernels if kernel["roof"]]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("roofline.html.j2").render(
        title=f"Roofline of {Path(found['path']).name}",
        points=len(points),
        unplaced=len(kernels) - len(points),
        kernels=[_told(kernel) for kernel in kernels],
        plotly=Markup(_plotly(".offline").get_plotlyjs() if points else ""),
        figure=Markup(_script(figure(found).to_json()) if points else ""),
    )
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ResultFileError(f"{path}: {error.strerror or error}") from error
    return target


def _range(found: Found, placed: list[Found]) -> tuple[float, float]:
    """The intensities from left of the leftmost to right of the rightmost point or ridge."""
    ridges = [ceiling["peak_flops_per_s"] / ceiling["peak_bytes_per_s"] for ceiling in found["ceilings"]]
    at = ridges + [kernel["roof"]["intensity"] for kernel in placed]
    return min(at, default=1.0) / MARGIN, max(at, default=1.0) * MARGIN


def _roof(go: Any, ceiling: Found, ends: tuple[float, float], dash: str) -> Any:
    """The memory roof up to the ridge, the compute roof from there."""
    flops, moved = ceiling["peak_flops_per_s"], ceiling["peak_bytes_per_s"]
    device, kind = ceiling["device"] or "device not named", ceiling["kind"]
    name = f"{device}, {kind}: {rate(flops)}FLOP/s, {rate(moved)}B/s"
    return go.Scatter(
        x=[ends[0], flops / moved, ends[1]],
        y=[ends[0] * moved, flops, flops],
        mode="lines",
        name=_plain(name),
        line={"color": COLOURS.get(kind, OTHER), "dash": dash, "width": 2},
        hoverinfo="name",
        hoverlabel={"namelength": -1},
    )


def _points(go: Any, kind: str, kernels: list[Found]) -> Any:
    return go.Scatter(
        x=[kernel["roof"]["intensity"] for kernel in kernels],
        y=[kernel["roof"]["flops_per_s"] for kernel in kernels],
        mode="markers",
        name=f"kernels, {kind}",
        text=[_hover(kernel) for kernel in kernels],
        hovertemplate="%{text}<extra></extra>",
        marker={"color": COLOURS.get(kind, OTHER), "size": 11, "line": {"width": 1, "color": "#ffffff"}},
    )


def _hover(kernel: Found) -> str:
    place, use = kernel["roof"], kernel["use"]
    time = "time not measured" if kernel["time_ns"] is None else format_ns(kernel["time_ns"])
    lines = [
        shortened(kernel["name"]),
        f"{time}; {rate(place['flops_per_s'])}FLOP/s of {place['kind']}, {place['intensity']:.3g} FLOP/byte",
        f"SM {percent(use['sm'])}, memory {percent(use['memory'])}, occupancy {percent(use['occupancy'])}",
        f"bound by: {kernel['bottleneck']['unit'] or kernel['bottleneck']['bound'] or 'not known'}",
    ]
    return "<br>".join(_plain(line) for line in lines)


def _told(kernel: Found) -> Found:
    """What the page says of a kernel in words."""
    time = "time not measured" if kernel["time_ns"] is None else format_ns(kernel["time_ns"])
    ranges = [f"in {', '.join(kernel['nvtx'])}"] if kernel["nvtx"] else []
    lacks = [f"not in this report: {each['what']} (ncu --section {each['section']})" for each in kernel["missing"]]
    said = [f"NVIDIA, {rule['name']}: {rule['message']}" for rule in kernel["rules"]]
    return {
        "name": kernel["name"],
        "sentence": f"{time}; {kernel['bottleneck']['sentence']}",
        "lines": [*ranges, *said, *lacks],
    }


def _plain(text: str) -> str:
    """Text that plotly, which reads a little HTML, takes literally."""
    return html.escape(text, quote=False)


def _script(text: str) -> str:
    """JSON that may stand in a ``<script>``."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _plotly(module: str) -> Any:
    try:
        return importlib.import_module(f"plotly{module}")
    except ModuleNotFoundError as error:
        raise TtprofError("plotly is not installed: pip install plotly") from error
