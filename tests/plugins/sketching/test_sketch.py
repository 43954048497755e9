"""A sketch is fitted, shown and resumed exactly; it draws other pictures, and refuses bad ones in one line."""

from __future__ import annotations

import math
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image as Pillow

from framework import TrainingPlan
from framework.config.composition import compose
from framework.config.validation import check_options, validate
from framework.errors import UserError
from framework.gradients.registered import make_estimator
from framework.media import Image, Text, Video
from framework.randomness import seed_torch
from plugins.sketching.images.photo import (
    Guide,
    line_drawing,
    photo_of,
    scattered,
    stretched,
)
from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.sketch import Sketch
from plugins.sketching.strokes.drawing import PACE, Drawing, Strokes
from plugins.sketching.svg.reading import parse
from tests.plugins.sketching.agg import render_with_agg

needs_svg_reader = pytest.mark.skipif(find_spec("svgelements") is None, reason="needs svgelements")

STYLES = [
    "sketch", "sketch_etching", "sketch_pencil", "sketch_brush", "sketch_stipple", "sketch_shapes", "sketch_minimal",
    "sketch_papercut", "sketch_oneline", "sketch_hatching",
]  # fmt: skip


def sketch(*, steps: int = 40, **options: Any) -> Sketch:
    """A small sketch at the start of a training of `steps` steps."""
    seed_torch(7)
    small: dict[str, Any] = {"size": 64, "strokes": 60, "respawn_every": 10}
    task = Sketch(**check_options(Sketch, small | options, "task"))
    task.begin(TrainingPlan(seed=0, steps=steps, learning_rate=0.004))
    return task


def strokes_of(task: Sketch) -> Strokes:
    assert isinstance(task.model, Drawing)
    return task.model.strokes


def trained(task: Sketch, steps: int, *, start: int = 0, rate: float = 0.01) -> Sketch:
    estimator = make_estimator("exact")
    # An optimiser without state to resume.
    optimizer = torch.optim.SGD(task.model.parameters(), lr=rate)
    program = task.program(estimator)
    for step in range(start, start + steps):
        task.before_step(step)
        optimizer.zero_grad()
        estimator.backward(program, task.parameters)
        optimizer.step()
    return task


@pytest.mark.one_in(3)
@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_a_valid_configuration_and_comes_nearer_to_the_photograph(style):
    settings = validate(compose([f"experiment={style}"]).config)
    options = settings.task.options | {"size": 72, "strokes": 50}
    task = Sketch(**check_options(Sketch, options, "task"))
    task.begin(TrainingPlan(seed=0, steps=30))
    first = float(task.loss(task.model().detach()))
    optimizer = torch.optim.Adam([p for p in task.parameters.values() if p.requires_grad], 0.01)
    for step in range(30):
        task.before_step(step)
        optimizer.zero_grad()
        task.loss(task.model(**task.render_options())).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(task.loss(task.model())) < first


@needs_svg_reader
def test_what_is_shown_is_a_picture_an_svg_and_two_films():
    task = trained(sketch(), 12)
    with torch.no_grad():
        shown = {(type(m), m.name): m for m in task.show(0)}
    assert set(shown) == {
        (Image, "sketch"),
        (Image, "target_sketch_difference"),
        (Text, "sketch"),
        (Video, "learning"),
        (Video, "drawing"),
    }
    text = shown[Text, "sketch"]
    assert isinstance(text, Text)
    assert text.suffix == ".svg"
    film = shown[Video, "drawing"]
    assert isinstance(film, Video)
    # It starts with white paper.
    assert (film.frames[0] == 255).all()
    with torch.no_grad():
        last = task.model(profile="flat")[0]
    elsewhere = render_with_agg(parse(text.text.encode()))[..., 0] / 255
    assert abs(elsewhere - last.numpy()).mean() < 0.02
    assert abs(film.frames[-1][..., 0] / 255 - last.numpy()).mean() < 0.005


@pytest.mark.parametrize("primitive", ["point", "line", "cubic", "ellipse"])
def test_strokes_stay_on_the_canvas(primitive):
    task = trained(sketch(primitive=primitive, learned=["width", "opacity"]), 15, rate=50.0)
    task.before_step(15)
    height, width = task.model.canvas
    strokes = strokes_of(task)
    assert strokes.control.min() >= 0
    assert strokes.control[..., 0].max() <= width + 1e-3
    assert strokes.control[..., 1].max() <= height + 1e-3
    assert strokes.width.min() >= task.min_width * 0.999


