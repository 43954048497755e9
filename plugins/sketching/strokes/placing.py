"""The first strokes: at given places, along the photograph's edges, in its colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.sketching.images.photo import Guide, at
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.primitives import Primitive

# The direction of strokes where the photograph has none, as a right hand hatches.
HATCHING = -math.pi / 4


@dataclass(frozen=True)
class Placing:
    """What the first strokes look like; lengths and widths in pixels.

    Attributes:
        length: of a stroke, or the diameter of a shape.
        width: s of the profile exp(-d^2 / s^2).
        coarse_to_fine: the size of the first strokes over that of the last: a painter's order.
        contours: the share of strokes that follow edges, first in the order.
        contour_size: their length and width over those of the others.
    """

    primitive: Primitive
    length: float
    width: float
    opacity: float
    coarse_to_fine: float
    contours: float = 0.0
    contour_size: float = 1.0

    def strokes(
        self,
        places: Tensor,
        rank: Tensor,
        photo: Tensor,
        guide: Guide,
        generator: torch.Generator,
        hatching: Tensor | float = HATCHING,
    ) -> Strokes:
        """Strokes at `places [N, 2]` in pixels.

        Args:
            rank: `[N]` in 0..1, the position in the painter's order; 0 is painted first.
            photo: `[3, H, W]`, the source of the colours.
            hatching: the angle in radians, a number or `[N]`, where the photograph has no direction.
        """
        size = self.coarse_to_fine ** (0.5 - rank.to(places))
        size = torch.where(rank.to(places) < self.contours, size * self.contour_size, size)
        vary = 0.6 + 0.8 * torch.rand(len(places), generator=generator).to(places)
        finer = 1 - 0.6 * at(guide.edges, places)
        finer = torch.where(rank.to(places) < self.contours, 1.0, finer)
        length = self.length * size * vary * finer
        colour = at(photo, places).T.contiguous()
        like = torch.ones_like(size)
        return Strokes(
            self.controls(places, length, guide, generator, hatching),
            self.width * size,
            self.opacity * like,
            colour,
        )

    def controls(
        self,
        places: Tensor,
        length: Tensor,
        guide: Guide,
        generator: torch.Generator,
        hatching: Tensor | float,
    ) -> Tensor:
        """Control points `[N, k, 2]` around `places`."""
        count = self.primitive.controls
        if count == 1:
            return places.unsqueeze(1)
        along = self.direction(places, None, guide, generator, hatching)
        if self.primitive.closed:
            return self.ellipses(places, length / 2, along)
        sides = []
        for sign in (1.0, -1.0):
            way, place, walked = sign * along, places, []
            # Half of the length in count - 1 steps, so that the middle is hit.
            for _ in range(count - 1):
                place = place + way * (length / (2 * (count - 1)))[:, None]
                way = self.direction(place, way, guide, generator, hatching)
                walked.append(place)
            sides.append(walked)
        # `[N, 2 count - 1, 2]`.
        line = torch.stack([*reversed(sides[1]), places, *sides[0]], 1)
        return line[:, ::2] if count > 2 else line[:, [0, -1]]

    def ellipses(self, places: Tensor, radius: Tensor, along: Tensor) -> Tensor:
        """Ellipses 5:3 in the direction `along [N, 2]`, by an ellipse's control points or by points on it."""
        across = torch.stack([-along[:, 1], along[:, 0]], 1) * 0.6
        if self.primitive.name == "ellipse":
            ways = [torch.zeros_like(along), along, across]
        else:
            turns = [
                2 * math.pi * i / self.primitive.controls for i in range(self.primitive.controls)
            ]
            ways = [math.cos(t) * along + math.sin(t) * across for t in turns]
        return places[:, None] + torch.stack(ways, 1) * radius[:, None, None]

    @staticmethod
    def direction(
        places: Tensor,
        before: Tensor | None,
        guide: Guide,
        generator: torch.Generator,
        hatching: Tensor | float,
    ) -> Tensor:
        """Unit vectors along the edges, or hatching where there are none; never turning back from `before`."""
        angle, coherence = at(guide.direction, places), at(guide.coherence, places)
        along = torch.stack([angle.cos(), angle.sin()], 1)
        if before is None:
            jitter = 0.3 * torch.randn(len(places), generator=generator).to(places)
            turned = hatching + jitter
            free = torch.stack([turned.cos(), turned.sin()], 1)
        else:
            free = before
            along = torch.where((along * before).sum(1, keepdim=True) < 0, -along, along)
        weight = (2 * coherence - 0.5).clamp(0, 1)[:, None]
        if before is None:
            along = torch.where((along * free).sum(1, keepdim=True) < 0, -along, along)
        mixed = weight * along + (1 - weight) * free
        return torch.nn.functional.normalize(mixed, dim=1)
