"""Augmentation of crops: rotation, scale, mirror images, light, random erasing, blur.

All random numbers come from the given generator, so that batch number k is the same in every run that reaches it.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from framework.config.schema import Section
from framework.config.types import Fraction

Small = Annotated[float, Field(ge=0, le=0.5)]


class Augmentation(Section):
    """How much pictures are changed.

    Attributes:
        flip: probability of a mirror image.
        rotation: standard deviation of the angle in radians; translation: of the position in parts of the side;
            scale: of the logarithm of the size.
        exposure: standard deviation of the logarithm of the contrast, twice that of the brightness; colour: of each
            channel's brightness.
        side_light: standard deviation of the slope of the brightness across the picture.
        erase: probability that a rectangle is erased.
        blur: probability of a lower resolution.
    """

    flip: Fraction = 0.5
    rotation: Small = 0.0
    translation: Small = 0.0
    scale: Small = 0.0
    exposure: Small = 0.0
    colour: Small = 0.0
    side_light: Small = 0.0
    erase: Fraction = 0.0
    blur: Fraction = 0.0


STRONG = Augmentation(
    flip=0.5,
    rotation=0.10,
    translation=0.04,
    scale=0.08,
    exposure=0.2,
    side_light=0.15,
    erase=0.5,
    blur=0.2,
)


def augmented(images: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Crops `[B, 3, S, S]` uint8 as floats 0..1, each augmented independently."""
    x = images.float() / 255
    mirrored = chosen(len(x), options.flip, generator)
    if options.rotation or options.translation or options.scale:
        x = moved(x, mirrored, options, generator)
    else:
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if options.blur:
        coarse = functional.avg_pool2d(x, 2, ceil_mode=True)
        coarse = functional.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False)
        x = torch.where(chosen(len(x), options.blur, generator)[:, None, None, None], coarse, x)
    if options.exposure or options.colour or options.side_light:
        x = relit(x, options, generator)
    return erased(x, options.erase, generator) if options.erase else x


def chosen(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Which of `count` pictures, bool `[count]`."""
    return torch.rand(count, generator=generator) < probability


def moved(x: Tensor, mirrored: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Rotated, scaled and shifted in one interpolation; beyond the edge the edge is repeated."""
    draws = torch.randn(4, len(x), generator=generator).clamp(-2, 2)
    angle, scale = options.rotation * draws[0], (options.scale * draws[1]).exp()
    sign = torch.where(mirrored, -1.0, 1.0)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    translation = 2 * options.translation * draws[2:]
    rows = [
        torch.stack([cosine * sign, -sine, translation[0]], -1),
        torch.stack([sine * sign, cosine, translation[1]], -1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def relit(x: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Other contrast, brightness, colour balance, and light from a side."""
    count, side = len(x), x.shape[-1]
    draws = torch.randn(7, count, 1, 1, 1, generator=generator).clamp(-2, 2)
    contrast, brightness = (options.exposure * draws[0]).exp(), 0.5 * options.exposure * draws[1]
    balance = options.colour * torch.cat([draws[2], draws[3], draws[4]], 1)
    ramp = torch.linspace(-1, 1, side)
    slope = options.side_light * (draws[5] * ramp + draws[6] * ramp[:, None])
    return ((x - 0.5) * contrast + 0.5 + brightness + balance + slope).clamp(0, 1)


def erased(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """In some pictures a rectangle of up to half the height and width becomes grey."""
    count, side = len(x), x.shape[-1]
    draws = torch.rand(4, count, generator=generator)
    size = side * (0.15 + 0.35 * draws[:2])
    begin = draws[2:] * (side - size)
    place = torch.arange(side) + 0.5
    down, across = (
        (place >= begin[k, :, None]) & (place <= begin[k, :, None] + size[k, :, None])
        for k in (0, 1)
    )
    hidden = (
        down[:, :, None] & across[:, None, :] & chosen(count, probability, generator)[:, None, None]
    )
    return torch.where(hidden[:, None], 0.5, x)
