"""Relaxed average precision: exact without a gradient, and a slope that points the right way."""

import pytest
import torch

from framework.relaxed import smoothing
from plugins.detection.evaluation.matching import Targets
from plugins.detection.models.detector import Candidates
from plugins.detection.objectives.relaxed_precision import (
    RelaxedPrecision,
    average_precision,
    mean_average_precision,
)


def test_the_exact_number_is_the_textbooks():
    scores = torch.tensor([0.3, 0.9, 0.5, 0.7])  # in order: 0.9 hit, 0.7 miss, 0.5 hit, 0.3 miss
    hits = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert average_precision(scores, hits, 3, 0.0).item() == pytest.approx((1 + 2 / 3) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_exact_number_is_that_of_going_down_the_list(seed):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(40, generator=draw)
    hits = (torch.rand(40, generator=draw) < 0.4).float()
    total, right = 0.0, 0
    for seen, i in enumerate(scores.argsort(descending=True).tolist(), 1):
        if hits[i]:
            right += 1
            total += right / seen
    ours = average_precision(scores, hits, hits.sum(), 0.0).item()
    assert ours == pytest.approx(total / right, abs=1e-6)


def test_the_relaxed_number_becomes_the_exact_one_as_its_width_goes_to_nothing():
    scores = torch.tensor([0.3, 0.9, 0.5, 0.7], dtype=torch.float64, requires_grad=True)
    hits = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    exact = average_precision(scores.detach(), hits, 2, 0.1).item()
    errors = [
        abs(average_precision(scores, hits, 2, width).item() - exact) for width in (0.3, 0.1, 0.01)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


def test_two_boxes_in_closed_form():
    """A hit behind a miss: AP = 1 / (1 + s(d / w)), of slope -s(1 - s) / w (1 + s)^2 in d."""
    scores = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)  # miss, hit
    found = average_precision(scores, torch.tensor([0.0, 1.0], dtype=torch.float64), 1, 0.5)
    s = torch.sigmoid(torch.tensor(2.0, dtype=torch.float64))
    assert found.item() == pytest.approx((1 / (1 + s)).item())
    found.backward()
    slope = (-s * (1 - s) / 0.5 / (1 + s) ** 2).item()
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([slope, -slope])


def one_image(boxes, logits, labels):
    return Candidates(boxes.unsqueeze(0), logits.sigmoid().unsqueeze(0), labels.unsqueeze(0))


BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 66], [70, 0, 80, 9]])
LABELS = torch.tensor([0, 0, 1, 1])
TARGETS = Targets(torch.tensor([[[0.0, 0, 10, 10], [50, 50, 60, 60]]]), torch.tensor([[0, 1]]))


def test_classes_and_thresholds_are_averaged():
    """Class 0: the hit is second, AP 1/2. Class 1: an IoU of 10/16, found at 0.5 and not at 0.75."""
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    options = RelaxedPrecision(iou_thresholds=[0.5, 0.75])
    found = mean_average_precision(one_image(BOXES, logits, LABELS), TARGETS, options)
    assert found.item() == pytest.approx((0.5 + (1 + 0) / 2) / 2)


def test_its_slope_raises_hits_lowers_misses_and_mends_boxes():
    boxes = BOXES.clone().requires_grad_()
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0], requires_grad=True)
    options = RelaxedPrecision(iou_thresholds=[0.5, 0.65])
    with smoothing() as noted:
        found = mean_average_precision(one_image(boxes, logits, LABELS), TARGETS, options)
    assert noted.used  # so that an estimator reports the hard number
    found.backward()
    assert logits.grad is not None
    assert boxes.grad is not None
    assert logits.grad[0] > 0
    assert logits.grad[1] < 0
    assert boxes.grad[2, 3] < 0  # the box's lower edge is 6 pixels too low


def test_images_without_objects_give_nothing_to_learn():
    logits = torch.zeros(4, requires_grad=True)
    nothing = Targets(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64))
    found = mean_average_precision(one_image(BOXES, logits, LABELS), nothing, RelaxedPrecision())
    found.backward()
    assert found.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_a_box_in_a_crowd_of_its_class_is_left_out():
    boxes = torch.tensor([[[20.0, 20, 30, 30], [0, 0, 10, 10]]])
    candidates = Candidates(boxes, torch.tensor([[0.9, 0.5]]), torch.zeros(1, 2).long())
    targets = Targets(torch.tensor([[[0.0, 0, 10, 10]]]), torch.zeros(1, 1).long())
    crowd = Targets(torch.tensor([[[15.0, 15, 40, 40]]]), torch.zeros(1, 1).long())
    options = RelaxedPrecision(order_width=0, hit_width=0)
    assert mean_average_precision(candidates, targets, options).item() == pytest.approx(0.5)
    known = targets._replace(crowds=crowd)
    assert mean_average_precision(candidates, known, options).item() == pytest.approx(1)
