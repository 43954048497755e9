"""Tracks: an object keeps its number while it moves, is hidden for a while or crosses another."""

import torch

from plugins.detection.sample import Detections
from plugins.detection.tracking import Tracker


def found(*boxes: tuple[float, ...], labels: tuple[int, ...] = ()) -> Detections:
    count = len(boxes)
    label = torch.tensor(labels or (0,) * count, dtype=torch.long)
    return Detections(torch.tensor(boxes).view(-1, 4).float(), torch.ones(count), label)


def square(x: float, y: float = 0.0, side: float = 10.0) -> tuple[float, ...]:
    return (x, y, x + side, y + side)


def test_an_object_that_moves_keeps_its_number() -> None:
    tracker = Tracker()
    assert [tracker.numbers(found(square(3 * t), square(100, 3 * t))) for t in range(6)] == [
        [1, 2]
    ] * 6


def test_a_fast_object_is_followed_by_its_speed() -> None:
    """From step to step its boxes hardly overlap; where it should be they do."""
    tracker = Tracker()
    assert tracker.numbers(found(square(0))) == [1]
    assert tracker.numbers(found(square(5))) == [1]
    assert tracker.numbers(found(square(13))) == [1]
    assert tracker.numbers(found(square(22))) == [1]


def test_a_hidden_object_comes_back_with_its_number_and_later_with_another() -> None:
    tracker = Tracker(patience=3)
    for t in range(3):
        tracker.numbers(found(square(2 * t)))
    for _ in range(3):
        assert tracker.numbers(found()) == []
    assert tracker.numbers(found(square(12))) == [1]
    for _ in range(4):
        tracker.numbers(found())
    assert tracker.numbers(found(square(14))) == [2]


def test_objects_of_other_labels_are_others_and_each_track_is_taken_once() -> None:
    tracker = Tracker()
    assert tracker.numbers(found(square(0), square(0), labels=(0, 1))) == [1, 2]
    assert tracker.numbers(found(square(0), square(1), labels=(1, 1))) == [2, 3]
    # The better overlap has the track, whatever the order.
    assert tracker.numbers(found(square(4), square(0), labels=(0, 0))) == [4, 1]


def test_objects_that_cross_keep_their_numbers() -> None:
    tracker = Tracker()
    numbers = [tracker.numbers(found(square(4 * t), square(60 - 4 * t, 4))) for t in range(16)]
    assert numbers == [[1, 2]] * 16
