"""Strokes start as contours, by pen or as one line; colours come from a palette; inks are separated."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from plugins.sketching.images.photo import Guide
from plugins.sketching.images.subject import Subject
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.colours import clustered, palette_of, separated, snapped
from plugins.sketching.strokes.drawing import Drawing, Strokes
from plugins.sketching.strokes.placing import Placing
from plugins.sketching.strokes.plotter import travel
from plugins.sketching.strokes.primitives import primitive
from plugins.sketching.strokes.starting import Start, bending

CYAN, YELLOW = [0.1, 0.6, 0.9], [0.95, 0.85, 0.1]


def subject() -> Subject:
    """Dark on the left, light on the right, an upright edge between them."""
    photo = torch.full((3, 60, 80), 0.9)
    photo[:, :, :40] = 0.2
    return Subject.of(photo, 1.0, 0.0)


def start(**options) -> Start:
    count = options.pop("count", 200)
    given = {"contours": 0.0, "contour_size": 2.0} | options
    kind = (
        primitive("catmull_rom", controls=count) if given.get("continuous") else primitive("line")
    )
    look = Placing(kind, 6.0, 0.5, 0.9, 1.0, given["contours"], given["contour_size"])
    pens = options.get("pens")
    inks = None if pens is None else torch.tensor(pens)
    return Start(look, count, inks is not None, 0.0, inks, bool(options.get("continuous")))


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_contours_come_first_on_edges_longer_and_wider():
    strokes = start(contours=0.25).first(subject(), draw())
    outlines, others = strokes.control[:50], strokes.control[50:]
    assert (outlines.mean(1)[:, 0] - 40).abs().max() < 4
    assert others.mean(1)[:, 0].mean() < 25
    assert strokes.width[:50].tolist() == [1.0] * 50
    assert strokes.width[50:].tolist() == [0.5] * 150
    way = outlines[:, 1] - outlines[:, 0]
    assert (way[:, 1].abs() > 5 * way[:, 0].abs()).float().mean() > 0.9
    length = (strokes.control[:, 1] - strokes.control[:, 0]).norm(dim=1)
    assert length[:50].mean() > 1.5 * length[50:].mean()


def test_one_line_is_a_short_tour_of_dark_places():
    strokes = start(continuous=True, count=120).first(subject(), draw())
    assert strokes.control.shape == (1, 120, 2)
    points = strokes.control[0]
    assert (points[:, 0] < 41).float().mean() > 0.95
    ends = points.double()[:, None].expand(-1, 2, -1).contiguous().numpy()
    # A good tour of n random places in an area A is about 0.75 sqrt(n A) long.
    assert travel(ends) < 1.1 * math.sqrt(120 * 60 * 40)


def test_pens_go_where_their_ink_is_needed_and_hatch_in_directions_of_their_own():
    photo = torch.tensor(CYAN)[:, None, None].expand(3, 40, 60).clone()
    photo[:, :, 30:] = torch.tensor(YELLOW)[:, None, None]
    shown = Subject.of(photo, 1.0, 0.0)
    first = start(pens=[CYAN, YELLOW])
    strokes = first.first(shown, draw())
    cyan = (strokes.colour == torch.tensor(CYAN)).all(1)
    assert (strokes.control[cyan].mean(1)[:, 0] < 31).float().mean() > 0.95
    assert (strokes.control[~cyan].mean(1)[:, 0] > 29).float().mean() > 0.95
    assert cyan.sum() + (strokes.colour == torch.tensor(YELLOW)).all(1).sum() == 200
    assert first.angle(torch.tensor([1]))[0] - first.angle(torch.tensor([0]))[0] == pytest.approx(
        math.pi / 2
    )
    again = first.again(
        torch.rand(3, 2) * 30, torch.tensor([3, 4, 190]), strokes.colour[[3, 4, 190]], shown, draw()
    )
    assert torch.equal(again.colour, strokes.colour[[3, 4, 190]])


def test_inks_are_separated_into_what_was_mixed():
    pens, amounts = torch.tensor([CYAN, YELLOW]), torch.tensor([0.7, 0.4])
    mixed = (pens.log() * amounts[:, None]).sum(0).exp()
    found = separated(mixed[:, None, None].expand(3, 2, 2), pens)
    torch.testing.assert_close(found[:, 0, 0], amounts, atol=1e-3, rtol=0)
    assert (separated(torch.rand(3, 4, 4), pens) >= 0).all()
    assert (separated(torch.ones(3, 4, 4), pens) < 1e-6).all()


def test_a_palette_is_the_photographs_colours():
    photo = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.2, 0.8]]).T[:, :, None].expand(3, 2, 50)
    palette = palette_of(photo, 2)
    torch.testing.assert_close(
        palette.sort(0).values, torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.2, 0.8]])
    )
    torch.testing.assert_close(
        snapped(torch.tensor([[0.8, 0.2, 0.0]]), palette), torch.tensor([[0.9, 0.1, 0.1]])
    )
    assert len(palette_of(photo, 9)) == 2
    colours, nearest = clustered(numpy.array([[0.0, 0, 0], [1, 1, 1], [1, 1, 1]]), 2)
    assert colours.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert nearest.tolist() == [1, 0, 0]


def test_a_straight_even_stroke_does_not_bend():
    line = torch.stack([torch.arange(5.0), 2 * torch.arange(5.0)], 1)[None]
    assert float(bending(line)) == 0
    corner = torch.tensor([[[0.0, 0], [1, 0], [1, 1]]])
    # A turn of (-1, 1) over two sides of length 1.
    assert float(bending(corner)) == pytest.approx(1.0)


def test_a_line_beyond_the_frame_is_moved_as_a_whole():
    """Each end cut off by itself would leave both on the frame, and the line along it."""
    control = torch.tensor([[[-3.0, 10.0], [7.0, 12.0]], [[60.0, 38.0], [84.0, 50.0]]])
    ones = torch.ones(2)
    style = Style("soft_or", False, False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    strokes = Strokes(control, ones, ones, torch.zeros(2, 3))
    drawing = Drawing(primitive("line"), (40, 80), strokes, style, frozenset())
    drawing.confine(0.3, 20.0)
    moved = torch.tensor([[[0.0, 10.0], [10.0, 12.0]], [[56.0, 28.0], [80.0, 40.0]]])
    torch.testing.assert_close(drawing.strokes.control.detach(), moved)


def test_slopes_as_faint_as_noise_have_no_direction():
    """Of a slope m, coherence is m^2 / (m^2 + (1 / 255)^2)."""
    ramp = torch.arange(60.0).expand(40, 60) / 255
    for levels, coherence in ((0.1, 0.01 / 1.01), (1.0, 0.5), (10.0, 100 / 101)):
        found = Guide.of(0.1 + levels * ramp)
        assert float(found.coherence[20, 30]) == pytest.approx(coherence, abs=1e-3)