def test_useless_strokes_are_put_where_ink_is_missing(tmp_path):
    photo = numpy.full((64, 64, 3), 255, numpy.uint8)
    # All the ink belongs on the right.
    photo[8:56, 36:60] = 0
    Pillow.fromarray(photo).save(tmp_path / "half.png")
    task = sketch(input=str(tmp_path / "half.png"), strokes=40, learned=["opacity"])
    with torch.no_grad():
        # Useless on the left.
        task.model.places[:20] = torch.tensor([[[0.1, 0.2], [0.3, 0.2]]])
        task.model.opacities[:20] = -1.0
    task.respawn(torch.Generator().manual_seed(0))
    middles = strokes_of(task).control[:20].mean(1)[:, 0]
    assert task.strokes_moved >= 20
    assert (middles > 30).float().mean() > 0.9


def test_faint_strokes_are_left_out_at_the_end():
    task = sketch(learned=["opacity"])
    with torch.no_grad():
        task.model.opacities[:5] = -1.0
        metrics = task.evaluate(0)
    assert metrics["strokes"] == 55
    assert metrics["pen_up_after"] <= metrics["pen_up_before"]


def test_a_resumed_sketch_goes_on_exactly():
    whole = trained(sketch(), 24)
    half = trained(sketch(), 13)
    other = sketch()
    other.model.load_state_dict(half.model.state_dict())
    other.load_state_dict(half.state_dict())
    trained(other, 11, start=13)
    assert torch.equal(whole.model.places, other.model.places)
    assert len(whole.frames) == len(other.frames)
    assert whole.strokes_moved == other.strokes_moved


@needs_svg_reader
def test_an_svg_can_be_refined(tmp_path):
    task = trained(sketch(), 5)
    with torch.no_grad():
        text = next(m for m in task.show(0) if isinstance(m, Text))
    path = text.save(tmp_path)
    again = sketch(start_svg=str(path))
    cubics = strokes_of(again).control
    assert len(cubics) == 60
    lines = strokes_of(task).control.detach()
    either = torch.cat([lines, lines.flip(1)]).flatten(1)
    apart = (cubics.detach()[:, [0, 3]].flatten(1)[:, None] - either).abs().amax(2).amin(1)
    # An SVG has two decimals.
    assert apart.max() < 0.01


def test_no_strokes_leave_white_paper_and_everything_works():
    task = sketch(strokes=0)
    with torch.no_grad():
        metrics = task.evaluate(0)
        shown = list(task.show(0))
    assert metrics["strokes"] == 0
    assert shown


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (300, 2)])
def test_the_smallest_photographs_are_sketched(size, tmp_path):
    Pillow.new("L", size, 90).save(tmp_path / "small.png")
    task = trained(sketch(input=str(tmp_path / "small.png"), strokes=5), 3)
    assert torch.isfinite(task.model.places).all()
    with torch.no_grad():
        assert list(task.show(0))


def bad_files(folder: Path) -> dict[str, Path]:
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    good = folder / "good.png"
    Pillow.new("RGB", (50, 50)).save(good)
    (folder / "cut.png").write_bytes(good.read_bytes()[:60])
    Pillow.new("1", (20_000, 6_000)).save(folder / "huge.png")
    return {name: folder / name for name in ("empty.jpg", "text.png", "cut.png", "huge.png", "none.png")}  # fmt: skip


def test_a_photograph_of_too_many_pixels_is_refused_with_both_numbers(tmp_path):
    Pillow.new("1", (10_000, 6_001)).save(tmp_path / "a.png")
    said = "10000 x 6001 pixels, more than 60,000,000"
    with pytest.raises(UserError, match=f"a.png': {said}"):
        photo_of(tmp_path / "a.png", 64)
    with pytest.raises(UserError, match=f"image: {said}"):
        photo_of(Pillow.new("1", (10_000, 6_001)), 64)


