"""Scenes of diffvg's interface are what they mean, sample by sample; they are learned, written, read again, refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image as Pillow
from torch import tensor

import plugins.sketching.pydiffvg as pydiffvg
from framework.errors import ProgramError, UserError
from plugins.sketching.svg import reading
from tests.plugins.sketching.pydiffvg.sampled import sampled
from tests.plugins.sketching.pydiffvg.scenes import (
    BLUE,
    RED,
    SCENES,
    Scene,
    alone,
    curve,
    flat,
    linear,
    radial,
    rendered,
)

needs_svg_reader = pytest.mark.skipif(find_spec("svgelements") is None, reason="needs svgelements")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", SCENES)
def test_a_scene_is_what_its_samples_show(name):
    scene = SCENES[name]
    with torch.no_grad():
        here = flat(rendered(scene)).numpy()
    there = sampled((64, 48), *scene)
    assert abs(here - there).mean() < 0.005
    assert abs(here[..., 3].sum() / there[..., 3].sum() - 1) < 0.01


def test_a_picture_is_width_by_height_and_not_premultiplied():
    picture = rendered(SCENES["ellipse"])
    assert picture.shape == (48, 64, 4)
    torch.testing.assert_close(picture[22, 31], BLUE, atol=1e-5, rtol=0)
    assert picture[0, 0].tolist() == [0, 0, 0, 0]


def test_a_background_lies_below_everything():
    paper = torch.ones(48, 64, 4) * tensor([0.2, 0.4, 0.6, 1.0])
    picture = rendered(SCENES["ellipse"], paper=paper)
    torch.testing.assert_close(picture[0, 0], paper[0, 0])
    mixed = 0.6 * BLUE + 0.4 * paper[0, 0]
    torch.testing.assert_close(picture[22, 31, :3], mixed[:3], atol=1e-5, rtol=0)
    torch.testing.assert_close(picture, rendered(SCENES["ellipse"], paper=paper[..., :3]))


def test_a_canvas_is_scaled_to_the_picture():
    with torch.no_grad():
        small, large = (flat(rendered(SCENES["layers"], (64 * k, 48 * k))) for k in (1, 3))
    blocks = large.reshape(48, 3, 64, 3, 4).mean((1, 3))
    assert (blocks - small).abs().mean() < 0.005


def test_overlapping_strokes_of_a_group_do_not_darken_one_another():
    alpha = rendered(SCENES["two pens"])[..., 3]
    assert alpha.max() <= 0.6 + 1e-5


def test_colours_beyond_0_to_1_are_mixed_as_they_are():
    scene = alone(SCENES["circle"][0][0], fill_color=tensor([1.5, -0.5, 0.5, 1.0]))
    assert rendered(scene)[22, 31].tolist() == pytest.approx([1.5, -0.5, 0.5, 1.0], abs=1e-5)


def test_an_opaque_paints_opacity_can_be_learned():
    colour = RED.clone().requires_grad_()
    rendered(alone(SCENES["circle"][0][0], fill_color=colour))[..., 3].sum().backward()
    assert colour.grad is not None
    # A circle of radius 15.3.
    assert float(colour.grad[3]) == pytest.approx(3.1416 * 15.3**2, rel=0.01)


def everything(dtype: torch.dtype) -> tuple[Scene, list[torch.Tensor]]:
    """A fill with a hole in a linear gradient, a radial one, and strokes, and all that can be learned of them."""
    learned: list[torch.Tensor] = []

    def leaf(value: Any) -> torch.Tensor:
        learned.append(torch.as_tensor(value).detach().to(dtype).clone().requires_grad_())
        return learned[-1]

    outer, inner = curve(True), pydiffvg.Circle(leaf(5.3), leaf([34.1, 20.2]), leaf(0.9))
    outer.points, outer.stroke_width = leaf(outer.points), leaf([1.3, 2.1, 0.7, 1.9, 3.2, 1.1])
    oval = pydiffvg.Ellipse(leaf([12.2, 7.9]), leaf([20.7, 30.1]))
    along, around = linear(), radial()
    for gradient in (along, around):
        for name, value in vars(gradient).items():
            # No pixel's centre at a stop.
            setattr(gradient, name, leaf(0.98 * value + 0.013))
    groups = [
        pydiffvg.ShapeGroup(tensor([0, 1]), along),
        pydiffvg.ShapeGroup(tensor([2]), around),
        pydiffvg.ShapeGroup(tensor([0, 1]), None, stroke_color=leaf(BLUE)),
    ]
    return ([outer, inner, oval], groups), learned


def test_all_parts_of_a_scene_have_the_gradients_that_finite_differences_show():
    scene, learned = everything(torch.float64)
    weights = torch.rand(48, 64, 4, generator=torch.Generator().manual_seed(0)).double()

    def loss() -> torch.Tensor:
        return (flat(rendered(scene)) * weights).sum()

    loss().backward()
    step = 1e-6
    for place, value in enumerate(learned):
        way = torch.randn(value.shape, generator=torch.Generator().manual_seed(place)).double()
        with torch.no_grad():
            value += step * way
            above = loss()
            value -= 2 * step * way
            below = loss()
            value += step * way
        assert value.grad is not None
        found, expected = float((value.grad * way).sum()), float((above - below) / (2 * step))
        assert abs(found - expected) < 1e-5 * max(1, abs(expected)), place


@needs_svg_reader
@pytest.mark.parametrize("name", SCENES)
def test_a_scene_comes_back_from_its_svg(name, tmp_path):
    scene = SCENES[name]
    pydiffvg.save_svg(str(tmp_path / "new" / "a.svg"), 64, 48, *scene)
    width, height, shapes, groups = pydiffvg.svg_to_scene(str(tmp_path / "new" / "a.svg"))
    assert (width, height) == (64, 48)
    with torch.no_grad():
        there, here = flat(rendered((shapes, groups))), flat(rendered(scene))
    # Two pens over one another are two strokes in an SVG, and darken one another.
    assert (there - here).abs().mean() < (0.01 if name == "two pens" else 1e-3)


@needs_svg_reader
def test_svgs_of_any_kind_become_scenes_that_can_be_learned(tmp_path, capsys):
    path = tmp_path / "a.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 30" width="40" height="30">'
        '<clipPath id="c"><rect width="9" height="9"/></clipPath>'
        '<g transform="translate(2 3)"><rect width="10" height="8" rx="2" fill="#f00" opacity=".5"/></g>'
        '<path d="M1 1h20v20h-20zM5 5h9v9h-9z" fill="#00f" fill-rule="evenodd" clip-path="url(#c)"/>'
        '<path d="M2 25q5-8 10 0t10 0" fill="none" stroke="#0a0" stroke-width="3" stroke-dasharray="2 1"/></svg>'
    )
    width, height, shapes, groups = pydiffvg.svg_to_scene(str(path))
    assert (width, height) == (40, 30)
    assert [len(group.shape_ids) for group in groups] == [1, 2, 1]
    assert [bool(shape.is_closed) for shape in shapes] == [True, True, True, False]  # type: ignore[union-attr]
    assert groups[0].fill_color.tolist() == [1, 0, 0, 0.5]
    assert float(shapes[3].stroke_width) == 1.5
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: shape 3: its dashes are left out",
        f"{path}: shape 3: caps and joins are round",
        f"{path}: shape 2: its clip is left out",
    ]
    for shape in shapes:
        shape.points.requires_grad = True  # type: ignore[union-attr]
    args = pydiffvg.RenderFunction.serialize_scene(width, height, shapes, groups)
    pydiffvg.RenderFunction.apply(width, height, 2, 2, 0, None, *args).sum().backward()
    assert all(shape.points.grad.abs().sum() > 0 for shape in shapes)  # type: ignore[union-attr]


@needs_svg_reader
def test_gradients_of_an_svg_keep_their_place_under_transforms(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><defs><linearGradient id="g" x1="0" y1="0" '
        'x2="1" y2="1"><stop offset=".2" stop-color="red"/><stop offset="1" stop-color="blue" stop-opacity=".4"/>'
        '</linearGradient></defs><rect width="40" height="12" fill="url(#g)" '
        'transform="rotate(20) translate(9 5)"/></svg>'
    )
    mark = reading.read(path).marks[0]
    with torch.no_grad():
        here = flat(rendered(pydiffvg.svg_to_scene(str(path))[2:])).numpy()
    y, x = numpy.mgrid[:48, :64] + 0.5
    there = mark.fill.at(numpy.stack([x, y], -1))  # type: ignore[union-attr]
    inside = here[..., 3] >= 0.9999 * there[..., 3]
    assert inside.sum() > 300
    assert abs(here[inside][:, 3] - there[inside][:, 3]).max() < 2e-4
    assert abs(here[inside][:, :3] - (there * there[..., 3:])[inside][:, :3]).max() < 2e-4


@needs_svg_reader
def test_path_data_becomes_paths():
    open_one, closed_one = pydiffvg.from_svg_path("M1 2L5 2C6 3 6 4 5 5 M0 0H4V4Z")
    assert open_one.num_control_points.tolist() == [0, 2]
    assert open_one.points.tolist() == [[1, 2], [5, 2], [6, 3], [6, 4], [5, 5]]
    assert (open_one.is_closed, closed_one.is_closed) == (False, True)
    assert closed_one.points.tolist() == [[0, 0], [4, 0], [4, 4]]
    (forced,) = pydiffvg.from_svg_path("M1 2L5 2L5 5", force_close=True)
    assert forced.is_closed
    shift = tensor([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    assert pydiffvg.from_svg_path("M1 2L5 2", shift)[0].points.tolist() == [[4, 6], [8, 6]]


def test_pictures_are_written_and_read_in_linear_light(tmp_path):
    picture = torch.rand(6, 5, 3, generator=torch.Generator().manual_seed(0))
    pydiffvg.imwrite(picture, str(tmp_path / "new" / "a.png"))
    with Pillow.open(io.BytesIO((tmp_path / "new" / "a.png").read_bytes())) as stored:
        shown = numpy.asarray(stored) / 255
    assert abs(shown - picture.numpy() ** (1 / 2.2)).max() < 0.6 / 255
    again = pydiffvg.imread(str(tmp_path / "new" / "a.png"))
    torch.testing.assert_close(again, picture, atol=0.01, rtol=0)
    with pytest.raises(ProgramError, match=r"img \[5\]: expected \[H, W\]"):
        pydiffvg.imwrite(torch.zeros(5), str(tmp_path / "b.png"))


def changed(name: str, **fields: Any) -> Callable[[], Any]:
    """A scene's first shape with other fields."""

    def render() -> Any:
        (shape, *_), groups = SCENES[name]
        return rendered(([type(shape)(**vars(shape) | fields)], groups))

    return render


