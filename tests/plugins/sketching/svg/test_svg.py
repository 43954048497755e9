"""A drawing written as SVG comes back unchanged, Agg renders it alike, and bad files are refused in one line."""

from __future__ import annotations

import numpy
import pytest
import torch

from framework.errors import UserError
from plugins.sketching.raster.render import render
from plugins.sketching.strokes.drawing import Strokes, Style
from plugins.sketching.strokes.primitives import Primitive, flatten, primitive
from plugins.sketching.svg.reading import Mark, parse, read
from plugins.sketching.svg.strokes import as_strokes
from plugins.sketching.svg.writing import write
from tests.plugins.sketching.agg import render_with_agg

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def drawing(name: str, count: int = 40, coloured: bool = False) -> tuple[Strokes, Primitive]:
    kind = primitive(name, controls=4)  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(3)
    middle = torch.rand(count, 1, 2, generator=draw) * torch.tensor([100.0, 70.0])
    control = middle + 15 * torch.randn(count, kind.controls, 2, generator=draw)
    width = 0.4 + 1.5 * torch.rand(count, generator=draw)
    opacity = 0.3 + 0.7 * torch.rand(count, generator=draw)
    colour = torch.rand(count, 3, generator=draw) if coloured else torch.zeros(count, 3)
    return Strokes(control, width, opacity, colour), kind


@pytest.mark.parametrize("name", ["line", "quadratic", "cubic", "catmull_rom", "point", "ellipse"])
@pytest.mark.parametrize("filled", [False, True])
def test_the_svg_rendered_by_agg_is_the_flat_raster(name, filled):
    if filled and name != "ellipse":
        pytest.skip("a line has no inside")
    strokes, kind = drawing(name, coloured=True)
    style = Style("over", filled, True, WHITE, BLACK)
    text = write(strokes, kind, (70, 100), style)
    elsewhere = torch.from_numpy(render_with_agg(parse(text.encode()))).permute(2, 0, 1) / 255
    here = render(
        kind.vertices(strokes.control),
        strokes.width,
        (70, 100),
        colour=strokes.colour,
        opacity=strokes.opacity,
        composition="over",
        profile="flat",
        filled=filled,
    )
    assert elsewhere.shape == here.shape
    assert (elsewhere - here).abs().mean() < 0.02


@pytest.mark.parametrize("name", ["line", "cubic"])
def test_strokes_come_back_from_their_svg(name):
    strokes, kind = drawing(name, coloured=True)
    style = Style("over", False, True, WHITE, BLACK)
    text = write(strokes, kind, (70, 100), style)
    back = as_strokes(parse(text.encode()), (70, 100))
    assert kind.segments is not None
    cubics = kind.segments(strokes.control)[:, 0]
    torch.testing.assert_close(back.control, cubics, atol=0.02, rtol=0)
    torch.testing.assert_close(back.width, strokes.width, atol=0, rtol=0.01)
    torch.testing.assert_close(back.opacity, strokes.opacity, atol=2e-3, rtol=0)
    torch.testing.assert_close(back.colour, strokes.colour, atol=3e-3, rtol=0)


def test_every_path_command_goes_where_the_standard_says():
    data = "m10 10 l5 0 h5 v5 L10 20 H5 V10 c0 5 5 5 5 0 s5-5 5 0 q5 5 10 0 t10 0 T60 10 Z"
    (mark,) = parse(page(f'<path d="{data}" fill="none" stroke="red"/>')).marks
    ends = mark.cubics[:, 3]
    expected = [
        [15, 10], [20, 10], [20, 15], [10, 20], [5, 20], [5, 10], [10, 10], [15, 10], [25, 10],
        [35, 10], [60, 10], [10, 10],
    ]  # fmt: skip
    numpy.testing.assert_allclose(ends, expected, atol=1e-12)
    numpy.testing.assert_allclose(mark.cubics[7, 1], [10, 5])  # s mirrors the handle (10, 15) of c
    assert mark.stroke == (1, 0, 0)


