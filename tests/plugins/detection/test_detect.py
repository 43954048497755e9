"""`task.detect`: every form of an image gives the same boxes, in its own pixels; mistakes are refused in one line."""

import json
import math
import re

import numpy
import pytest
import torch
from PIL import Image
from torch import nn

import framework
from framework import UserError
from framework.media import Text
from framework.photographs import photograph_of
from plugins.detection.sample import Detections
from plugins.detection.task import Detection
from tests.plugins.detection.test_task import QUICK, make


@pytest.fixture(scope="module")
def task() -> Detection:
    """A detector with random weights whose scores and boxes differ from cell to cell."""
    task = make(display_threshold=0.02)
    nn.init.normal_(task.model.score.weight, std=3.0)  # type: ignore[union-attr,arg-type]
    nn.init.normal_(task.model.distance.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    return task


def picture(height: int = 48, width: int = 96) -> numpy.ndarray:
    return numpy.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=numpy.uint8)


def same(one: Detections, other: Detections) -> bool:
    tensors = zip(
        (one.boxes, one.scores, one.labels), (other.boxes, other.scores, other.labels), strict=True
    )
    return one.names == other.names and all(torch.equal(a, b) for a, b in tensors)


def test_all_forms_of_an_image_give_the_same_boxes(task, tmp_path):
    pixels = picture()
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = task.detect(path)
    assert len(expected) > 5
    for form in (
        str(path),
        Image.fromarray(pixels),
        Image.fromarray(pixels).convert("RGBA"),
        pixels,
        pixels[:, ::-1][:, ::-1],
        pixels / 255,
        (pixels / 255).astype(numpy.float32),
        tensor,
        tensor / 255,
    ):
        assert same(task.detect(form), expected), type(form)


def test_grey_arrays_are_grey_images(task):
    grey = picture()[..., 0]
    assert same(task.detect(grey), task.detect(Image.fromarray(grey)))
    assert same(task.detect(grey), task.detect(numpy.stack([grey] * 3, -1)))


def test_boxes_are_in_the_images_own_pixels_best_first_with_names(task):
    found = task.detect(picture(120, 300))
    assert found.boxes.shape == (len(found), 4)
    assert ((found.boxes >= 0) & (found.boxes <= torch.tensor([300, 120, 300, 120]))).all()
    # The model sees 64 x 26 pixels.
    assert found.boxes[:, 2].max() > 150
    assert (found.scores.diff() <= 0).all()
    assert found.names == tuple(task.categories[label] for label in found.labels)
    best = found.above(float(found.scores[2]))
    assert (len(best), best.names) == (3, found.names[:3])


def test_the_threshold_is_the_lowest_score(task):
    pixels = picture()
    everything = task.detect(pixels, threshold=0.0)
    assert (everything.scores >= task.score_threshold).all()
    assert same(task.detect(pixels), everything.above(task.display_threshold))
    middle = float(everything.scores[3])
    for form in (middle, numpy.float32(middle), numpy.float64(middle)):
        assert len(task.detect(pixels, threshold=form)) == 4
    for wrong in (1.5, math.nan, "0.5", torch.tensor(0.5)):
        message = f"threshold = {wrong!r}: expected a score from 0 to 1"
        with pytest.raises(UserError, match=re.escape(message)):
            task.detect(pixels, threshold=wrong)


def test_several_images_give_a_list(task, tmp_path):
    pixels = picture()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mixed = task.detect([tmp_path / "a.png", picture(30, 70), pixels])
    assert same(mixed[0], mixed[2])
    torch.testing.assert_close(mixed[1].boxes, task.detect(picture(30, 70)).boxes)
    batch = torch.from_numpy(numpy.stack([pixels, pixels[::-1].copy()])).permute(0, 3, 1, 2)
    assert [len(one) for one in task.detect(batch)] == [
        len(one) for one in task.detect(list(batch))
    ]
    assert task.detect([]) == task.detect(()) == []
    assert task.detect(batch[:0]) == []


