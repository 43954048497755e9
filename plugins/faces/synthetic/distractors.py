"""What is easily taken for a face: bare skin, arms and hands, balls with two dots, writing, stripes, oval pieces.

Each is `layers` `[4, h, w]`: colours times coverage, and coverage, 0..1.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import torch
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from torch import Tensor

from plugins.faces.data.photographs import as_pixels
from plugins.faces.synthetic.colours import HAIR, SKIN
from plugins.faces.synthetic.textures import texture

# Soft edges are this many pixels wide.
EDGE = 1.0


def distractor(photographs: Sequence[Tensor], pixels: int, random: torch.Generator) -> Tensor:
    """One of them, about `pixels` large."""
    kind = int(torch.randint(8, (), generator=random))
    if kind == 0:
        return piece(photographs, pixels, random)
    if kind == 1:
        return writing(pixels, random)
    if kind == 2:
        return stripes(pixels, random)
    shape = (ball, arm, hand, ball, round_piece)[kind - 3]
    coverage, colours = shape(photographs, pixels, random)
    return torch.cat([colours.clamp(0, 1) * coverage, coverage[None]])


def piece(photographs: Sequence[Tensor], pixels: int, random: torch.Generator) -> Tensor:
    """A rectangle of a photograph."""
    slim = float(torch.rand((), generator=random))
    height = max(4, round(pixels * (0.3 + 1.4 * slim)))
    return torch.cat([texture(photographs, height, pixels, random), torch.ones(1, height, pixels)])


def writing(pixels: int, random: torch.Generator) -> Tensor:
    """Letters and digits on a board, or on nothing."""
    size = 6 + int(torch.randint(max(1, pixels // 2), (), generator=random))
    count = torch.randint(1, 8, (int(torch.randint(1, 4, (), generator=random)),), generator=random)
    symbols = string.ascii_letters + string.digits + "&?!:%"
    lines = [
        "".join(symbols[k] for k in torch.randint(len(symbols), (n,), generator=random).tolist())
        for n in count.tolist()
    ]
    ink = Pillow.new("L", (2 * pixels, pixels))
    ImageDraw.Draw(ink).multiline_text((2, 1), "\n".join(lines), 255, font=font(size))
    mask = as_pixels(ink.convert("RGB"))[0].float() / 255
    front, board = torch.rand(2, 3, 1, 1, generator=random)
    whole = float(torch.rand((), generator=random)) < 0.5
    coverage = torch.ones_like(mask) if whole else mask
    return torch.cat([torch.lerp(board, front, mask) * coverage, coverage[None]])


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings."""
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf")), size
    )


def stripes(pixels: int, random: torch.Generator) -> Tensor:
    """A flag, a fence, a shirt: waves of two colours, across each other or not."""
    u, v = square_grid(pixels, 3.14 * float(torch.rand((), generator=random)))
    number, crossed, sharp, bend = torch.rand(4, generator=random).tolist()
    waves = torch.sin((u + 0.2 * bend * torch.sin(3 * v)) * (4 + 25 * number))
    if crossed < 0.3:
        waves = waves * torch.sin(v * (4 + 25 * number))
    ends = torch.rand(2, 3, 1, 1, generator=random)
    colours = torch.lerp(ends[0], ends[1], torch.sigmoid(waves * (1 + 8 * sharp)))
    return torch.cat([colours, torch.ones(1, pixels, pixels)])