def test_transforms_and_styles_are_inherited():
    inside = (
        '<g transform="translate(5,5) scale(2)" style="stroke:#0f0;stroke-width:3" opacity="0.5">'
    )
    inside += '<line x1="0" y1="0" x2="10" y2="0" transform="rotate(90)" stroke-opacity="50%"/></g>'
    (mark,) = parse(page(inside)).marks
    numpy.testing.assert_allclose(mark.cubics[0, [0, 3]], [[5, 5], [5, 25]], atol=1e-12)
    assert (mark.stroke, mark.width, mark.stroke_opacity) == ((0, 1, 0), 6, 0.25)


def page(inside: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 80">{inside}</svg>'.encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "DOCTYPE is refused"),
        (b"\xff\xfe<svg/>", "no UTF-8 text"),
        (b"not xml", "no XML"),
        (b"<html/>", "the root is <html>"),
        (b"<svg/>", "no viewBox"),
        (b'<svg viewBox="0 0 0 5"/>', "its size is 0 x 5"),
        (page("<g>" * 100 + "</g>" * 100), "more than 64 deep"),
        (page('<path d="M0 0R1 1"/>'), "path command 'R' is not known"),
        (page('<path d="M0 0L5"/>'), "path command 'L' has 1 numbers, expected 2s"),
        (page('<line stroke="blurple" x2="5"/>'), "'blurple' is no colour"),
        (page('<g transform="skewX(5)"/>'), "transform 'skewX(5)' is not known"),
        (page('<line x2="1e400" stroke="red"/>'), "a coordinate is not finite"),
    ],
)
def test_bad_files_are_refused_in_one_line(data, message):
    with pytest.raises(UserError) as mistake:
        as_strokes(parse(data), (10, 10))
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_file_without_strokes_cannot_begin_a_drawing(tmp_path):
    with pytest.raises(UserError, match="holds no strokes"):
        as_strokes(parse(page('<rect width="100" height="80" fill="white"/>')), (10, 10))
    with pytest.raises(UserError, match="no such SVG"):
        read(tmp_path / "none.svg")


def marks(body: str) -> list[Mark]:
    return parse(page(body)).marks


@pytest.mark.parametrize(
    ("path", "centre", "share"),
    [
        ("M10 0A10 10 0 0 1 0 10", (0, 0), 0.25),
        ("M10 0A10 10 0 1 0 0 10", (0, 0), 0.75),
        ("M10 0A10 10 0 0 0 0 10", (10, 10), 0.25),
        ("M10,0a10,10,0,01-10,10", (0, 0), 0.25),  # flags without spaces
        ("M10 0A1 1 30 0 1 -10 0", (0, 0), 0.5),  # a radius too small is enlarged
    ],
)
def test_arcs_of_circles_lie_on_them(path, centre, share):
    cubics = numpy.concatenate([m.cubics for m in marks(f'<path d="{path}"/>')])
    places = flatten(torch.from_numpy(cubics), 32).numpy() - centre
    assert abs(numpy.hypot(*places.T) - 10).max() < 0.01
    length = numpy.linalg.norm(numpy.diff(places, axis=0), axis=1).sum()
    assert abs(length / (20 * numpy.pi) - share) < 1e-3


def test_a_turned_elliptic_arc_is_that_of_the_turned_ellipse():
    turned = marks('<path d="M8.660254037844386 5A10 4 30 0 1 -8.660254037844386 -5"/>')[0].cubics
    places = flatten(torch.from_numpy(turned), 32).numpy()
    c, s = numpy.cos(numpy.pi / 6), numpy.sin(numpy.pi / 6)
    along, across = places @ [c, s], places @ [-s, c]
    assert abs((along / 10) ** 2 + (across / 4) ** 2 - 1).max() < 2e-3
    assert across.max() > 3.99 or across.min() < -3.99


def test_an_arc_without_radius_is_a_line_and_bad_numbers_are_refused():
    line = marks('<path d="M1 2A0 5 0 0 1 7 8"/>')[0].cubics
    assert line[0, -1].tolist() == [7, 8]
    assert numpy.allclose(line[0, 1], [3, 4])
    with pytest.raises(UserError, match=r"an arc's numbers are not"):
        marks('<path d="M1 2A3 5 0 2 1 7 8"/>')