def test_a_photograph_is_turned_as_its_exif_says(task, tmp_path):
    pixels = picture()
    exif = Image.Exif()
    # Turn by 90 degrees to see it.
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = numpy.rot90(pixels, -1).copy()
    with Image.open(tmp_path / "a.png") as image:
        assert same(task.detect(image), task.detect(upright))
    assert same(task.detect(tmp_path / "a.png"), task.detect(upright))


def test_it_is_what_predict_writes(task, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    texts = [m for m in task.predict(tmp_path / "a.png", 0) if isinstance(m, Text)]
    written = json.loads(texts[0].text)["annotations"]
    found = task.detect(tmp_path / "a.png")
    assert [note["score"] for note in written] == found.scores.tolist()
    assert [note["category_id"] - 1 for note in written] == found.labels.tolist()
    assert [note["bbox"][:2] for note in written] == found.boxes[:, :2].tolist()


def test_gradients_random_numbers_and_the_models_mode_are_untouched(task):
    state = torch.get_rng_state()
    task.model.train()
    found = task.detect(picture())
    assert task.model.training
    assert not found.scores.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    task.model.eval()
    assert same(task.detect(picture()), found)
    assert not task.model.training


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("nowhere.png", "image = 'nowhere.png': there is no such file"),
        (__file__, "no image of a known kind"),
        (numpy.zeros((3, 8, 8), numpy.uint8), r"an array of shape \[3, 8, 8\]; expected \[H, W, 3"),
        (numpy.zeros((8, 8, 5), numpy.uint8), r"an array of shape \[8, 8, 5\]"),
        (numpy.zeros((2, 3, 8, 8), numpy.uint8), r"an array of shape \[3, 8, 8\].*number 0 of 2"),
        (numpy.zeros((0, 8, 3), numpy.uint8), r"shape \[0, 8, 3\] holds no pixel"),
        (numpy.full((8, 8), 256), "integers from 256 to 256; expected integers from 0 to 255"),
        (numpy.zeros((8, 8), bool), "values of type bool"),
        (numpy.zeros((8, 8), numpy.uint16), "values of type uint16"),
        (numpy.zeros((8, 8), complex), "values of type complex128"),
        (numpy.full((8, 8), 200.0), "floats from 200 to 200; expected floats from 0 to 1"),
        (numpy.full((8, 8), numpy.nan), "floats from nan to nan"),
        (numpy.array([["a"]]), "values of type <U1"),
        (torch.zeros(8, 8, 3), r"a tensor of shape \[8, 8, 3\]; expected \[3, H, W\]"),
        (torch.zeros(8, 8), r"a tensor of shape \[8, 8\]"),
        (torch.full((3, 8, 8), -1), "integers from -1 to -1"),
        (torch.full((3, 8, 8), -0.5), "floats from -0.5 to -0.5"),
        (torch.zeros(3, 8, 8).to_sparse(), "values of type a sparse, quantised or meta tensor"),
        (torch.zeros(3, 8, 8, device="meta"), "values of type a sparse, quantised or meta tensor"),
        (numpy.ma.masked_equal(numpy.eye(8), 1), "an array with masked pixels"),
        (None, "NoneType; expected a path"),
        ([[1, 2], [3, 4]], "list; expected a path"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_in_one_line(task, wrong, expected):
    with pytest.raises(UserError, match=expected) as error:
        task.detect(wrong)
    assert "\n" not in str(error.value)


def test_floats_keep_their_bytes():
    values = torch.arange(256, dtype=torch.uint8).repeat(3, 1, 1)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(photograph_of(values.to(dtype) / 255), values)
    assert torch.equal(photograph_of(values[0].numpy().astype(numpy.float16) / 255), values)


def test_a_loaded_run_and_a_run_just_trained_detect(tmp_path):
    options = [*QUICK, "trainer.steps=1", "task.display_threshold=0.0"]
    run = framework.train(overrides=options, folder=tmp_path / "run")
    found = run.task.detect(picture())  # type: ignore[attr-defined]
    assert len(found) > 10
    loaded = framework.load(tmp_path / "run", checkpoint="last")
    assert same(loaded.task.detect(picture()), found)  # type: ignore[attr-defined]
