"""A sheet for the plotter holds the drawing in millimetres, within its margins, joined, with a layer for each pen."""

from __future__ import annotations

import re

import numpy
import pytest
import torch

from framework.errors import UserError
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.colours import clustered
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.paper import plotted
from plugins.sketching.strokes.primitives import primitive

STYLE = Style("soft_or", False, False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def lines(*ends: list[list[float]], colours: list[list[float]] | None = None) -> Strokes:
    control = torch.tensor(ends)
    one = torch.ones(len(control))
    colour = torch.zeros(len(control), 3) if colours is None else torch.tensor(colours)
    return Strokes(control, one, one, colour)


def drawn(svg: str) -> list[numpy.ndarray]:
    found = re.findall(r'points="([^"]*)"', svg)
    return [numpy.array([pair.split(",") for pair in text.split()], float) for text in found]


def test_the_canvas_fills_the_page_between_its_margins_and_lies_as_the_picture_does():
    strokes = lines([[0.0, 0.0], [200.0, 100.0]])
    plot = plotted(strokes, primitive("line"), (100, 200), STYLE, page="a4", margin=20)
    assert 'width="297mm" height="210mm" viewBox="0 0 297 210"' in plot.svg
    (line,) = drawn(plot.svg)
    # 257 mm of width between the margins; half as much height, in the middle.
    numpy.testing.assert_allclose(line, [[20, 40.75], [277, 169.25]])
    assert plot.drawn == pytest.approx(257 * 1.25**0.5, rel=1e-4)


def test_strokes_that_meet_are_joined_and_the_time_is_that_of_all_ways_and_lifts():
    strokes = lines(
        [[0.0, 0.0], [50.0, 0.0]], [[100.0, 0.0], [50.0, 0.0]], [[0.0, 90.0], [100.0, 90.0]]
    )
    plot = plotted(
        strokes,
        primitive("line"),
        (100, 100),
        STYLE,
        page=(120, 120),
        margin=10,
        speed=50,
        lift=0.5,
    )
    assert plot.lifts == 2
    assert [len(chain) for chain in drawn(plot.svg)] == [4, 2]
    assert plot.drawn == pytest.approx(200)
    # To the corner, and from the right end of the first chain to that of the second.
    assert plot.travel == pytest.approx(200**0.5 + 90)
    assert plot.seconds == pytest.approx((plot.drawn + plot.travel) / 50 + 2 * 0.5)


def test_every_pen_is_a_layer_of_inkscape_light_ones_first():
    red, dark = [1.0, 0.2, 0.2], [0.2, 0.2, 0.2]
    ends = [[0.0, 0.0], [5.0, 5.0]]
    strokes = lines(ends, ends, ends, colours=[dark, red, dark])
    plot = plotted(strokes, primitive("line"), (10, 10), STYLE, pens=2)
    assert re.findall(r'inkscape:label="([^"]*)"', plot.svg) == ["1 #ff3333", "2 #333333"]
    assert plot.pens == 2
    palette, layer = clustered(numpy.array([dark, red, dark]), 2)
    assert layer.tolist() == [1, 0, 1]
    assert palette[0].tolist() == pytest.approx(red)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page": "a44"}, "page = 'a44'; did you mean 'a4'?"),
        ({"page": (0, 5)}, "expected a width and a height in millimetres"),
        ({"margin": 200.0}, "margin = 200: expected 0 to 105 mm, less than half the page"),
        ({"speed": 0.0}, "speed = 0: expected more than 0"),
    ],
)
def test_mistakes_are_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        plotted(lines([[0.0, 0.0], [5.0, 5.0]]), primitive("line"), (10, 10), STYLE, **options)


def test_dots_and_fills_are_no_lines():
    one = torch.ones(1)
    dot = Strokes(torch.ones(1, 1, 2), one, one, torch.zeros(1, 3))
    with pytest.raises(UserError, match="a plotter draws lines"):
        plotted(dot, primitive("point"), (10, 10), STYLE)
