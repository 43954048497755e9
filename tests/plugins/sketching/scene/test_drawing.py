"""A drawing from an SVG keeps its chains, fills, holes and gradients; all of it is learned, and written again."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy
import pytest
import torch
from PIL import Image as Pillow

from framework import TrainingPlan
from framework.config.validation import check_options
from framework.errors import UserError
from framework.randomness import seed_torch
from plugins.sketching.scene.drawing import SceneDrawing
from plugins.sketching.scene.paints import LinearPaint, RadialPaint
from plugins.sketching.sketch import Sketch
from plugins.sketching.stochastic import StochasticSketch
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Drawing
from plugins.sketching.svg.picture import Gradient
from plugins.sketching.svg.reading import parse
from tests.plugins.sketching.agg import render_with_agg
from tests.plugins.sketching.svg.expectations import SIDE, expected
from tests.plugins.sketching.svg.files import FILES

if find_spec("svgelements") is None:
    pytest.skip("needs svgelements", allow_module_level=True)

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
EXPECTED = expected()
ALL = frozenset({"width", "opacity", "colour"})
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">
<defs>
<linearGradient id="l" gradientUnits="userSpaceOnUse" x1="4" y1="4" x2="60" y2="30" spreadMethod="reflect">
<stop offset=".1" stop-color="#f00"/><stop offset=".6" stop-color="#ff0" stop-opacity=".5"/>
<stop offset="1" stop-color="#00f"/></linearGradient>
<radialGradient id="r" cx=".5" cy=".4" r=".5" fx=".4" fy=".3"><stop offset="0" stop-color="#fff"/>
<stop offset="1" stop-color="#063"/></radialGradient></defs>
<rect width="64" height="48" fill="#eef"/>
<path d="M4.13 4.07L60.2 3.9L59.8 30.1L30.3 40.2L4.1 30.3ZM16.1 10.2L40.3 12.1L38.2 24.3L18.3 26.1Z"
 fill="url(#l)" fill-rule="evenodd"/>
<ellipse cx="46" cy="34" rx="14" ry="9" fill="url(#r)" transform="rotate(15 46 34)" opacity=".8"/>
<path d="M6 44C16 20 26 46 34 30S52 8 60 12" fill="none" stroke="#830" stroke-width="2" stroke-linecap="round"
 stroke-linejoin="round"/>
</svg>"""


def drawing(svg: str = SVG, coloured: bool = True, **inks: Any) -> SceneDrawing:
    style = Style("soft_or", False, coloured, inks.get("paper", WHITE), inks.get("ink", BLACK))
    return SceneDrawing(parse(svg.encode()), (48, 64), style, ALL)


def test_the_drawing_is_what_the_svg_shows():
    with torch.no_grad():
        here = drawing()(profile="flat").permute(1, 2, 0).numpy()
    assert abs(here - render_with_agg(parse(SVG.encode())) / 255).mean() < 0.006


def test_its_svg_is_the_drawing_again():
    first = drawing()
    again = drawing(first.svg())
    assert [len(part.contours) for part in again.parts] == [2, 1, 1]
    assert [part.rule for part in again.parts] == ["evenodd", "nonzero", None]
    with torch.no_grad():
        torch.testing.assert_close(again(profile="flat"), first(profile="flat"), atol=0.01, rtol=0)
        assert (again(profile="flat") - first(profile="flat")).abs().mean() < 2e-3


def test_a_larger_picture_is_the_same_drawing():
    with torch.no_grad():
        small, large = (drawing()(profile="flat", scale=k) for k in (1, 4))
    blocks = large.reshape(3, 48, 4, 64, 4).mean((2, 4))
    assert (blocks - small).abs().mean() < 0.005


def test_chains_stay_together_and_closed_contours_closed():
    found = drawing()
    # Two contours of 5 and 4 corners, an ellipse of 12 points, and a chain of 3 cubics.
    assert len(found.places) == 5 + 4 + 12 + 7
    with torch.no_grad():
        for line in found.chains.polylines(found.places)[:3]:
            torch.testing.assert_close(line[0], line[-1])


