"""Draws a scaling as a small PNG for viewers without charts, such as the IMAGES tab of TensorBoard.

It shows the points and the fitted law on logarithmic axes, with the rejected laws in grey.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from ttprof.dashboard.scaling import ScalingDocument
from ttprof.units import significant

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 44, 44
WIDEST_TICK = 1e8
"""The labels of ticks from here on are written as 1e+08: in full they don't fit into the margin."""
PAGE, TEXT, LINE, REJECTED, FITTED, POINT = "#ffffff", "#1d2329", "#dfe3e8", "#c3cad2", "#1f5fbf", "#3b7dd8"
RADIUS = 4
MARGIN = 1.3
"""How far the value axis extends beyond the points, as a factor."""


class _Axes:
    """Maps sizes and values to pixels, both on logarithmic scales."""

    def __init__(self, sizes: Sequence[float], values: Sequence[float]) -> None:
        self._sizes = math.log(min(sizes)), math.log(max(sizes))
        self.low, self.high = min(values) / MARGIN, max(values) * MARGIN
        self._values = math.log(self.low), math.log(self.high)

    def pixel(self, size: float, value: float) -> tuple[float, float]:
        """Return the pixel coordinates of a point."""
        x = _fraction(math.log(size), *self._sizes)
        y = _fraction(math.log(value), *self._values)
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)


def png(document: ScalingDocument) -> bytes:
    """Render a scaling. Without a positive value, the picture says that none can be drawn on logarithmic axes."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAGE)
    pen = ImageDraw.Draw(image)
    unit = f" ({document.unit})" if document.unit else ""
    title = f"{document.metric}{unit} over {document.axis}: exponent {document.exponent:.2f}, {document.law} expected"
    pen.text((LEFT, 16), _latin(title), fill=TEXT)
    points = [(point.size, point.value) for point in document.points if point.value > 0]
    if points:
        _draw(pen, document, points)
    else:
        pen.text((LEFT, HEIGHT / 2), "no value is above 0", fill=TEXT)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw(pen: ImageDraw.ImageDraw, document: ScalingDocument, points: list[tuple[int, float]]) -> None:
    sizes, values = zip(*points, strict=True)
    axes = _Axes(sizes, values)
    for size in sizes:
        x, _ = axes.pixel(size, axes.low)
        pen.line([(x, TOP), (x, HEIGHT - BOTTOM)], fill=LINE)
        pen.text((x, HEIGHT - BOTTOM + 8), str(size), fill=TEXT, anchor="ma")
    for value in _ticks(axes.low, axes.high):
        _, y = axes.pixel(sizes[0], value)
        pen.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=LINE)
        label = significant(value) if value < WIDEST_TICK else f"{value:.0e}"
        pen.text((LEFT - 8, y), label, fill=TEXT, anchor="rm")
    for curve in sorted(document.curves, key=lambda curve: curve.chosen):
        visible = [(n, v) for n, v in zip(curve.sizes, curve.values, strict=True) if axes.low <= v <= axes.high]
        if len(visible) > 1:
            path = [axes.pixel(n, v) for n, v in visible]
            pen.line(path, fill=FITTED if curve.chosen else REJECTED, width=2 if curve.chosen else 1)
    for size, value in points:
        x, y = axes.pixel(size, value)
        pen.ellipse([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS], fill=POINT)
    pen.text((LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 16), _latin(document.axis), fill=TEXT, anchor="mm")


def _fraction(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _ticks(low: float, high: float) -> list[float]:
    """List the multiples 1, 2 and 5 of the powers of ten between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [n * 10.0**power for power in powers for n in (1, 2, 5) if low <= n * 10.0**power <= high]


def _latin(text: str) -> str:
    """Replace the characters that Pillow's built-in font cannot draw."""
    return text.encode("latin-1", errors="replace").decode("latin-1")
