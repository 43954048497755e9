"""A drawing written as SVG comes back unchanged, Agg renders it alike, and bad files are refused in one line."""

from __future__ import annotations

import gzip
from typing import Any

import numpy
import pytest
import torch

from framework.errors import UserError
from plugins.sketching.raster.render import render
from plugins.sketching.scene.starting import as_strokes
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.primitives import Primitive, flatten, primitive
from plugins.sketching.svg import geometry, reading
from plugins.sketching.svg.picture import Mark
from plugins.sketching.svg.reading import parse, read
from plugins.sketching.svg.writing import write
from tests.plugins.sketching.agg import render_with_agg
from tests.plugins.sketching.svg.expectations import SIDE, expected
from tests.plugins.sketching.svg.files import FILES

for package in ("svgelements", "tinycss2", "cssselect2"):
    pytest.importorskip(package)

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


@pytest.mark.one_in(2)
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


def marks(body: str) -> list[Mark]:
    return parse(page(body)).marks


def cubics_of(body: str) -> Any:
    """All cubics of a page's only mark, `[m, 4, 2]`."""
    (mark,) = marks(body)
    return numpy.concatenate([contour.cubics for contour in mark.contours])


def test_every_path_command_goes_where_the_standard_says():
    data = "m10 10 l5 0 h5 v5 L10 20 H5 V10 c0 5 5 5 5 0 s5-5 5 0 q5 5 10 0 t10 0 T60 10 Z"
    body = f'<path d="{data}" fill="none" stroke="red"/>'
    (mark,) = marks(body)
    expected = [
        [15, 10], [20, 10], [20, 15], [10, 20], [5, 20], [5, 10], [10, 10], [15, 10], [25, 10],
        [35, 10], [60, 10], [10, 10],
    ]  # fmt: skip
    numpy.testing.assert_allclose(cubics_of(body)[:, 3], expected, atol=1e-12)
    # s mirrors the handle (10, 15) of c.
    numpy.testing.assert_allclose(cubics_of(body)[7, 1], [10, 5])
    assert mark.stroke == pytest.approx((1, 0, 0))
    assert [contour.closed for contour in mark.contours] == [True]


def test_transforms_and_styles_are_inherited():
    inside = (
        '<g transform="translate(5,5) scale(2)" style="stroke:#0f0;stroke-width:3" opacity="0.5">'
    )
    inside += '<line x1="0" y1="0" x2="10" y2="0" transform="rotate(90)" stroke-opacity="50%"/></g>'
    (mark,) = marks(inside)
    numpy.testing.assert_allclose(mark.contours[0].cubics[0, [0, 3]], [[5, 5], [5, 25]], atol=1e-12)
    assert (mark.stroke, mark.stroke_opacity) == ((0, 1, 0), 0.25)
    assert mark.width == pytest.approx(6)


@pytest.fixture(scope="module")
def shown() -> dict[str, float]:
    """How far each file of files.py is from what resvg shows, as the mean difference of its pixels."""
    found = {}
    for name, picture in expected().items():
        read = parse(FILES[name].encode())
        here = render_with_agg(read, SIDE / read.width)
        found[name] = float(abs(here.astype(float) - picture).mean() / 255)
    return found


# resvg and cairosvg do not know vector-effect.
ALONE = {"vector_effect"}


@pytest.mark.parametrize("name", [name for name in FILES if name not in ALONE])
def test_files_of_every_kind_are_what_resvg_shows(shown, name):
    assert shown[name] < 0.01


def test_a_pen_that_does_not_scale_keeps_its_width():
    (mark,) = parse(FILES["vector_effect"].encode()).marks
    assert mark.width == 3