def test_bad_pictures_are_refused_in_one_line(tmp_path):
    for path in bad_files(tmp_path).values():
        with pytest.raises(UserError) as mistake:
            photo_of(path, 64)
        assert str(path) in str(mistake.value)
        assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": {"pyramidd": 1.0}}, "unknown loss 'pyramidd'"),
        ({"losses": {"blurred": {"sigm": 1.0}}}, "did you mean 'sigma'?"),
        ({"losses": {"squared": -1.0}}, "task.losses.squared = -1.0: expected a weight"),
        ({"losses": {"squared": None}}, "task.losses names no loss"),
        ({"paper": [1.0, 2.0, 0.0]}, "task.paper.1 = 2.0"),
        ({"primitive": "lines"}, "task.primitive = 'lines'"),
        ({"start_svg": "nowhere.svg"}, "nowhere.svg: no such SVG"),
        ({"pens": [[0.0, 0.0, 0.0]]}, "task.pens needs task.coloured=true"),
        ({"palette": 3, "coloured": True}, "task.palette needs learned colours"),
        ({"continuous": True, "closed": True}, "task.continuous is one open line"),
        ({"continuous": True, "strokes": 1}, "task.strokes = 1: one line has 2 to 20,000 points"),
        ({"mask": "nowhere.png"}, "nowhere.png"),
        (
            {"start_svg": "a.svg", "pens": [[0.0] * 3], "coloured": True},
            "no effect on the shapes of task.start_svg",
        ),
        ({"bend_cost": 0.1}, "task.bend_cost = 0.1 needs strokes of three points"),
        (
            {"closed": True},
            "task.closed=true is for polylines and Catmull-Rom curves, not task.primitive=line",
        ),
        ({"filled": True}, "task.filled=true needs strokes of three points or more"),
        ({"taper": 0.5, "primitive": "point"}, "task.taper = 0.5 is for open strokes"),
        ({"width": 0.1}, "task.width = 0.1: expected task.min_width to task.max_width, 0.3 to 20"),
        (
            {"min_width": 3.0, "max_width": 2.0},
            "task.min_width = 3 is more than task.max_width = 2",
        ),
    ],
)
def test_mistakes_in_the_configuration_are_refused(options, message):
    with pytest.raises(UserError) as mistake:
        sketch(**options)
    assert message in str(mistake.value)


def test_the_photograph_keeps_its_proportions_and_stands_upright(tmp_path):
    photo = Pillow.new("RGB", (80, 40), "white")
    photo.paste((255, 0, 0), (0, 0, 40, 40))
    exif = Pillow.Exif()
    # Turned: the first row is the right side.
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    loaded = photo_of(tmp_path / "turned.jpg", 40)
    assert loaded.shape == (3, 40, 20)
    # Red above.
    assert loaded[1, :16].mean() < 0.1
    assert loaded[1, 24:].mean() > 0.9


def test_strokes_follow_edges():
    lightness = torch.ones(60, 60)
    lightness[:, 30:] = 0
    guide = Guide.of(lightness)
    # Along an upright edge.
    assert guide.direction[30, 30].cos().abs() < 0.01
    assert guide.edges[30, 28:32].max() > 0.9
    assert guide.edges[30, 5] < 0.01


def test_scattered_places_follow_their_density():
    density = torch.zeros(10, 10)
    density[2, 3], density[7, 8] = 1.0, 3.0
    places = scattered(density, 4000, torch.Generator().manual_seed(0)).floor()
    first = (places == torch.tensor([3.0, 2.0])).all(1).float().mean()
    second = (places == torch.tensor([8.0, 7.0])).all(1).float().mean()
    assert first + second == 1
    assert abs(float(first) - 0.25) / (0.25 * 0.75 / 4000) ** 0.5 < 4


def test_contrast_is_stretched_and_lines_are_dark():
    flat = torch.full((8, 8), 0.4)
    assert torch.equal(stretched(flat), flat)
    ramp = torch.linspace(0.3, 0.6, 100).reshape(10, 10)
    assert stretched(ramp).min() == 0
    assert stretched(ramp).max() == 1
    paper = torch.ones(40, 40)
    paper[:, 20] = 0.2
    drawn = line_drawing(paper, 1.0)
    assert drawn[20, 20] < 0.5
    assert drawn[20, 5] > 0.95


