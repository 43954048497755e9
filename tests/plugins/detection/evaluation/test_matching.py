"""Which box answers for which object, as COCO decides it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.detection.evaluation.matching import Truth, agreement, matched, truth_of
from plugins.detection.sample import Batch, Sample, collate


def batch(owner, labels, images=3):
    count = len(owner)
    boxes = torch.arange(4.0 * count).reshape(count, 4)
    return Batch(
        torch.zeros(images, 3, 8, 8).byte(),
        boxes,
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(owner, dtype=torch.int64),
    )


def test_objects_are_put_with_their_images_whatever_their_order():
    known = batch([2, 0, 2], [5, 6, 7])
    truth = truth_of(known)
    assert truth.labels.tolist() == [[6, -1], [-1, -1], [5, 7]]
    assert torch.equal(truth.boxes[2], known.boxes[[0, 2]])
    assert torch.equal(truth.boxes[0, 0], known.boxes[1])


def test_a_batch_without_objects_has_none():
    truth = truth_of(batch([], []))
    assert truth.boxes.shape == (3, 0, 4)
    found = matched(torch.ones(2, 3, 4), torch.zeros(3, 4, 0), 0.5)
    assert found.shape == (2, 3, 4)
    assert found.sum() == 0


def test_boxes_of_another_class_do_not_agree():
    box = torch.tensor([[[0.0, 0.0, 4.0, 4.0]]])
    truth = Truth(box, torch.tensor([[2]]))
    assert agreement(box, torch.tensor([[2]]), truth).item() == pytest.approx(1)
    assert agreement(box, torch.tensor([[1]]), truth).item() == 0


def test_the_second_box_of_an_object_answers_for_none_and_a_box_that_is_left_out_takes_nothing():
    agreed = torch.tensor([[[0.6, 0.0], [0.9, 0.0], [0.55, 0.7]]])  # [1, 3 boxes, 2 objects]
    kept = torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, 1.0, 1.0]]])
    found = matched(kept, agreed, 0.5)
    torch.testing.assert_close(found, torch.tensor([[[0.6, 0.0, 0.7]], [[0.0, 0.9, 0.7]]]))


def test_a_box_takes_the_object_that_it_agrees_with_most_if_well_enough():
    agreed = torch.tensor([[[0.5, 0.8], [0.5, 0.8], [0.49, 0.8]]])
    found = matched(torch.ones(1, 3), agreed, 0.5)
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.5, 0.0]]))


def test_the_gradient_goes_to_the_matched_agreement_only():
    agreed = torch.tensor([[[0.6, 0.7], [0.9, 0.8]]], requires_grad=True)
    matched(torch.ones(1, 2), agreed, 0.5).sum().backward()
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
    found = matched(kept, agreed, 0.4)
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
    truth = truth_of(collate(samples, 8))
    assert truth.labels.tolist() == [[0, 3], [1, -1], [2, 3]]
    assert truth.crowds is not None
    assert truth.crowds.labels.tolist() == [[-1], [3], [-1]]
    assert truth.crowds.boxes[1].tolist() == [[1, 1, 5, 5]]
    assert truth_of(collate(samples[:1], 8)).crowds is None
