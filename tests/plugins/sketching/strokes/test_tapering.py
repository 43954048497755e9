"""Tapered strokes: as wide as stated where stated, in the picture and in the SVG alike."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy
import pytest
import torch

from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Drawing, Strokes
from plugins.sketching.strokes.overlapping import overlap
from plugins.sketching.strokes.primitives import primitive
from plugins.sketching.strokes.tapering import factors
from plugins.sketching.svg import writing
from plugins.sketching.svg.outlines import outline
from tests.plugins.sketching.agg import render_with_agg


def drawing(control: Any, kind: Any, taper: float, composition: Any = "soft_or") -> Drawing:
    control = torch.tensor(control)
    style = Style(
        composition, False, composition == "over", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), taper
    )
    count = len(control)
    width, opacity = torch.full((count,), 3.0), torch.full((count,), 0.98)
    strokes = Strokes(control, width, opacity, torch.zeros(count, 3))
    return Drawing(primitive(kind), (60, 110), strokes, style, frozenset())


LINE = [[[15.0, 30.0], [95.0, 30.0]]]
CURVES = [
    [[10.0, 40.0], [35.0, 5.0], [60.0, 60.0], [95.0, 20.0]],
    [[20.0, 12.0], [20.0, 50.0], [24.0, 52.0], [60.0, 52.0]],
    [[80.0, 40.0], [80.0, 40.0], [80.0, 40.0], [80.0, 40.0]],
]


def test_widths_are_a_parabola_of_which_the_ends_lack_a_share():
    assert factors(5, 0.8).tolist() == pytest.approx([0.2, 0.8, 1.0, 0.8, 0.2])


@pytest.mark.parametrize("profile", ["gaussian", "flat"])
def test_ink_across_a_line_is_as_wide_as_the_pen_is_there(profile):
    with torch.no_grad():
        ink = (1 - drawing(LINE, "line", 0.6)(profile=profile)[0]).sum(0)
    for x in (25, 40, 54, 80):
        # Linear along an eighth of the line.
        factor = numpy.interp(x + 0.5, numpy.linspace(15, 95, 9), factors(9, 0.6))
        assert ink[x].item() == pytest.approx(0.98 * PEN_WIDTH * 3 * factor, rel=3e-3)


@pytest.mark.skipif(find_spec("svgelements") is None, reason="needs svgelements")
@pytest.mark.parametrize("composition", ["soft_or", "over"])
def test_the_svg_shows_what_is_rendered(composition):
    from plugins.sketching.svg.reading import parse

    # Agg moves edges along the axes to those of pixels.
    slanted = [[[15.0, 30.0], [95.0, 37.0]]]
    for control, kind in ((slanted, "line"), (CURVES, "catmull_rom")):
        one = drawing(control, kind, 0.7, composition)
        with torch.no_grad():
            here = one(profile="flat")[0].numpy()
            text = writing.write(one.strokes, one.primitive, one.canvas, one.style)
        elsewhere = render_with_agg(parse(text.encode()))[..., 0] / 255
        assert abs(elsewhere - here).mean() < 5e-3
        assert (1 - elsewhere).sum() == pytest.approx((1 - here).sum(), rel=0.01)


def test_an_outline_of_one_width_has_the_area_of_a_pen_with_round_ends():
    """By the shoelace formula of its straight part, and two half discs."""
    line = numpy.array([[10.0, 10.0], [30.0, 10.0], [30.0, 10.0], [50.0, 25.0]])
    path = outline(line, numpy.full(4, 4.0))
    assert path.count("A2 2 0 0 1") == 2
    corners = [
        [float(x) for x in part.split()[-2:]] for part in path[1:-1].replace("A", "L").split("L")
    ]
    x, y = numpy.array(corners).T
    area = abs(x @ numpy.roll(y, -1) - y @ numpy.roll(x, -1)) / 2
    assert area == pytest.approx(4 * (20 + 25), rel=2e-3)
    assert outline(line[:1].repeat(3, 0), numpy.full(3, 4.0)).count("A2 2 0 0 1") == 2


def test_a_tapered_lines_ink_is_counted_as_it_is():
    one = drawing(LINE, "line", 0.6)
    with torch.no_grad():
        counted = float(overlap(one, one(), 1.0, "gaussian"))
    assert abs(110 * 60 * counted) < 1.0