@pytest.mark.parametrize("radius", [0.2, 0.45, 0.8, 3.0])
def test_dots_of_the_flat_pen_leave_the_ink_of_their_discs(radius):
    task = sketch(primitive="point", strokes=1, size=64)
    found = []
    with torch.no_grad():
        task.model.widths[:] = math.log(radius / (PEN_WIDTH / 2)) / PACE
        task.model.opacities[:] = 8 / PACE
        for x, y in product(torch.arange(5) / 5, repeat=2):
            task.model.places[:] = torch.tensor([20 + x, 30 + y]) / 64
            found.append(float((1 - task.model(profile="flat")).sum()) / (math.pi * radius**2))
    assert abs(sum(found) / 25 - 1) < 0.01
    worst = max(abs(share - 1) for share in found)
    # A fraction of the ink, or of a pixel.
    assert worst < 0.03 or worst * math.pi * radius**2 < 0.03


@needs_svg_reader
@pytest.mark.parametrize("primitive", ["point", "line", "catmull_rom"])
def test_the_svg_of_any_ink_and_paper_is_the_raster(primitive):
    tones: dict[str, Any] = {"paper": [0.9, 0.8, 0.7], "ink": [0.3, 0.1, 0.2]}
    task = sketch(primitive=primitive, width=0.8, opacity=0.6, **tones)
    with torch.no_grad():
        text = next(m for m in task.show(0) if isinstance(m, Text))
        here = task.model(profile="flat").permute(1, 2, 0).numpy()
    assert abs(render_with_agg(parse(text.text.encode())) / 255 - here).mean() < 0.02


def test_every_picture_of_a_folder_is_sketched_in_the_runs_style(tmp_path, capsys):
    task = sketch(strokes=30, steps=16, output_size=200, primitive="cubic", size=48)
    for name, box in (("left", (0, 0, 20, 60)), ("right", (40, 0, 60, 60))):
        photo = Pillow.new("L", (60, 60), "white")
        photo.paste(0, box)
        photo.save(tmp_path / f"{name}.png")
    (tmp_path / "bad.jpg").write_bytes(b"")
    before = task.model.places.detach().clone()
    with torch.no_grad():
        found = {(m.name, type(m)): m for m in task.predict(tmp_path, 0)}
        again = {(m.name, type(m)): m for m in task.predict(tmp_path, 0)}
    names = {"sketch", "target_sketch_difference", "learning", "drawing"}
    assert {n for n, _ in found} == {f"{p}/{n}" for p in ("left", "right") for n in names}
    dark = {}
    for name in ("left", "right"):
        picture = found[f"{name}/sketch", Image]
        assert isinstance(picture, Image)
        assert picture.pixels.shape == (200, 200, 3)
        assert (picture.pixels == again[f"{name}/sketch", Image].pixels).all()  # type: ignore[union-attr]
        ink = 255.0 - picture.pixels[..., 0]
        dark[name] = float(ink[:, :100].sum() / ink.sum())
    assert dark["left"] > 0.9
    assert dark["right"] < 0.1
    # The run's own drawing is unchanged.
    assert torch.equal(task.model.places, before)
    written = capsys.readouterr().err
    assert "left (2 of 3): step 16/16" in written or "left (1 of 3): step 16/16" in written
    assert written.count("bad.jpg': an empty file; skipped") == 2


def test_a_folder_without_readable_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no pictures in this folder"):
        list(sketch().predict(tmp_path, 0))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no picture")
    with pytest.raises(UserError, match=r"none of the 2 pictures can be read"):
        list(sketch().predict(tmp_path, 0))


def test_the_input_of_a_run_is_the_photograph(tmp_path):
    settings = validate(compose(["experiment=sketch", "input=my photo.jpg"]).config)
    assert settings.task.options["input"] == "my photo.jpg"
    inner = validate(compose(["experiment=sketch_stochastic", "input=a.jpg"]).config)
    assert inner.task.options["sketch"]["input"] == "a.jpg"


def test_a_picture_is_drawn_from_python_in_any_form(tmp_path):
    task = sketch(strokes=30, size=48, output_size=100)
    before = task.model.places.detach().clone()
    photo = Pillow.new("RGB", (60, 40), "white")
    photo.paste((0, 0, 0), (0, 0, 20, 40))
    photo.save(tmp_path / "left.png")
    drawings = [
        task.draw(image, steps=12, seed=3)
        for image in (
            tmp_path / "left.png",
            str(tmp_path / "left.png"),
            photo,
            numpy.asarray(photo),
        )
    ]
    assert all(torch.equal(d.model.places, drawings[0].model.places) for d in drawings)
    sketched = drawings[0]
    assert sketched.model.canvas == (32, 48)
    assert sketched.pixels().shape == (67, 100, 3)
    assert sketched.svg().startswith("<svg")
    dark = 255.0 - sketched.pixels()[..., 0]
    assert dark[:, :50].sum() > 0.9 * dark.sum()
    with torch.no_grad():
        assert sketched.evaluate(0)["gain"] > 0.15
    assert torch.equal(task.model.places, before)
    assert len(task.frames) == 0


