"""The dense reference: every stroke at every pixel, by autograd alone. Slow and obvious; for tests only."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dense(
    points: Tensor,
    width: Tensor,
    size: tuple[int, int],
    *,
    colour: Tensor | None = None,
    opacity: Tensor | None = None,
    composition: str = "soft_or",
    profile: str = "gaussian",
    filled: bool = False,
    fill_rule: str = "nonzero",
) -> Tensor:
    """`render` for one canvas: points `[S, V, 2]`, width and opacity `[S]`, colour `[S, C]`."""
    opacity = torch.ones_like(width) if opacity is None else opacity
    alpha = (
        opacity[:, None, None] * ink(points, width, size, profile, filled, fill_rule) * (1 - 1e-6)
    )
    if colour is not None and composition == "over":
        picture = torch.ones(colour.shape[1], *size, dtype=points.dtype)
        for a, c in zip(alpha, colour, strict=True):
            picture = picture * (1 - a) + a * c[:, None, None]
        return picture
    if colour is not None:
        alpha = alpha[:, None] * (1 - colour)[:, :, None, None]
    if composition in {"soft_or", "over"}:
        kept = (1 - alpha).prod(0)
    elif composition == "max":
        kept = 1 - alpha.amax(0)
    else:
        kept = torch.exp(-(((-torch.log1p(-alpha)) ** 4).sum(0).clamp(min=1e-150) ** 0.25))
    return 1 - kept if colour is None else kept


def ink(
    points: Tensor,
    width: Tensor,
    size: tuple[int, int],
    profile: str,
    filled: bool,
    fill_rule: str = "nonzero",
) -> Tensor:
    """`[S, H, W]`, each stroke's ink for an opacity of 1."""
    if filled:
        points = torch.cat([points, points[:, :1]], 1)
    dots = points.shape[1] == 1
    if dots:
        points = torch.cat([points, points], 1)
    a, b = points[:, :-1, None, None], points[:, 1:, None, None]  # [S, P, 1, 1, 2]
    y, x = torch.meshgrid(*(torch.arange(n, dtype=points.dtype) + 0.5 for n in size), indexing="ij")
    pixel = torch.stack([x, y], -1)
    along = b - a
    t = ((pixel - a) * along).sum(-1) / (along * along).sum(-1).clamp(min=1e-12)
    nearest = a + t.clamp(0, 1)[..., None] * along
    squares = ((pixel - nearest) ** 2).sum(-1)
    if filled:
        winding = turns(points, pixel)
        side = torch.where((winding % 2 if fill_rule == "evenodd" else winding) != 0, -1.0, 1.0)
        if fill_rule == "nonzero":
            # Beyond an edge the winding number must be 0; on the other side of it, it is one less or one more.
            turn = along[..., 0] * (pixel - a)[..., 1] - along[..., 1] * (pixel - a)[..., 0]
            beyond = winding[:, None] + torch.where(turn.detach() > 0, -1, 1)
            squares = torch.where((winding[:, None] != 0) & (beyond != 0), 1e30, squares)
    square = squares.amin(1)  # [S, H, W]
    s = width[:, None, None]
    blurred = (s**2 + 0.75**2).sqrt()
    if profile == "gaussian" and not filled:
        share = (s / blurred) ** (2 if dots else 1)
        return share * torch.exp(-square / blurred**2)
    distance = square.clamp(min=1e-18).sqrt()
    if filled:
        if profile == "gaussian":
            return torch.erfc(side * distance / blurred) / 2
        return covered(-side * distance)
    half = s * math.sqrt(math.pi) / 2
    return covered(half + distance) - covered(distance - half)


def covered(inside: Tensor) -> Tensor:
    """The integral up to `inside` of a box of side 1 under a box of side sqrt(1/2), by the second integral of a box."""
    soft, inside = math.sqrt(0.5), inside.clamp(-9, 9)

    def ramp(x: Tensor) -> Tensor:
        """The integral of clamp(x, -1/2, 1/2) + 1/2."""
        x = (x + 0.5).clamp(min=0)
        return torch.where(x < 1, x * x / 2, x - 0.5)

    return (ramp(inside + soft / 2) - ramp(inside - soft / 2)) / soft


def turns(points: Tensor, pixel: Tensor) -> Tensor:
    """How often a closed polygon turns around each pixel, by the angle it is seen under: `[S, H, W]`."""
    way = points.detach()[:, :, None, None] - pixel
    angle = torch.atan2(way[..., 1], way[..., 0])
    turned = angle.diff(dim=1)
    turned = turned - 2 * math.pi * torch.round(turned / (2 * math.pi))
    return (turned.sum(1) / (2 * math.pi)).round().long()