def ball(
    photographs: Sequence[Tensor], pixels: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A round thing in the colours of skin or hair, sometimes with dots."""
    turn, slim, rough, dots = torch.rand(4, generator=random).tolist()
    u, v = square_grid(pixels, 0.5 * (turn - 0.5))
    narrow = 0.65 + 0.25 * slim
    coverage = filled(((u / narrow) ** 2 + v**2).sqrt() - 1, pixels)
    colours = lit(skin_or_hair(random), u, v, random)
    colours = colours * (1 + rough * (texture(photographs, pixels, pixels, random).mean(0) - 0.5))
    if dots < 0.4:
        places = torch.rand(int(torch.randint(1, 4, (), generator=random)), 2, generator=random)
        for x, y in (1.2 * places - 0.6).tolist():
            colours = colours * (
                1 - 0.8 * filled(((u - x) ** 2 + (v - y) ** 2).sqrt() - 0.12, pixels)
            )
    elif dots < 0.6:
        holes = ((u.abs() - 0.4 * narrow) ** 2 + (v + 0.5 - turn) ** 2).sqrt() - 0.12
        colours = colours * (1 - 0.8 * filled(holes, pixels))
    return coverage, colours


def arm(
    photographs: Sequence[Tensor], pixels: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A bare or clothed arm."""
    turn, slim, clothed = torch.rand(3, generator=random).tolist()
    u, v = square_grid(pixels, 3.14 * turn)
    coverage = filled(u.abs() - (0.14 + 0.2 * slim) * (1 - 0.2 * v), pixels) * filled(
        v.abs() - 0.97, pixels
    )
    colours = lit(skin_or_hair(random), 2 * u, v, random)
    if clothed < 0.4:
        cloth = texture(photographs, pixels, pixels, random)
        colours = torch.where(v > 2 * clothed - 0.4, colours, cloth)
    return coverage, colours


def hand(
    photographs: Sequence[Tensor], pixels: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A palm and fingers, spread or closed."""
    turn, spread, bent = torch.rand(3, generator=random).tolist()
    u, v = square_grid(pixels, 6.28 * turn)
    colours = lit(skin_or_hair(random), u, v, random)
    coverage = filled(((u / 0.42) ** 2 + ((v - 0.3) / 0.45) ** 2).sqrt() - 1, pixels)
    for k in range(5):
        angle = torch.tensor((k - 2) * (0.12 + 0.25 * spread))
        x = u - 0.17 * (k - 2)
        a, b = x * angle.cos() + v * angle.sin(), v * angle.cos() - x * angle.sin()
        length = (0.9 if 0 < k < 4 else 0.7) * (1 - 0.5 * bent)
        finger = torch.maximum(a.abs() - 0.085, (b + 0.1).abs() - length)
        edge = filled(finger, pixels)
        coverage = torch.maximum(coverage, edge)
        # The shade between fingers.
        shade = filled(finger.abs() - 0.02, pixels)
        colours = colours * (1 - 0.45 * shade)
    return coverage, colours


def round_piece(
    photographs: Sequence[Tensor], pixels: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """An oval piece of a photograph, a little in the colours of skin or hair."""
    slim, tint = torch.rand(2, generator=random).tolist()
    u, v = square_grid(pixels, 0.0)
    coverage = filled(((u / (0.65 + 0.3 * slim)) ** 2 + v**2).sqrt() - 1, pixels)
    photograph = texture(photographs, pixels, pixels, random)
    return coverage, torch.lerp(photograph, skin_or_hair(random).expand_as(photograph), 0.5 * tint)


def square_grid(pixels: int, angle: float) -> tuple[Tensor, Tensor]:
    """Coordinates -1..1 `[pixels, pixels]`, turned."""
    line = torch.linspace(-1, 1, pixels)
    v, u = torch.meshgrid(line, line, indexing="ij")
    turn = torch.tensor(angle)
    return u * turn.cos() + v * turn.sin(), v * turn.cos() - u * turn.sin()


def filled(distance: Tensor, pixels: int) -> Tensor:
    """1 where a distance, in halves of a side of `pixels`, is negative, with soft edges."""
    return (0.5 - distance * pixels / (2 * EDGE)).clamp(0, 1)


def lit(colour: Tensor, u: Tensor, v: Tensor, random: torch.Generator) -> Tensor:
    """A colour `[3, 1, 1]` in light from a side."""
    x, y, depth = (torch.rand(3, generator=random) - 0.5).tolist()
    slope = 0.7 * (x * u + y * v) - 0.3 * abs(depth) * (u**2 + v**2)
    shaded: Tensor = colour * (0.85 + slope).clamp(0.15, 1.4)
    return shaded


def skin_or_hair(random: torch.Generator) -> Tensor:
    """A colour `[3, 1, 1]`."""
    palette = torch.tensor((*SKIN, *SKIN, *HAIR))
    which = int(torch.randint(len(palette), (), generator=random))
    gains = (0.12 * torch.randn(3, generator=random)).exp()
    return (palette[which] * gains).clamp(0, 1)[:, None, None]