def test_drawing_a_picture_leaves_the_callers_randomness_and_threads():
    task = sketch(strokes=5, size=16)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    task.draw(Pillow.new("L", (16, 16), 90), steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "image", [numpy.full((4, 4), 300.5), numpy.zeros((4, 4, 2), numpy.uint8), None]
)
def test_something_else_than_a_picture_is_not_drawn(image):
    with pytest.raises(UserError, match=r"image: .* expected"):
        sketch(strokes=2, size=8).draw(image)


def test_photographs_of_16_bits_and_of_floats_keep_their_tones(tmp_path):
    tones = numpy.linspace(0, 1, 64 * 64).reshape(64, 64)
    eight = photo_of((255 * tones).round().astype(numpy.uint8), 64)
    deep, floats = tmp_path / "deep.png", tmp_path / "floats.tiff"
    Pillow.fromarray((65535 * tones).round().astype(numpy.uint16)).save(deep)
    Pillow.fromarray(tones.astype(numpy.float32), "F").save(floats)
    for path in (deep, floats):
        assert abs(photo_of(path, 64) - eight).max() < 1.5 / 255


def test_the_plan_of_the_training_survives_in_a_checkpoint():
    task = sketch(steps=23)
    again = sketch()
    again.load_state_dict(task.state_dict())
    assert (again.plan.steps, again.plan.learning_rate) == (23, 0.004)


def test_losses_follow_the_drawing_to_its_device():
    task = sketch(strokes=3, size=16)
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    task.model.to("cuda")
    assert float(task.loss(task.model())) == pytest.approx(task.start_loss, rel=1e-3)


@pytest.mark.parametrize(
    ("task", "old", "new"),
    [
        ("sketch", "thinnest", "min_width"),
        ("sketch", "widened_until", "widening_until"),
        ("stochastic_sketch", "sketch.controls", "sketch.control_points"),
        ("sketch_autoencoder", "most", "max_images"),
    ],
)
def test_an_option_under_an_earlier_name_is_refused_with_its_name_now(task, old, new):
    with pytest.raises(UserError) as mistake:
        validate(compose([f"task={task}", f"task.{old}=1"]).config)
    assert str(mistake.value) == f"unknown key 'task.{old}'; it is called 'task.{new}' now"


def test_strokes_that_respawn_are_named_to_the_optimiser():
    task = sketch(learned=["opacity"])
    assert task.restarted_rows() == {}
    with torch.no_grad():
        task.model.opacities[:5] = -1.0
    task.before_step(10)
    rows = task.restarted_rows()
    assert set(rows) == set(task.parameters)
    assert set(range(5)) <= set(rows["places"].tolist())
    task.before_step(11)
    assert task.restarted_rows() == {}


def test_a_drawing_ends_in_the_colours_of_its_palette():
    paint: dict[str, Any] = {"filled": True, "coloured": True, "composition": "over"}
    task = sketch(primitive="ellipse", palette=3, learned=["colour"], **paint)
    trained(task, 40)
    task.prune()
    assert len(strokes_of(task).colour.detach().round(decimals=3).unique(dim=0)) <= 3


def test_a_masked_sketch_leaves_the_ground_white_and_draws_no_other_photograph(tmp_path):
    photo = numpy.full((64, 64, 3), 90, numpy.uint8)
    mask = numpy.zeros((64, 64), numpy.uint8)
    mask[:, :32] = 255
    Pillow.fromarray(photo).save(tmp_path / "photo.png")
    Pillow.fromarray(mask).save(tmp_path / "mask.png")
    task = sketch(input=str(tmp_path / "photo.png"), mask=str(tmp_path / "mask.png"))
    assert (task.loss.target[0, :, 32:] == 1).all()
    assert (strokes_of(task).control[:, :, 0].mean(1) < 33).all()
    with pytest.raises(UserError, match=r"is the mask of one photograph"):
        task.draw(tmp_path / "photo.png")
