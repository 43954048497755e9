"""A picture becomes a drawing by one call: as SVG, as PNG of any size, for a plotter; the same again from one seed."""

from __future__ import annotations

import io
from typing import Any

import numpy
import pytest
import torch
from PIL import Image as Pillow

from framework.errors import UserError
from plugins.sketching.drawn import STYLES, sketch

PHOTO = Pillow.fromarray(numpy.linspace(0, 255, 48 * 32).reshape(32, 48).astype(numpy.uint8))
SMALL: dict[str, Any] = {"strokes": 20, "size": 48, "steps": 4}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws(style):
    drawing = sketch(PHOTO, style=style, **SMALL)
    assert drawing.svg().startswith("<svg")
    with Pillow.open(io.BytesIO(drawing.png(96))) as picture:
        assert picture.size == (96, 64)
    assert drawing.pixels().shape == (32, 48, 3)


def test_a_seed_draws_the_same_again_and_leaves_torchs_generator():
    state = torch.get_rng_state()
    first, second = (sketch(PHOTO, seed=7, **SMALL).svg() for _ in range(2))
    assert first == second
    assert first != sketch(PHOTO, seed=8, **SMALL).svg()
    assert torch.equal(torch.get_rng_state(), state)


def test_drawings_are_saved_by_their_suffix(tmp_path):
    drawing = sketch(numpy.asarray(PHOTO), **SMALL)
    assert drawing.save(tmp_path / "a.svg").read_text() == drawing.svg()
    with Pillow.open(drawing.save(tmp_path / "a.png", 30)) as picture:
        assert picture.size == (30, 20)
    with pytest.raises(UserError, match=r"expected a name that ends in .svg or .png"):
        drawing.save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="there is no folder"):
        drawing.save(tmp_path / "none" / "a.svg")
    with pytest.raises(UserError, match="size = 0: expected 1 to 10,000 pixels"):
        drawing.pixels(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "etchin"}, "style = 'etchin'; did you mean 'etching'?"),
        ({"style": None}, "style = 'None'; choices: brush, etching"),
        ({"input": "a.jpg"}, "the picture is the first argument"),
        ({"strokes": -1}, "strokes = -1"),
        ({"steps": 0}, "steps = 0: expected a whole number, 1 or more"),
        ({"steps": "5"}, "steps = '5': expected a whole number, 1 or more"),
        ({"gama": 1.0}, "did you mean 'gamma'?"),
        ({"gamma": None}, "sketch.gamma = "),
    ],
)
def test_mistakes_are_refused_in_one_line(options, message):
    with pytest.raises(UserError) as mistake:
        sketch(PHOTO, **SMALL | options)
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)
    with pytest.raises(UserError, match="image: NoneType"):
        sketch(None, **SMALL)  # type: ignore[arg-type]


def test_a_drawing_of_three_pens_is_plotted_with_three():
    photo = numpy.random.default_rng(0).integers(0, 255, (32, 48, 3), numpy.uint8)
    drawing = sketch(photo, style="hatching", **SMALL | {"strokes": 60})
    sheet = drawing.plotter()
    assert sheet.pens == 3
    assert sheet.svg.count('inkscape:groupmode="layer"') == 3
    assert drawing.plotter(pens=1).pens == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda drawing: drawing.png("a"), "size = 'a': expected 1 to 10,000 pixels"),
        (
            lambda drawing: drawing.plotter(pgae="a4"),
            "unknown key 'plotter.pgae'; did you mean 'page'?",
        ),
        (
            lambda drawing: drawing.plotter(margin="x"),
            "plotter.margin = 'x': expected a valid number",
        ),
        (lambda drawing: drawing.save(5), "path = 5: expected a path"),
    ],
)
def test_a_drawings_own_mistakes_are_refused_in_one_line(call, said):
    with pytest.raises(UserError) as mistake:
        call(sketch(PHOTO, **SMALL | {"steps": 1}))
    assert str(mistake.value).startswith(said)
    assert "\n" not in str(mistake.value)
