"""Matching: which box belongs to which object, as in COCO's evaluation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.detection.evaluation.matching import Targets, class_iou, matched_iou, targets_of
from plugins.detection.sample import Batch, Sample, collate


def batch(image_index, labels, images=3):
    count = len(image_index)
    boxes = torch.arange(4.0 * count).reshape(count, 4)
    return Batch(
        torch.zeros(images, 3, 8, 8).byte(),
        boxes,
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(image_index, dtype=torch.int64),
    )


def test_objects_are_put_with_their_images_whatever_their_order():
    known = batch([2, 0, 2], [5, 6, 7])
    targets = targets_of(known)
    assert targets.labels.tolist() == [[6, -1], [-1, -1], [5, 7]]
    assert torch.equal(targets.boxes[2], known.boxes[[0, 2]])
    assert torch.equal(targets.boxes[0, 0], known.boxes[1])


def test_a_batch_without_objects_has_none():
    targets = targets_of(batch([], []))
    assert targets.boxes.shape == (3, 0, 4)
    found = matched_iou(torch.ones(2, 3, 4), torch.zeros(3, 4, 0), 0.5)
    assert found.shape == (2, 3, 4)
    assert found.sum() == 0


def test_boxes_of_another_class_have_no_iou():
    box = torch.tensor([[[0.0, 0.0, 4.0, 4.0]]])
    targets = Targets(box, torch.tensor([[2]]))
    assert class_iou(box, torch.tensor([[2]]), targets).item() == pytest.approx(1)
    assert class_iou(box, torch.tensor([[1]]), targets).item() == 0


def test_the_second_box_of_an_object_matches_none_and_a_box_outside_the_set_takes_nothing():
    agreed = torch.tensor([[[0.6, 0.0], [0.9, 0.0], [0.55, 0.7]]])  # [1, 3 boxes, 2 objects]
    kept = torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, 1.0, 1.0]]])
    found = matched_iou(kept, agreed, 0.5)
    torch.testing.assert_close(found, torch.tensor([[[0.6, 0.0, 0.7]], [[0.0, 0.9, 0.7]]]))


def test_a_box_takes_the_object_of_the_highest_iou_if_it_reaches_the_threshold():
    agreed = torch.tensor([[[0.5, 0.8], [0.5, 0.8], [0.49, 0.8]]])
    found = matched_iou(torch.ones(1, 3), agreed, 0.5)
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.5, 0.0]]))


def test_the_gradient_goes_to_the_matched_iou_only():
    agreed = torch.tensor([[[0.6, 0.7], [0.9, 0.8]]], requires_grad=True)
    matched_iou(torch.ones(1, 2), agreed, 0.5).sum().backward()
    assert agreed.grad is not None
    assert agreed.grad.tolist() == [[[0, 1], [1, 0]]]


def by_hand(kept, agreed, least):
    """The same with lists."""
    free = set(range(len(agreed[0])))
    found = []
    for there, row in zip(kept, agreed, strict=True):
        best = max(free, key=lambda m: (row[m], -m), default=-1)
        hit = bool(there) and best >= 0 and row[best] >= least
        found.append(row[best] if hit else 0.0)
        if hit:
            free.remove(best)
    return found


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_many_sets_at_once_are_matched_as_one_by_one(boxes, objects, seed):
    draw = torch.Generator().manual_seed(seed)
    agreed = torch.rand(2, boxes, objects, generator=draw, dtype=torch.float64)
    kept = (torch.rand(3, 2, boxes, generator=draw) < 0.6).double()
    found = matched_iou(kept, agreed, 0.4)
    for n in range(3):
        for b in range(2):
            expected = by_hand(kept[n, b].tolist(), agreed[b].tolist(), 0.4)
            assert found[n, b].tolist() == pytest.approx(expected)


def test_a_batchs_crowds_come_along_and_are_no_objects():
    none = torch.zeros(2)
    samples = [
        Sample(
            torch.zeros(3, 8, 8).byte(),
            torch.tensor([[0.0, 0, 4, 4], [k, 1, 5, 5]]),
            torch.tensor([k, 3]),
            torch.tensor([False, k == 1]),
            none,
            k,
            (8, 8),
        )
        for k in range(3)
    ]
    targets = targets_of(collate(samples, 8))
    assert targets.labels.tolist() == [[0, 3], [1, -1], [2, 3]]
    assert targets.crowds is not None
    assert targets.crowds.labels.tolist() == [[-1], [3], [-1]]
    assert targets.crowds.boxes[1].tolist() == [[1, 1, 5, 5]]
    assert targets_of(collate(samples[:1], 8)).crowds is None
