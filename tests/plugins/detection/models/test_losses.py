"""Losses in closed form, and where they are least."""

import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from plugins.detection.models import losses

HALF = math.log(2)  # the surprise of a fair coin


def test_focal_loss_is_torchvisions():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(200, generator=draw)
    targets = (torch.rand(200, generator=draw) < 0.3).float()
    torch.testing.assert_close(
        losses.focal(logits, targets), sigmoid_focal_loss(logits, targets, 0.25, 2.0)
    )


def test_the_heatmaps_loss_at_even_odds_is_known():
    heat = torch.tensor([1.0, 0.5, 0.0])
    found = losses.peak_focal(torch.zeros(3), heat)
    torch.testing.assert_close(found, torch.tensor([HALF / 4, HALF / 4 / 16, HALF / 4]))


def test_the_heatmaps_loss_is_finite_at_the_ends():
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0]).requires_grad_()
    found = losses.peak_focal(logits, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(found, torch.tensor([200.0, 0.0, 0.0, 200.0]))
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("quality", [0.1, 0.5, 0.9])
def test_the_quality_loss_is_least_at_the_quality(quality):
    scores = torch.linspace(0.01, 0.99, 99)
    found = losses.quality_focal(scores.logit(), torch.full((99,), quality))
    assert scores[found.argmin()].item() == pytest.approx(quality, abs=1e-6)
    assert found.min().item() == pytest.approx(0, abs=1e-9)


def test_the_quality_loss_at_a_known_place():
    found = losses.quality_focal(torch.zeros(()), torch.tensor(1.0))
    assert found.item() == pytest.approx(HALF / 4)


def test_a_distance_between_two_bins_is_shared_by_nearness():
    logits = torch.log(torch.tensor([0.1, 0.2, 0.6, 0.1]))
    found = losses.distribution_focal(logits, torch.tensor(1.25))
    assert found.item() == pytest.approx(-(0.75 * math.log(0.2) + 0.25 * math.log(0.6)))
    assert losses.expected_distance(logits).item() == pytest.approx(0.2 + 1.2 + 0.3)


def test_the_distance_loss_is_least_where_the_mean_is_the_distance():
    logits = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    target = torch.tensor(4.7, dtype=torch.float64)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = losses.distribution_focal(logits, target)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert losses.expected_distance(logits).item() == pytest.approx(4.7, abs=0.02)


@pytest.mark.parametrize("value", [0.0, 3.0, 9.0, -1.0])
def test_distances_at_and_beyond_the_ends_have_a_loss(value):
    found = losses.distribution_focal(torch.zeros(4), torch.tensor(value))
    assert found.item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("kind", list(losses.IOU_TYPES))
def test_a_right_box_has_no_loss(kind):
    box = torch.tensor([[3.0, 4.0, 20.0, 9.0]])
    assert losses.box_loss(kind, box, box).item() == pytest.approx(0, abs=1e-6)
