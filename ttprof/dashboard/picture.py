"""A small picture of a scaling for places that show no charts, such as the IMAGES pane of TensorBoard.

The document of a scaling enters; PNG bytes leave: the points and the fitted law on logarithmic axes, rejected laws
faint.
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
PAGE, TEXT, LINE, FAINT, CHOSEN, POINT = "#ffffff", "#1d2329", "#dfe3e8", "#c3cad2", "#1f5fbf", "#3b7dd8"
RADIUS = 4
ROOM = 1.3
"""How far the axis of values reaches beyond the points, as a factor."""


class _Axes:
    """Where a size and a value lie on the picture."""

    def __init__(self, sizes: Sequence[float], values: Sequence[float]) -> None:
        self._sizes = math.log(min(sizes)), math.log(max(sizes))
        self.low, self.high = min(values) / ROOM, max(values) * ROOM
        self._values = math.log(self.low), math.log(self.high)

    def at(self, size: float, value: float) -> tuple[float, float]:
        """The place in pixels."""
        x = _share(math.log(size), *self._sizes)
        y = _share(math.log(value), *self._values)
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)


def png(found: ScalingDocument) -> bytes:
    """The picture; without a value above 0 it says so, since logarithmic axes have no place for it."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAGE)
    pen = ImageDraw.Draw(image)
    unit = f" ({found.unit})" if found.unit else ""
    title = f"{found.metric}{unit} over {found.axis}: exponent {found.exponent:.2f}, {found.law} expected"
    pen.text((LEFT, 16), _latin(title), fill=TEXT)
    points = [(point.size, point.value) for point in found.points if point.value > 0]
    if points:
        _draw(pen, found, points)
    else:
        pen.text((LEFT, HEIGHT / 2), "no value above 0", fill=TEXT)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw(pen: ImageDraw.ImageDraw, found: ScalingDocument, points: list[tuple[int, float]]) -> None:
    sizes, values = zip(*points, strict=True)
    axes = _Axes(sizes, values)
    for size in sizes:
        x, _ = axes.at(size, axes.low)
        pen.line([(x, TOP), (x, HEIGHT - BOTTOM)], fill=LINE)
        pen.text((x, HEIGHT - BOTTOM + 8), str(size), fill=TEXT, anchor="ma")
    for value in _ticks(axes.low, axes.high):
        _, y = axes.at(sizes[0], value)
        pen.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=LINE)
        pen.text((LEFT - 8, y), significant(value), fill=TEXT, anchor="rm")
    for curve in sorted(found.curves, key=lambda curve: curve.chosen):
        inside = [(n, v) for n, v in zip(curve.sizes, curve.values, strict=True) if axes.low <= v <= axes.high]
        if len(inside) > 1:
            path = [axes.at(n, v) for n, v in inside]
            pen.line(path, fill=CHOSEN if curve.chosen else FAINT, width=2 if curve.chosen else 1)
    for size, value in points:
        x, y = axes.at(size, value)
        pen.ellipse([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS], fill=POINT)
    pen.text((LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 16), _latin(found.axis), fill=TEXT, anchor="mm")


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten that lie between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [n * 10.0**power for power in powers for n in (1, 2, 5) if low <= n * 10.0**power <= high]


def _latin(text: str) -> str:
    """What the built-in font can draw."""
    return text.encode("latin-1", errors="replace").decode("latin-1")
