"""Fills and strokes laid over one another (Porter & Duff's "over"), plain ones by the tile kernel in one call.

A layer in a gradient is rendered as a mask and coloured pixel by pixel. Pictures are premultiplied: red, green and blue
are those of the paint times its opacity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from plugins.sketching.raster.lines import FillRule
from plugins.sketching.raster.render import render
from plugins.sketching.raster.request import Profile
from plugins.sketching.scene.paints import Paint


@dataclass(frozen=True)
class Layer:
    """A compound fill, or a stroke along contours, in one paint.

    Attributes:
        contours: polylines `[V, 2]` in pixels.
        rule: of a fill; None: a stroke.
        width: s of the profile exp(-d^2 / s^2): of the stroke, or of a fill's soft edge. `[]`, or of a stroke `[C]`
            where each contour has a pen of its own; they overlap without darkening one another.
        paint: red, green, blue and opacity `[4]`, or a gradient.
        opacity: a factor of the paint's.
        mask: `[H, W]` in 0..1, how much of it is seen; None: all of it.
        taper: factors of a stroke's width at all vertices of its contours; None: 1. `width` is then `[C]`.
    """

    contours: Sequence[Tensor]
    rule: FillRule | None
    width: Tensor
    paint: Tensor | Paint
    opacity: Tensor | float = 1.0
    mask: Tensor | None = None
    taper: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether the kernel lays it over others by itself: one colour, one pen, and no mask."""
        return isinstance(self.paint, Tensor) and self.width.dim() == 0 and self.mask is None


def composed(
    layers: Sequence[Layer], size: tuple[int, int], paper: Tensor, *, profile: Profile = "flat"
) -> Tensor:
    """The premultiplied picture `[4, H, W]` of layers, the first one lowest.

    Args:
        size: (height, width) in pixels.
        paper: `[4]` or `[4, H, W]`, premultiplied.
        profile: as `raster.render` has it.
    """
    picture = paper if paper.dim() == 3 else paper[:, None, None].expand(4, *size)
    for plain, run in groupby(layers, lambda layer: layer.plain):
        part = list(run)
        pictures = [plain_layers(part, size, profile)] if plain else masked(part, size, profile)
        for layer in pictures:
            picture = layer + (1 - layer[3]) * picture
    return picture


def plain_layers(layers: Sequence[Layer], size: tuple[int, int], profile: Profile) -> Tensor:
    """The premultiplied picture of layers in plain colours, which may lie outside 0..1."""
    paints = torch.stack([layer.paint for layer in layers if isinstance(layer.paint, Tensor)])
    colour = paints[:, :3]
    # The kernel mixes colours in 0..1; a mixture is linear in them.
    low = colour.detach().amin().clamp(max=0)
    span = (colour.detach().amax() - low).clamp(min=1)
    solid = torch.ones_like(paints[:, :1])
    drawn = render(
        [layer.contours for layer in layers],
        torch.stack([layer.width for layer in layers]),
        size,
        colour=torch.cat([(colour - low) / span, solid], 1),
        opacity=torch.stack([covering(layer, layer.paint[3]) for layer in layers]),  # type: ignore[index]
        background=paints.new_zeros(4),
        composition="over",
        profile=profile,
        filled=[layer.rule is not None for layer in layers],
        fill_rule=[layer.rule or "nonzero" for layer in layers],
    )
    alpha = drawn[3:]
    return torch.cat([drawn[:3] * span + low * alpha, alpha])


def masked(layers: Iterable[Layer], size: tuple[int, int], profile: Profile) -> Iterator[Tensor]:
    """The premultiplied picture of each layer that is in a gradient, or has several pens or a mask."""
    for layer in layers:
        alone = layer.width.dim() == 0
        mask = render(
            [layer.contours] if alone else list(layer.contours),
            layer.width,
            size,
            taper=layer.taper,
            composition="max",
            profile=profile,
            filled=layer.rule is not None,
            fill_rule=layer.rule or "nonzero",
        )
        if layer.mask is not None:
            mask = mask * layer.mask
        colour = layer.paint
        colour = colour[:, None, None] if isinstance(colour, Tensor) else field(colour, mask)
        alpha = mask * covering(layer, colour[3])
        yield torch.cat([colour[:3] * alpha, alpha[None]])


def field(paint: Paint, mask: Tensor) -> Tensor:
    """A gradient's red, green, blue and opacity at the pixels of a mask, `[4, H, W]`."""
    height, width = mask.shape
    y = torch.arange(height, dtype=mask.dtype, device=mask.device) + 0.5
    x = torch.arange(width, dtype=mask.dtype, device=mask.device) + 0.5
    return paint.at(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)).permute(2, 0, 1)


def covering(layer: Layer, opacity: Tensor) -> Tensor:
    """A layer's opacity, cut to 0..1; at the ends it has its gradient, which torch's clamp leaves out."""
    whole = opacity * layer.opacity
    return torch.where((whole < 0) | (whole > 1), whole.detach().clamp(0, 1), whole)
