"""Losses are least at the target, accept any leading axes, and measure what they claim to."""

from __future__ import annotations

import pytest
import torch

from framework.plugin import registry
from plugins.sketching.losses import chamfer, distance_to, dog_pyramid, halved, ssim

NAMES = ["squared", "blurred", "pyramid", "dog_pyramid", "edge", "ssim"]


def picture(channels: int = 1, size: tuple[int, int] = (37, 50), seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(channels, *size, generator=draw)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_loss_is_zero_at_its_target_and_nowhere_else(name, channels):
    target = picture(channels)
    loss = registry().component("sketching.losses", name).load()(target)
    assert abs(float(loss(target))) < 1e-5
    assert float(loss(picture(channels, seed=1))) > 1e-3


@pytest.mark.parametrize("name", [*NAMES, "chamfer"])
def test_several_pictures_are_compared_one_by_one(name):
    loss = registry().component("sketching.losses", name).load()(picture())
    several = torch.stack([picture(seed=s) for s in range(4)]).reshape(2, 2, 1, 37, 50)
    apart = torch.stack([loss(p) for p in several.flatten(0, 1)]).reshape(2, 2)
    torch.testing.assert_close(loss(several), apart)


@pytest.mark.parametrize("name", [*NAMES, "chamfer"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 1)])
def test_the_smallest_pictures_give_finite_losses_and_gradients(name, size):
    loss = registry().component("sketching.losses", name).load()(picture(size=size))
    seen = picture(size=size, seed=1).requires_grad_()
    value = loss(seen)
    (gradient,) = torch.autograd.grad(value, seen)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


def test_distance_to_a_mask_is_that_of_the_nearest_true_pixel():
    mask = torch.rand(13, 21, generator=torch.Generator().manual_seed(0)) < 0.05
    y, x = torch.meshgrid(torch.arange(13.0), torch.arange(21.0), indexing="ij")
    there = mask.nonzero().float()
    every = torch.hypot(y[..., None] - there[:, 0], x[..., None] - there[:, 1])
    torch.testing.assert_close(distance_to(mask), every.amin(-1))
    assert distance_to(torch.zeros(4, 5, dtype=torch.bool)).min() >= 5


def test_chamfer_grows_with_the_distance_of_ink_from_the_edge():
    target = torch.ones(1, 40, 40)
    target[:, :, 20:] = 0
    loss = chamfer(target)
    values = []
    for column in (20, 24, 30, 38):
        line = torch.ones(1, 40, 40)
        line[:, :, column] = 0
        values.append(float(loss(line)))
    assert values == sorted(values)
    assert values[0] < 0.03


def test_local_contrast_does_not_mind_the_overall_tone():
    target = picture()
    assert float(dog_pyramid(target)(target * 0.9 + 0.1)) < 0.05 * float(
        dog_pyramid(target)(1 - target)
    )


def test_ssim_of_an_inverted_picture_is_worse_than_that_of_a_brighter_one():
    target = picture()
    assert float(ssim(target)(1 - target)) > 1 > float(ssim(target)((target + 0.1).clamp(max=1)))


@pytest.mark.parametrize("angle", [0, 20, 45, 90])
def test_a_pyramid_sees_no_hatching_finer_than_its_pixels_in_any_direction(angle):
    """Means of 2 x 2 pixels see a fifth of lines along the diagonal, and none along the axes: strokes took those."""
    turn = torch.deg2rad(torch.tensor(float(angle)))
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    # Of a period of two pixels.
    hatching = torch.cos(torch.pi * (columns * turn.cos() + rows * turn.sin()) + 0.7)
    assert float(halved(hatching)[2:-2, 2:-2].abs().max()) < 0.01


def test_halving_keeps_tones_and_gives_every_pixel_the_same_weight():
    # An odd last row or column is repeated.
    torch.testing.assert_close(halved(torch.full((37, 51), 0.4)), torch.full((19, 26), 0.4))
    pixels = picture(size=(64, 48))
    assert float(halved(pixels).mean()) == pytest.approx(float(pixels.mean()), abs=1e-6)
