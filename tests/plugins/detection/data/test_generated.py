"""The generated images: the same everywhere, boxes where things are seen, and drawn fast; prediction's small parts."""

import time
import weakref

import numpy
import pytest
import torch

from framework import UserError
from plugins.detection import prediction
from plugins.detection.data.generated import MAX_OBJECTS, SHAPES, VISIBLE, Generated, digit, polygon
from plugins.detection.data.splits import Data, open_data
from plugins.detection.evaluation.boxes_on_images import draw_boxes, grid, side_by_side
from plugins.detection.sample import Detections, pad_and_stack


def test_an_image_is_the_same_whatever_was_made_before():
    one, other = (Generated("train", 50, 96) for _ in range(2))
    for index in (7, 3, 40):
        other.sample(index)
    for index in (3, 7):
        assert torch.equal(one.sample(index).image, other.sample(index).image)
        assert torch.equal(one.sample(index).boxes, other.sample(index).boxes)


def test_splits_share_no_image():
    seen = {
        Generated(split, 20, 32).sample(index).image.numpy().tobytes()
        for split in ("train", "validation", "test")
        for index in range(20)
    }
    assert len(seen) == 60


def test_samples_keep_the_convention(samples):
    counts = []
    for sample in samples:
        n = len(sample.boxes)
        counts.append(n)
        assert sample.image.shape == (3, 128, 128)
        assert sample.image.dtype == torch.uint8
        assert sample.boxes.shape == (n, 4)
        assert sample.labels.dtype == torch.int64
        assert ((sample.labels >= 0) & (sample.labels < len(SHAPES))).all()
        width, height = (sample.boxes[:, 2:] - sample.boxes[:, :2]).unbind(1)
        assert (sample.area <= width * height).all()
        assert (sample.area > 0).all()
        assert ((sample.boxes >= 0) & (sample.boxes <= 128)).all()
    assert min(counts) >= 1
    assert max(counts) <= MAX_OBJECTS
    assert len(set(counts)) > 6


def test_only_so_many_images_are_kept_in_memory():
    """An image of 64 pixels takes 12,288 bytes: 8 fit into 100 kB; the others are drawn again, and are the same."""
    source = open_data(Data(size=64, train=20, cache_megabytes=0.1)).train
    images = [weakref.ref(source.sample(i).image) for i in range(20)]
    assert [image() is not None for image in images] == [True] * 8 + [False] * 12
    assert torch.equal(source.sample(19).image, Generated("train", 20, 64).sample(19).image)


@pytest.fixture(scope="module")
def samples():
    source = Generated("train", 150, 128)
    return [source.sample(i) for i in range(150)]


def test_every_class_and_size_occurs(samples):
    labels = torch.cat([s.labels for s in samples])
    assert (labels.bincount(minlength=len(SHAPES)) > 0.08 * len(labels)).all()
    boxes = torch.cat([s.boxes for s in samples])
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    assert side.min() < 16
    assert side.max() > 45


def test_a_hidden_object_stays_visible_enough(samples):
    """Of a disc alone the share of its box is pi / 4; no circle shows less than the visible share of that."""
    circle = SHAPES.index("circle")
    for sample in samples:
        for box, area, label in zip(sample.boxes, sample.area, sample.labels, strict=True):
            if int(label) == circle and (box[2:] - box[:2]).min() > 8:
                filled = float(area / (box[2:] - box[:2]).prod())
                assert filled > 0.9 * VISIBLE * numpy.pi / 4


def test_digits_and_shapes_have_ink():
    for number in range(10):
        assert numpy.asarray(digit(number, 48)).mean() > 30
    for shape in SHAPES[:-1]:
        ink = numpy.asarray(polygon(shape, 80, 1.0, 0.3))
        assert 0.15 < (ink > 128).mean() < 0.95, shape


@pytest.mark.slow
def test_an_image_is_drawn_within_ten_milliseconds():
    source = Generated("test", 60, 128)
    source.sample(0)
    began = time.process_time()
    for index in range(1, 60):
        source.sample(index)
    assert (time.process_time() - began) / 59 < 0.010


def test_pictures_with_boxes_are_large_enough_and_show_them():
    sample = Generated("test", 1, 128).sample(0)
    plain = draw_boxes(sample.image, torch.zeros(0, 4), torch.zeros(0), SHAPES)
    drawn = draw_boxes(
        sample.image, sample.boxes, sample.labels, SHAPES, torch.rand(len(sample.boxes))
    )
    assert plain.shape == drawn.shape == (384, 384, 3)
    assert (plain != drawn).any()
    assert side_by_side(plain, drawn).shape == (384, 772, 3)
    assert grid([plain] * 5, 3).shape == (772, 1160, 3)


def test_images_of_several_sizes_share_a_canvas():
    images = [torch.ones(3, 20, 50).byte(), torch.ones(3, 40, 10).byte()]
    assert pad_and_stack(images, 32).shape == (2, 3, 64, 64)


def test_a_source_without_images_is_refused(tmp_path):
    def find(frames):
        return [
            Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long()) for _ in frames
        ]

    with pytest.raises(UserError, match="which images"):
        next(prediction.predict(None, find, ["a"], [1]))
    with pytest.raises(UserError, match="contains no image"):
        list(prediction.predict(tmp_path, find, ["a"], [1]))
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(UserError, match="no image in it can be read"):
        list(prediction.predict(tmp_path, find, ["a"], [1]))


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        (tmp_path / name).write_bytes(b"")
    assert [name for _, name in prediction.files(tmp_path)] == ["a.jpg", "a.png", "b"]
