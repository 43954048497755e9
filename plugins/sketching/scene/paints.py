"""Paints whose colour depends on the place: linear and radial gradients, differentiable in all of their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Spread = Literal["pad", "repeat", "reflect"]
# The shortest way of a gradient, in units of its own coordinates.
SHORTEST = 1e-9
# The distance of a focus from its circle's centre, at most, in radii.
INNERMOST = 0.999


@dataclass(frozen=True)
class LinearPaint:
    """Colours along a line.

    Attributes:
        begin, end: `[2]`, where the offsets 0 and 1 lie.
        offsets: `[K]`, rising.
        colours: `[K, 4]`, red, green, blue and opacity at the offsets.
        spread: how it goes on beyond its ends.
    """

    begin: Tensor
    end: Tensor
    offsets: Tensor
    colours: Tensor
    spread: Spread = "pad"

    def at(self, points: Tensor) -> Tensor:
        """Red, green, blue and opacity `[..., 4]` at `points [..., 2]`."""
        way = self.end - self.begin
        length = (way * way).sum().clamp(min=SHORTEST)
        t = ((points - self.begin) * way).sum(-1) / length
        return ramp(spread_out(t, self.spread), self.offsets, self.colours)


@dataclass(frozen=True)
class RadialPaint:
    """Colours around a centre.

    Attributes:
        centre, radius: `[2]` each, of the ellipse of the offset 1.
        offsets, colours, spread: as those of a `LinearPaint`.
        focus: `[2]`, where the offset 0 lies; None: in the centre.
        inverse: `[2, 3]`, from the points' coordinates to those of the centre; None: they are the same.
    """

    centre: Tensor
    radius: Tensor
    offsets: Tensor
    colours: Tensor
    spread: Spread = "pad"
    focus: Tensor | None = None
    inverse: Tensor | None = None

    def at(self, points: Tensor) -> Tensor:
        """Red, green, blue and opacity `[..., 4]` at `points [..., 2]`."""
        if self.inverse is not None:
            points = points @ self.inverse[:, :2].T + self.inverse[:, 2]
        # In radii, seen from the centre.
        place = (points - self.centre) / self.radius
        t = norm(place) if self.focus is None else self.from_focus(place, self.focus)
        return ramp(spread_out(t, self.spread), self.offsets, self.colours)

    def from_focus(self, place: Tensor, focus: Tensor) -> Tensor:
        """Where the ray from the focus f through a point p meets the unit circle: |f + (p - f) / t| = 1."""
        off = (focus - self.centre) / self.radius
        off = off * (INNERMOST / norm(off).clamp(min=INNERMOST))
        way = place - off
        a, b = 1 - (off * off).sum(), (way * off).sum(-1)
        return (b + (b * b + a * (way * way).sum(-1)).clamp(min=SHORTEST**2).sqrt()) / a


Paint = LinearPaint | RadialPaint


def norm(vectors: Tensor) -> Tensor:
    """Lengths `[...]` of `[..., 2]`; the gradient of a vector of length 0 is 0."""
    return (vectors * vectors).sum(-1).clamp(min=SHORTEST**2).sqrt()


def spread_out(t: Tensor, spread: Spread) -> Tensor:
    """Offsets beyond 0..1 as those within that have the same colour; "pad" leaves them to `ramp`."""
    if spread == "repeat":
        return t - t.detach().floor()
    if spread == "reflect":
        return 1 - (t - 2 * (t.detach() / 2).floor() - 1).abs()
    return t


def ramp(t: Tensor, offsets: Tensor, colours: Tensor) -> Tensor:
    """Colours `[..., 4]` at offsets `[...]`, linear between the stops; where two stops meet, the later one holds."""
    if len(offsets) == 1:
        return colours[0].expand(*t.shape, 4)
    # Stops that were learned past one another are those of the largest offset so far, as SVG has it.
    offsets = offsets.cummax(0).values
    above = torch.searchsorted(offsets.detach(), t.detach().contiguous(), right=True)
    above = above.clamp(1, len(offsets) - 1)
    low, high = offsets[above - 1], offsets[above]
    gap = high - low
    sharp = gap <= SHORTEST
    share = torch.where(sharp, (t >= high).to(t), (t - low) / torch.where(sharp, 1.0, gap))
    share = share.clamp(0, 1)[..., None]
    return colours[above - 1] * (1 - share) + colours[above] * share
