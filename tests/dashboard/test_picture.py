"""The picture of a scaling: its size, its colours, and names and values that it cannot draw."""

from __future__ import annotations

import io

import msgspec
import pytest
from PIL import Image
from results import SUITES

from ttprof.dashboard import picture, scaling


def render(**changes) -> Image.Image:
    document = msgspec.structs.replace(scaling.scaling(SUITES["swept"][0]), **changes)
    return Image.open(io.BytesIO(picture.png(document))).convert("RGB")


def test_the_line_and_the_points_are_there():
    image = render()
    assert image.size == (picture.WIDTH, picture.HEIGHT)
    colours = {colour for _, colour in image.getcolors(1 << 16)}
    assert {(0x1F, 0x5F, 0xBF), (0x3B, 0x7D, 0xD8)} <= colours


@pytest.mark.parametrize("name", ["😀 <script>", "n" * 300, ""])
def test_any_name_can_be_render(name):
    assert render(axis=name, metric=name).size == (picture.WIDTH, picture.HEIGHT)


def test_values_without_a_logarithm():
    flat = [scaling.ScalingPoint(size, 0.0, None) for size in (1, 2, 4)]
    assert render(points=flat, curves=[]).size
    assert render(points=[scaling.ScalingPoint(8, 2.0, None)]).size
