"""Boxes: formats there and back, and agreements in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import ops

from plugins.detection import boxes

corner = st.floats(-500, 500, width=32)
side = st.floats(0.125, 400, width=32)


def box(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def random_boxes(count: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    low = 100 * torch.rand(count, 2, generator=draw, dtype=torch.float64)
    return torch.cat([low, low + 1 + 80 * torch.rand(count, 2, generator=draw)], 1)


@given(corner, corner, side, side)
def test_a_box_comes_back_from_every_format(x, y, width, height):
    given = box(x, y, x + width, y + height)
    for there, back in (
        (boxes.to_corner_and_size, boxes.from_corner_and_size),
        (boxes.to_centre_and_size, boxes.from_centre_and_size),
    ):
        torch.testing.assert_close(back(there(given)), given, atol=1e-9, rtol=1e-9)


def test_formats_say_what_they_say():
    given = box(10, 20, 40, 60)
    assert boxes.to_corner_and_size(given).tolist() == [10, 20, 30, 40]
    assert boxes.to_centre_and_size(given).tolist() == [25, 40, 30, 40]


def test_agreements_of_two_squares_that_share_a_quarter_are_known():
    a, b = box(0, 0, 2, 2), box(1, 1, 3, 3)
    assert boxes.iou(a, b).item() == pytest.approx(1 / 7)
    assert boxes.giou(a, b).item() == pytest.approx(1 / 7 - 2 / 9)
    assert boxes.diou(a, b).item() == pytest.approx(1 / 7 - 2 / 18)
    assert boxes.ciou(a, b).item() == pytest.approx(1 / 7 - 2 / 18)  # of one shape


def test_the_complete_agreement_of_concentric_boxes_is_known():
    a, b = box(-2, -1, 2, 1), box(-1, -2, 1, 2)
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(0.5)) ** 2
    iou = 4 / 12
    assert boxes.ciou(a, b).item() == pytest.approx(iou - v * v / (1 - iou + v))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("giou", ops.generalized_box_iou),
        ("diou", ops.distance_box_iou),
        ("ciou", ops.complete_box_iou),
    ],
)
def test_agreements_are_torchvisions(name, theirs):
    a, b = random_boxes(50, 0), random_boxes(60, 1)
    ours = getattr(boxes, name)(a.unsqueeze(1), b.unsqueeze(0))
    torch.testing.assert_close(ours, theirs(a, b), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(boxes.pairwise_iou(a, b), ops.box_iou(a, b))


@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_boxes_that_do_not_touch_are_pulled_together(name):
    a, b = box(0, 0, 10, 10).requires_grad_(), box(30, 0, 40, 10)
    (gradient,) = torch.autograd.grad(getattr(boxes, name)(a, b), a)
    assert gradient[0] + gradient[2] > 0  # to the right


def test_empty_boxes_agree_with_nothing_and_nothing_is_not_a_number():
    empty = box(5, 5, 5, 5).requires_grad_()
    for name in ("iou", "giou", "diou", "ciou"):
        found = getattr(boxes, name)(empty, box(5, 5, 5, 5))
        (gradient,) = torch.autograd.grad(found, empty)
        assert found.isfinite()
        assert gradient.isfinite().all()
