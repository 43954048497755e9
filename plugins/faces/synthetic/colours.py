"""The colours of a person: palettes from light to dark of skin and hair, irises, and mixing them."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.faces.synthetic.canvas import Canvas

SKIN = (
    (0.97, 0.82, 0.73),
    (0.91, 0.72, 0.58),
    (0.77, 0.56, 0.40),
    (0.56, 0.37, 0.26),
    (0.35, 0.22, 0.16),
)
HAIR = ((0.07, 0.05, 0.05), (0.22, 0.14, 0.09), (0.42, 0.28, 0.16), (0.86, 0.72, 0.45))
IRIS = ((0.28, 0.16, 0.08), (0.42, 0.33, 0.14), (0.27, 0.45, 0.30), (0.28, 0.48, 0.74))
RED_HAIR, GREY_HAIR = (0.58, 0.25, 0.10), (0.76, 0.76, 0.77)


def skin_colour(canvas: Canvas) -> Tensor:
    shift = (canvas["skin_hue"][:, :, 0] - 0.5) * torch.tensor([-0.02, 0.05, -0.06])
    return (along(SKIN, canvas["skin_lightness"]) + shift).clamp(0, 1)


def hair_colour(canvas: Canvas) -> Tensor:
    plain = along(HAIR, canvas["hair_lightness"])
    red = torch.lerp(plain, tone(*RED_HAIR), (canvas["hair_red"][:, :, 0] - 0.6).clamp(0, 1))
    return torch.lerp(red, tone(*GREY_HAIR), canvas["hair_grey"][:, :, 0].clamp(0, 1))


def mixed(canvas: Canvas, thing: str) -> Tensor:
    """A thing's own colour `[N, 3]`."""
    return torch.cat([canvas[f"{thing}_{c}"][:, :, 0] for c in ("red", "green", "blue")], 1)


def tone(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([[red, green, blue]])


def along(palette: tuple[tuple[float, float, float], ...], share: Tensor) -> Tensor:
    """The colour `[N, 3]` a share `[N, 1, 1]` of the way along a palette."""
    colours = torch.tensor(palette)
    place = share.flatten().clamp(0, 1) * (len(palette) - 1)
    lower = place.long().clamp(max=len(palette) - 2)
    return torch.lerp(colours[lower], colours[lower + 1], (place - lower)[:, None])
