"""Pictures changed as circumstances would change them: turned, zoomed, mirrored, relit, covered, blurred, on the fly.

Every draw comes from the given generator, so that batch number k is augmented alike in every run that meets it.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from framework.config.schema import Section

Share = Annotated[float, Field(ge=0, le=1)]
Small = Annotated[float, Field(ge=0, le=0.5)]


class Augmentation(Section):
    """How much pictures are changed.

    Attributes:
        mirror: share of pictures that are mirrored.
        turn: deviation of the angle in radians; shift: of the place, zoom: of the size, as shares of the picture.
        light: deviation of the logarithm of the contrast, and of the brightness; colour: of each channel's.
        shade: deviation of a brightness that changes across the picture, as light from the side does.
        cover: share of pictures of which a rectangle is covered.
        blur: share of pictures that are made coarser.
    """

    mirror: Share = 0.5
    turn: Small = 0.0
    shift: Small = 0.0
    zoom: Small = 0.0
    light: Small = 0.0
    colour: Small = 0.0
    shade: Small = 0.0
    cover: Share = 0.0
    blur: Share = 0.0


STRONG = Augmentation(
    mirror=0.5, turn=0.10, shift=0.04, zoom=0.08, light=0.2, shade=0.15, cover=0.5, blur=0.2
)


def augmented(images: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Bytes `[B, 3, S, S]` -> floats 0..1, each changed in its own way."""
    x = images.float() / 255
    mirrored = chance(len(x), options.mirror, generator)
    if options.turn or options.shift or options.zoom:
        x = moved(x, mirrored, options, generator)
    else:
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if options.blur:
        coarse = functional.avg_pool2d(x, 2, ceil_mode=True)
        coarse = functional.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False)
        x = torch.where(chance(len(x), options.blur, generator)[:, None, None, None], coarse, x)
    if options.light or options.colour or options.shade:
        x = relit(x, options, generator)
    return covered(x, options.cover, generator) if options.cover else x


def chance(count: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share


def moved(x: Tensor, mirrored: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Turned, zoomed and shifted in one interpolation; what lies beyond the edge repeats the edge."""
    draws = torch.randn(4, len(x), generator=generator).clamp(-2, 2)
    angle, zoom = options.turn * draws[0], (options.zoom * draws[1]).exp()
    sign = torch.where(mirrored, -1.0, 1.0)
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    shift = 2 * options.shift * draws[2:]
    rows = [
        torch.stack([cosine * sign, -sine, shift[0]], -1),
        torch.stack([sine * sign, cosine, shift[1]], -1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def relit(x: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Contrast, brightness, colour balance and light from a side."""
    count, side = len(x), x.shape[-1]
    draws = torch.randn(7, count, 1, 1, 1, generator=generator).clamp(-2, 2)
    contrast, brightness = (options.light * draws[0]).exp(), 0.5 * options.light * draws[1]
    balance = options.colour * torch.cat([draws[2], draws[3], draws[4]], 1)
    ramp = torch.linspace(-1, 1, side)
    slope = options.shade * (draws[5] * ramp + draws[6] * ramp[:, None])
    return ((x - 0.5) * contrast + 0.5 + brightness + balance + slope).clamp(0, 1)


def covered(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A rectangle of up to half the height and width of some pictures becomes grey."""
    count, side = len(x), x.shape[-1]
    draws = torch.rand(4, count, generator=generator)
    size = side * (0.15 + 0.35 * draws[:2])
    begin = draws[2:] * (side - size)
    place = torch.arange(side) + 0.5
    down, across = (
        (place >= begin[k, :, None]) & (place <= begin[k, :, None] + size[k, :, None])
        for k in (0, 1)
    )
    hidden = down[:, :, None] & across[:, None, :] & chance(count, share, generator)[:, None, None]
    return torch.where(hidden[:, None], 0.5, x)