def serialised(**options: Any) -> list[Any]:
    return pydiffvg.RenderFunction.serialize_scene(9, 9, [], [], **options)


CIRCLE = SCENES["circle"][0][0]
HANN = pydiffvg.PixelFilter(pydiffvg.FilterType.hann, tensor(2.0))


@pytest.mark.parametrize(
    ("render", "message"),
    [
        (
            changed("curve", is_closed=False),
            "shape 0: points [6, 2]: an open path of num_control_points [0, 1, 2] has [7, 2]",
        ),
        (
            changed("curve", num_control_points=tensor([3])),
            "shape 0: num_control_points = [3]: expected 0, 1 or 2 each",
        ),
        (changed("curve", points=torch.full((6, 2), torch.nan)), "shape 0 has a coordinate that"),
        (
            changed("curve", stroke_width=torch.ones(7)),
            "shape 0: stroke_width [7]; expected [], or [6] for its points",
        ),
        (changed("circle", stroke_width=torch.ones(2)), "stroke_width [2]; expected []"),
        (
            lambda: rendered(alone(CIRCLE, fill_color=RED[:3])),
            "group 0: fill_color [3]: expected a tensor [4]",
        ),
        (
            lambda: rendered(([], [pydiffvg.ShapeGroup(tensor([1]), RED)])),
            "group 0: shape_ids has 1; there are 0 shapes",
        ),
        (lambda: rendered((["circle"], [])), "shape 0 is a str; expected a Circle"),  # type: ignore[list-item]
        (
            lambda: rendered(SCENES["circle"], paper=torch.ones(64, 48, 4)),
            "background_image [64, 48, 4]: expected [48, 64, 4]",
        ),
        (lambda: serialised(output_type=pydiffvg.OutputType.sdf), "only pictures are rendered"),
        (lambda: serialised(filter=HANN), "filter: only a box of radius 0.5"),
        (
            lambda: rendered(alone(CIRCLE, fill_color=RED, shape_to_canvas=torch.ones(3, 3))),
            "group 0: shape_to_canvas is no affine transform",
        ),
    ],
)
def test_what_is_no_scene_is_refused_in_one_line(render, message):
    with pytest.raises(ProgramError) as mistake:
        render()
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_what_diffvg_has_besides_is_named():
    with pytest.raises(AttributeError, match=r"'OptimizableSvg'; svg_to_scene"):
        pydiffvg.OptimizableSvg  # noqa: B018
    with pytest.raises(UserError, match="no such SVG"):
        pydiffvg.svg_to_scene(str(Path("nowhere.svg")))


def test_an_empty_scene_is_transparent_and_groups_without_shapes_draw_nothing():
    nothing = torch.zeros(48, 64, 4)
    assert torch.equal(rendered(([], [])), nothing)
    assert torch.equal(rendered(([], [pydiffvg.ShapeGroup(torch.zeros(0), RED)])), nothing)
