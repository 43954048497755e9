"""How far a picture is from its target, `[..., C, H, W]` -> `[...]`, without learned weights.

Plain squared error rewards exact pixels only; a line one pixel off is worse than none. The blurred and pyramid losses
see lines from afar, the edge losses see contours, SSIM sees structure (Wang et al. 2004).

A loss is a factory: called once with the target, it returns the function that is called at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from framework.config.types import NonNegative
from plugins.sketching.images.photo import blurred, slopes

Loss = Callable[[Tensor], Tensor]
# The variance, in pixels, of the blur by which `halved` keeps a pyramid's levels from aliasing.
HALVING = 0.75


def average(value: Tensor) -> Tensor:
    """The mean over channels and pixels."""
    return value.mean((-3, -2, -1))


def squared(target: Tensor) -> Loss:
    """Mean squared error, pixel by pixel."""
    return lambda picture: average((picture - target) ** 2)


def blurred_squared(target: Tensor, *, sigma: float = 2.0) -> Loss:
    """Squared error of blurred pictures: what an eye sees from a distance.

    Args:
        sigma: standard deviation of the blur, in pixels.
    """
    far = blurred(target, sigma)
    return lambda picture: average((blurred(picture, sigma) - far) ** 2)


def pyramid(target: Tensor, *, finest: NonNegative = 0.0) -> Loss:
    """Squared error at every scale, each half the size of the previous one, all with the same weight.

    Args:
        finest: standard deviation, in pixels, of the blur before the first scale. Where pens are thinner than the
            tones that they should render, it must be coarser than the pens: black lines are no grey pixels.
    """
    targets = levels(softened(target, finest))

    def loss(picture: Tensor) -> Tensor:
        pairs = zip(levels(softened(picture, finest)), targets, strict=True)
        return total(average((one - other) ** 2) for one, other in pairs)

    return loss


def dog_pyramid(target: Tensor) -> Loss:
    """Squared error of the differences between neighbouring scales: local contrast, independent of the overall tone."""
    targets = details(levels(target))

    def loss(picture: Tensor) -> Tensor:
        pairs = zip(details(levels(picture)), targets, strict=True)
        return total(average((one - other) ** 2) for one, other in pairs)

    return loss


def edge(target: Tensor, *, sigma: float = 1.0) -> Loss:
    """Squared error of Sobel's derivatives of slightly blurred pictures.

    Args:
        sigma: standard deviation of the blur, in pixels.
    """
    target_slopes = slopes(blurred(target, sigma))

    def loss(picture: Tensor) -> Tensor:
        seen = slopes(blurred(picture, sigma))
        return 8 * total(average((a - b) ** 2) for a, b in zip(seen, target_slopes, strict=True))

    return loss


def chamfer(target: Tensor, *, threshold: float = 0.3) -> Loss:
    """The mean distance of ink from the nearest edge of the target, as a fraction of the picture's larger side.

    Args:
        threshold: the strength of an edge, as a share of the strongest, from which it counts.
    """
    x, y = slopes(blurred(target, 1.0))
    strength = torch.hypot(x, y).amax(-3)
    strength = strength / strength.amax().clamp(min=1e-6)
    away = (distance_to(strength > threshold) / max(target.shape[-2:])).clamp(max=1)

    def loss(picture: Tensor) -> Tensor:
        ink = 1 - picture.mean(-3)
        return (ink * away).sum((-2, -1)) / ink.sum((-2, -1)).clamp(min=1.0)

    return loss


def ssim(target: Tensor, *, sigma: float = 1.5) -> Loss:
    """1 - SSIM: light, contrast and structure in a Gaussian window.

    Args:
        sigma: standard deviation of the window, in pixels.
    """
    c1, c2 = 0.01**2, 0.03**2
    mean_target = blurred(target, sigma)
    spread_target = blurred(target * target, sigma) - mean_target**2

    def loss(picture: Tensor) -> Tensor:
        mean = blurred(picture, sigma)
        spread = blurred(picture * picture, sigma) - mean**2
        shared = blurred(picture * target, sigma) - mean * mean_target
        light = (2 * mean * mean_target + c1) / (mean**2 + mean_target**2 + c1)
        return average(1 - light * (2 * shared + c2) / (spread + spread_target + c2))

    return loss


def softened(image: Tensor, sigma: float) -> Tensor:
    """`image [..., H, W]` blurred by `sigma` pixels and as small as that allows: halved while sigma is 2 or more."""
    while sigma >= 2 and min(image.shape[-2:]) >= 16:
        image, sigma = halved(image), (sigma**2 - HALVING) ** 0.5 / 2
    return blurred(image, sigma)


def halved(image: Tensor) -> Tensor:
    """Every second pixel under the weights 1 3 3 1 along both axes, edges repeated.

    Means of 2 x 2 pixels let fine hatching alias: of a flat tone, lines along the axes looked smoother than others.
    """
    planes = image.reshape(-1, 1, *image.shape[-2:])
    height, width = image.shape[-2:]
    planes = functional.pad(planes, (1, 1 + width % 2, 1, 1 + height % 2), mode="replicate")
    bell = image.new_tensor([1, 3, 3, 1]) / 8
    planes = functional.conv2d(planes, (bell[:, None] * bell)[None, None], stride=2)
    return planes.reshape(*image.shape[:-2], *planes.shape[-2:])


def levels(image: Tensor) -> list[Tensor]:
    """The image, halved repeatedly down to about 8 pixels."""
    scales = [image]
    while min(scales[-1].shape[-2:]) >= 16:
        scales.append(halved(scales[-1]))
    return scales


def details(scales: list[Tensor]) -> list[Tensor]:
    """Each level minus the next one enlarged."""
    differences = []
    for fine, coarse in pairwise(scales):
        planes = coarse.reshape(-1, 1, *coarse.shape[-2:])
        larger = functional.interpolate(
            planes, size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        differences.append(fine - larger.reshape(fine.shape))
    return differences or scales


def distance_to(mask: Tensor) -> Tensor:
    """The distance in pixels of each pixel of `[H, W]` from the nearest true one; the diagonal where none is true.

    Exact, by rows: the squared distance is the smallest over rows of (rows apart)^2 + (nearest in that row)^2.
    """
    height, width = mask.shape
    if not bool(mask.any()):
        return torch.full(mask.shape, float(height + width))
    x = torch.arange(width, dtype=torch.float32)
    far = float(height + width)
    before = torch.where(mask.cpu(), x, -far).cummax(1).values
    after = torch.where(mask.cpu(), x, 2 * far).flip(1).cummin(1).values.flip(1)
    # `[H, W]`, within the row.
    beside = torch.minimum(x - before, after - x) ** 2
    y = torch.arange(height, dtype=torch.float32)
    rows = [(beside + (y - row)[:, None] ** 2).amin(0) for row in range(height)]
    return torch.stack(rows).sqrt().to(mask.device)


def total(parts: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape."""
    return torch.stack(list(parts)).sum(0)