def page(inside: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 80">{inside}</svg>'.encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "ENTITY is refused ('a')"),
        (b'<!DOCTYPE svg [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><svg/>', "ENTITY is refused"),
        (b"\xff\xfe<svg/>", "no XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><svg/>', "no XML"),
        (b"\x1f\x8bnot gzip", "no readable gzip"),
        (gzip.compress(b"<svg>" + b" " * 20_000_001), "more than 20,000,000 bytes when"),
        (b"not xml", "no XML"),
        (b"", "no XML"),
        (b"<html/>", "the root is <html>"),
        (b"<svg/>", "no viewBox"),
        (b'<svg viewBox="0 0 0 5"/>', "its viewBox is '0 0 0 5'"),
        (b'<svg width="0" height="5"/>', "its size is 0 x 5"),
        (b'<svg width="1e999" height="5"/>', "its size is inf x 5"),
        (page("<g>" * 100 + "</g>" * 100), "more than 64 deep"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_line(data, message):
    with pytest.raises(UserError) as mistake:
        as_strokes(parse(data), (10, 10))
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('<line stroke="blurple" x2="5"/>', "<line> is left out: 'blurple' is no colour"),
        ('<g id="x" transform="turn(5)"/>', "<g> 'x' is left out: transform 'turn(5)' is not known"),
        ('<line x2="1e400" stroke="red"/>', "<line> is left out: '1e400' is no finite length"),
        ('<path d="M0 0L1e300 5" transform="scale(1e9)"/>', "<path> is left out: a coordinate is not finite"),
        ('<rect width="wide" height="5"/>', "<rect> is left out: 'wide' is no length"),
        ('<text x="5" y="5">hello</text>', "<text> is left out: only shapes are drawn"),
        ('<use href="#gone"/>', "<use> is left out: there is no 'gone' in the file"),
        ('<use href="http://a.b/c.svg#d"/>', "<use> is left out: it refers to nothing"),
        ('<g id="a"><use href="#a"/></g>', "<use> is left out: 'a' uses itself"),
        ('<mask id="m"/><rect mask="url(#m)" width="9" height="9"/>', "<rect> is left out: its mask alone"),
        ('<pattern id="p"/><rect fill="url(#p)" width="9" height="9"/>', "<rect> is left out: its fill by <pattern>"),
        ('<rect opacity="some" width="9" height="9"/>', "<rect> is left out: opacity = 'some' is no number"),
        ('<path d="M 0 0 L 10"/>', "<path> is left out: only its data from 'L 10' on"),
        ('<path d="L5 5"/>', "<path> is left out: only its data from 'L5 5' on"),
        ('<path d="M0 0A5 5 0 2 0 9 9"/>', "<path> is left out: only its data from 'A5 5 0 2 0 9 9' on"),
        ('<polygon points="0,0 9,0 9,9 5"/>', "<polygon> is left out: only its points from '5' on"),
        ('<polyline points="0,0 9,0 wide 5"/>', "<polyline> is left out: only its points from 'wide 5' on"),
        ('<rect width="5zz" height="5"/>', "<rect> is left out: '5zz' is no length"),
        ('<rect width="5 5" height="5"/>', "<rect> is left out: '5 5' is no length"),
        ('<g transform="scale(2) wide"/>', "<g> is left out: transform 'scale(2) wide' is not known"),
        ('<g transform="rotate(1 2)"/>', "<g> is left out: transform 'rotate(1 2)' is not known"),
        ('<g transform="translate(1 a)"/>', "<g> is left out: transform 'translate(1 a)' is not known"),
        (
            '<linearGradient id="a" href="#gone"><stop/></linearGradient><rect fill="url(#a)" width="9" height="9"/>',
            "<linearGradient> 'a' is left out: only its href: '#gone' is no gradient in the file",
        ),
        (
            '<linearGradient id="a" spreadMethod="far"><stop/></linearGradient><path d="M0 0h9v9z" fill="url(#a)"/>',
            "<linearGradient> 'a' is left out: only its spreadMethod 'far'",
        ),
        (
            '<rect fill="url(#gone)" width="9" height="9"/>',
            "<rect> is left out: its fill by 'gone', which is not in the file",
        ),
        (
            '<rect clip-path="url(#gone)" width="9" height="9"/>',
            "<rect> is left out: its clip-path 'url(#gone)' alone",
        ),
        ('<g style="mix-blend-mode:multiply"/>', "<g> is left out: its mix-blend-mode alone"),
        ('<line stroke="red" stroke-linecap="far" x2="9"/>', "<line> is left out: its stroke-linecap 'far' alone"),
        ('<line stroke="red" stroke-width="-1" x2="9"/>', "<line> is left out: its stroke of width '-1'"),
        ('<style>@media print {a {}}</style>', "<style> is left out: only its @media"),
        ('<svg viewBox="0 0 a 5"/>', "<svg> is left out: its viewBox is '0 0 a 5'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out_with_a_line_and_the_rest_is_drawn(body, line):
    picture = parse(page(body + '<circle cx="50" cy="40" r="9" fill="#00f"/>'))
    assert picture.left_out == [line]
    assert picture.marks[-1].fill == (0, 0, 1)


@pytest.mark.parametrize("end", ["L5", "Hz", "C1 1 2 2", "R9 9", "L nan 5", "L 1e"])
def test_a_path_is_drawn_up_to_its_first_mistake(end):
    assert cubics_of(f'<path d="M1 1H9V9{end}"/>')[:, 3].tolist() == [[9, 1], [9, 9]]


@pytest.mark.parametrize(
    ("text", "pixels"),
    [("1in", 96), ("2.54CM", 96), ("25.4mm", 96), ("101.6Q", 96), ("6pc", 96), ("3pt", 4), ("2em", 32), ("2ex", 16),
     ("10%", 10), ("1e1", 10), (" 7px ", 7)],
)  # fmt: skip
def test_lengths_are_read_in_every_unit(text, pixels):
    assert cubics_of(f'<line x2="{text}" stroke="red"/>')[0, 3, 0] == pytest.approx(pixels)


def test_a_path_of_too_many_curves_is_refused(monkeypatch):
    monkeypatch.setattr(geometry, "MAX_CURVES", 100)
    with pytest.raises(UserError, match="more than 100 curves"):
        parse(page(f'<path d="M0 0{"h1" * 601}"/>'))


def test_elements_that_use_one_another_many_times_are_refused(monkeypatch):
    monkeypatch.setattr(reading, "MAX_USED", 500)
    laughs = "".join(
        f'<g id="a{k}">' + f'<use href="#a{k - 1}"/>' * 10 + "</g>" for k in range(1, 12)
    )
    with pytest.raises(UserError, match="<use> draws more than 500 elements"):
        parse(page('<rect id="a0" width="1" height="1"/>' + laughs))


def test_a_file_without_a_size_reaches_as_far_as_its_marks():
    picture = parse(b'<svg><rect x="5" y="6" width="20" height="30"/></svg>')
    assert (picture.width, picture.height) == (25.5, 36.5)


def test_a_compressed_file_is_read():
    picture = parse(gzip.compress(page('<rect width="9" height="9"/>')))
    assert len(picture.marks) == 1


def test_a_file_without_strokes_cannot_begin_a_drawing(tmp_path):
    with pytest.raises(UserError, match="holds no strokes"):
        as_strokes(parse(page('<rect width="100" height="80" fill="white"/>')), (10, 10))
    with pytest.raises(UserError, match="no such SVG"):
        read(tmp_path / "none.svg")


@pytest.mark.parametrize(
    ("path", "centre", "share"),
    [
        ("M10 0A10 10 0 0 1 0 10", (0, 0), 0.25),
        ("M10 0A10 10 0 1 0 0 10", (0, 0), 0.75),
        ("M10 0A10 10 0 0 0 0 10", (10, 10), 0.25),
        # Flags without spaces.
        ("M10,0a10,10,0,01-10,10", (0, 0), 0.25),
        # A radius too small is enlarged.
        ("M10 0A1 1 30 0 1 -10 0", (0, 0), 0.5),
    ],
)
def test_arcs_of_circles_lie_on_them(path, centre, share):
    places = flatten(torch.from_numpy(cubics_of(f'<path d="{path}"/>')), 32).numpy() - centre
    assert abs(numpy.hypot(*places.T) - 10).max() < 0.01
    length = numpy.linalg.norm(numpy.diff(places, axis=0), axis=1).sum()
    assert abs(length / (20 * numpy.pi) - share) < 1e-3


def test_a_turned_elliptic_arc_is_that_of_the_turned_ellipse():
    turned = cubics_of('<path d="M8.660254037844386 5A10 4 30 0 1 -8.660254037844386 -5"/>')
    places = flatten(torch.from_numpy(turned), 32).numpy()
    c, s = numpy.cos(numpy.pi / 6), numpy.sin(numpy.pi / 6)
    along, across = places @ [c, s], places @ [-s, c]
    assert abs((along / 10) ** 2 + (across / 4) ** 2 - 1).max() < 2e-3
    assert across.max() > 3.99 or across.min() < -3.99


def test_an_arc_without_radius_is_a_line():
    line = cubics_of('<path d="M1 2A0 5 0 0 1 7 8"/>')
    assert line[0, -1].tolist() == [7, 8]
    assert numpy.allclose(line[0, 1], [3, 4])
