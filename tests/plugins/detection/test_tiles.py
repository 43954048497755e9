"""Tiles: they cover the image, and what lies in one of them is found where it is, once."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from framework import UserError
from plugins.detection.data.splits import Data
from plugins.detection.sample import Detections
from plugins.detection.task import Detection
from plugins.detection.tiles import Tiles, search, starts


@given(st.integers(1, 3000), st.integers(32, 1000), st.floats(0, 0.5))
def test_tiles_cover_an_axis_and_overlap_enough(length: int, side: int, overlap: float) -> None:
    places = starts(length, side, overlap)
    assert places[0] == 0
    assert max(places) + side >= length
    assert places[-1] + side == max(length, side)
    strides = [b - a for a, b in pairwise(places)]
    assert all(0 < stride <= side * (1 - overlap) + 1 for stride in strides)


def test_an_image_no_larger_than_a_tile_is_searched_as_a_whole() -> None:
    assert Tiles(side=64).corners(64, 40) == []
    assert Tiles().corners(4000, 3000) == []
    assert Tiles(side=64, overlap=0.25).corners(64, 100) == [(0, 0), (0, 36)]


def white_boxes(parts: Sequence[Tensor]) -> list[Detections]:
    """The box around what is white in each image, if it is less than half of it."""
    found = []
    for part in parts:
        rows, columns = (torch.where((part[0] > 128).any(axis))[0] for axis in (1, 0))
        seen = len(rows) > 0 and len(rows) < part.shape[1] / 2
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if seen else []
        boxes = torch.tensor(box).float().view(-1, 4)
        # Parts are surer than the whole.
        score = 0.5 + 0.4 * (part.shape[1] < 200)
        count = len(boxes)
        found.append(Detections(boxes, torch.full((count,), score), torch.zeros(count).long()))
    return found


@pytest.mark.parametrize("place", [(0, 0), (40, 90), (70, 55), (170, 280), (60, 60)])
def test_an_object_is_found_once_where_it_is(place: tuple[int, int]) -> None:
    image = torch.zeros(3, 200, 300, dtype=torch.uint8)
    top, left = place
    image[:, top : top + 12, left : left + 10] = 255
    found = search(image, Tiles(side=80, overlap=0.25), white_boxes, 100)
    assert found.boxes.tolist() == [[left, top, left + 10, top + 12]]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_an_object_larger_than_the_overlap_is_found_in_the_whole_image() -> None:
    image = torch.zeros(3, 200, 300, dtype=torch.uint8)
    image[:, 50:120, 60:150] = 255
    found = search(image, Tiles(side=80, overlap=0.25), white_boxes, 100)
    assert found.boxes.tolist() == [[60, 50, 150, 120]]
    assert found.scores.tolist() == pytest.approx([0.5])


def test_small_objects_that_the_whole_image_loses_are_found_by_tiles_in_detect_and_evaluation() -> (
    None
):
    data = Data(size=64, train=4, validation=4, test=4)
    plain, tiled = Detection(data=data), Detection(data=data, tiles=Tiles(side=64))
    tiled.model.load_state_dict(plain.model.state_dict())
    plain.model.eval()
    tiled.model.eval()
    image = torch.randint(0, 256, (3, 100, 200), dtype=torch.uint8)
    whole, parts = (task.detect(image, threshold=0.0) for task in (plain, tiled))
    assert isinstance(whole, Detections)
    assert isinstance(parts, Detections)
    # Untrained: a hundred cells of each; those of tiles are at the image's own scale.
    assert float(parts.boxes[:, 2].max()) > 128
    assert not torch.equal(whole.boxes, parts.boxes[: len(whole)])
    # The generated images are no larger than a tile.
    assert plain.evaluate(0) == tiled.evaluate(0)


def test_a_file_that_searches_one_image_is_not_exported_for_tiles(tmp_path: Path) -> None:
    task = Detection(data=Data(size=64, train=4, validation=4, test=4), tiles=Tiles(side=64))
    with pytest.raises(UserError, match=r"task\.tiles\.side = 64: an exported file searches one"):
        task.export(tmp_path / "a.pt2")