def test_everything_learned_has_the_gradient_that_finite_differences_show():
    found = drawing().double()
    with torch.no_grad():
        # Away from the ends, where opacities and offsets are cut.
        for name, value in found.named_parameters():
            if name.endswith(("opacities", "colours")):
                value.mul_(0.9)
    weights = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0)).double()

    def loss() -> torch.Tensor:
        total: torch.Tensor = (found(profile="flat") * weights).sum()
        return total

    loss().backward()
    step, names = 1e-6, []
    for place, (name, value) in enumerate(found.named_parameters()):
        way = torch.randn(value.shape, generator=torch.Generator().manual_seed(place)).double()
        with torch.no_grad():
            value.add_(step * way)
            above = loss()
            value.sub_(2 * step * way)
            below = loss()
            value.add_(step * way)
        assert value.grad is not None, name
        exact, expected = float((value.grad * way).sum()), float((above - below) / (2 * step))
        assert abs(exact - expected) < 1e-5 * max(1, abs(expected)), name
        names.append(name)
    assert {"gradients.0.places", "gradients.0.offsets", "gradients.1.colours"} <= set(names)


@pytest.mark.parametrize("spread", ["pad", "repeat", "reflect"])
@pytest.mark.parametrize("kind", ["linear", "radial"])
def test_paints_are_those_of_the_svg_reader(kind, spread):
    offsets = numpy.array([0.1, 0.4, 0.4, 0.9])
    colours = numpy.random.default_rng(0).random((4, 4))
    points = numpy.random.default_rng(1).random((500, 2)) * 60 - 10
    line = (5.0, 3.0, 30.0, 20.0) if kind == "linear" else None
    circle = (20.0, 15.0, 12.0, 24.0, 11.0)
    identity = numpy.array([[1.0, 0, 0], [0, 1, 0]])
    there = Gradient(identity, line, circle, offsets, colours, spread).at(points)
    t = torch.from_numpy
    if line:
        begin, end = torch.tensor([line[:2], line[2:]]).double()
        paint: Any = LinearPaint(begin, end, t(offsets), t(colours), spread)
    else:
        centre, radius, focus = torch.tensor([[20.0, 15], [12, 12], [24, 11]]).double()
        paint = RadialPaint(centre, radius, t(offsets), t(colours), spread, focus)
    numpy.testing.assert_allclose(paint.at(t(points)).numpy(), there, atol=1e-9)


def test_without_colours_it_is_as_light_as_the_svg():
    with torch.no_grad():
        coloured = drawing()(profile="flat")
        grey = drawing(coloured=False)(profile="flat")
        inked = drawing(coloured=False, paper=(0.9, 0.8, 0.7), ink=(0.2, 0.1, 0.3))(profile="flat")
    lightness = (coloured * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(0)
    assert grey.shape == (1, 48, 64)
    torch.testing.assert_close(grey[0], lightness, atol=1e-4, rtol=0)
    paper, ink = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.2, 0.1, 0.3])
    expected = ink[:, None, None] + (paper - ink)[:, None, None] * lightness
    torch.testing.assert_close(inked, expected, atol=1e-4, rtol=0)


def sketch(path: Any, photo: Any, **options: Any) -> Sketch:
    seed_torch(7)
    chosen = {"size": 64, "start_svg": str(path), "input": str(photo), "coloured": True}
    chosen |= {"output_size": 100}
    task = Sketch(**check_options(Sketch, chosen | options, "task"))
    task.begin(TrainingPlan(seed=0, steps=25, learning_rate=0.004))
    return task


@pytest.fixture
def files(tmp_path):
    """An SVG, and a photograph of the same shapes elsewhere."""
    (tmp_path / "a.svg").write_text(SVG)
    moved = SVG.replace("<path", '<path transform="translate(3 2)"').replace("#830", "#048")
    pixels = render_with_agg(parse(moved.encode()))
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.svg", tmp_path / "a.png"


def test_a_sketch_from_an_svg_is_fitted_shown_and_resumed(files):
    task = sketch(*files, learned=["colour", "opacity", "width"])
    assert isinstance(task.model, SceneDrawing)
    before = float(task.loss(task.model().detach()))
    optimizer = torch.optim.Adam([p for p in task.parameters.values() if p.requires_grad], 0.004)
    for step in range(25):
        task.before_step(step)
        optimizer.zero_grad()
        task.loss(task.model(**task.render_options())).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(task.loss(task.model())) < 0.5 * before
        metrics = task.evaluate(0)
        shown = {media.name for media in task.show(0)}
    assert metrics["strokes"] == 3
    assert shown == {"sketch", "target_sketch_difference", "learning", "drawing"}
    other = sketch(*files, learned=["colour", "opacity", "width"])
    other.model.load_state_dict(task.model.state_dict())
    assert other.svg() == task.svg()


def test_lines_have_no_inside_and_pens_beyond_the_options_are_named(tmp_path, capsys):
    path = tmp_path / "a.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48" stroke-linecap="round"><g stroke="red">'
        '<path d="M4 4L60 40"/><line x1="4" y1="40" x2="60" y2="4" stroke-width="60"/></g></svg>'
    )
    task = Sketch(size=64, start_svg=str(path))
    assert isinstance(task.model, Drawing)
    assert capsys.readouterr().err == (
        f"diffobj: {path}: 1 of 2 widths lie beyond task.min_width = 0.3 to task.max_width = 20 "
        "(pixels, a pen's over 1.772), and become these\n"
    )


def test_a_fill_that_overlaps_no_longer_falls_apart_into_strokes(tmp_path, files):
    """vtracer's kind: filled, compound paths."""
    (tmp_path / "b.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20"><path d="M0 0C20 0 20 20 0 20ZM3 5V15L9 10Z" '
        'fill="#123" transform="translate(2 0)"/></svg>'
    )
    task = sketch(tmp_path / "b.svg", files[1])
    assert isinstance(task.model, SceneDrawing)
    assert [(len(part.contours), part.rule) for part in task.model.parts] == [(2, "nonzero")]


def test_what_is_not_drawn_is_named(tmp_path, files, capsys):
    (tmp_path / "c.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20"><path d="M1 1H9V9" stroke="red" '
        'stroke-dasharray="2 1"/></svg>'
    )
    sketch(tmp_path / "c.svg", files[1])
    written = capsys.readouterr().err
    assert "c.svg: shape 1: its dashes are left out" in written
    assert "c.svg: shape 1: caps and joins are round" in written


def test_what_is_round_in_the_svg_is_passed_over_in_silence(files, capsys):
    sketch(*files)
    assert capsys.readouterr().err == ""


def test_files_of_every_kind_are_drawn_as_resvg_shows_them_but_for_what_is_named():
    style, wrong, drawn = Style("over", False, True, WHITE, BLACK), [], 0
    for name, text in FILES.items():
        picture = parse(text.encode())
        if name == "vector_effect" or not picture.on_paper or picture.width != picture.height:
            # Pens that do not scale are read in the picture's pixels, which are not the sheet's.
            continue
        with torch.no_grad():
            found = SceneDrawing(picture, (SIDE, SIDE), style, frozenset())(profile="flat")
        apart = abs(found.permute(1, 2, 0).numpy() - EXPECTED[name] / 255).mean()
        drawn += 1
        if apart > 0.02 and not picture.not_drawn:
            wrong.append(name)
    assert wrong == []
    assert drawn > 80


def test_strokes_that_may_be_absent_are_single_curves(files):
    small = {"size": 32, "start_svg": str(files[0]), "losses": {"squared": 1.0}}
    with pytest.raises(UserError, match=r"this SVG has fills, gradients or chains"):
        StochasticSketch(sketch=small)


def test_clips_stay_where_they_are_and_are_written_again():
    clipped = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">'
        '<clipPath id="a"><circle cx="20" cy="20" r="12"/>'
        '</clipPath><clipPath id="b"><path d="M0 0H64V26H0Z"/></clipPath><g clip-path="url(#b)">'
        '<path d="M4 4H60V44H4Z" fill="#36c" clip-path="url(#a)"/></g></svg>'
    )
    found = drawing(clipped)
    with torch.no_grad():
        picture = found(profile="flat")
        there = render_with_agg(parse(clipped.encode())) / 255
        assert abs(picture.permute(1, 2, 0).numpy() - there).mean() < 0.004
        again = drawing(found.svg())(profile="flat")
    assert (again - picture).abs().mean() < 1e-3
