"""How much ink strokes lay over one another: what they carry less what is seen."""

from __future__ import annotations

import math

from torch import Tensor

from plugins.sketching.raster.request import PEN_WIDTH, PIXEL, Profile
from plugins.sketching.strokes.drawing import Drawing, dot_share
from plugins.sketching.strokes.tapering import lines_of


def overlap(drawing: Drawing, picture: Tensor, widening: float, profile: Profile) -> Tensor:
    """The ink that lies on other ink or beyond the frame, as a share of the canvas, `[]`.

    Args:
        drawing: lines or dots of one ink.
        picture: `[C, H, W]`, as the drawing renders it with the same `widening` and `profile`.
    """
    shown = seen(drawing, picture).mean()
    return laid(drawing, widening, profile).sum() / math.prod(drawing.canvas) - shown


def laid(drawing: Drawing, widening: float, profile: Profile) -> Tensor:
    """The ink of each stroke alone, `[S]`: the profile's integral along its line and around its ends."""
    strokes = drawing.strokes
    width, opacity = strokes.width * widening, strokes.opacity / widening
    lines, taper = lines_of(drawing.primitive, strokes.control, drawing.style.taper)
    lengths = lines.diff(dim=1).square().sum(-1).clamp(min=1e-12).sqrt()
    tip = 1.0
    if taper is not None:
        lengths, tip = lengths * (taper[1:] + taper[:-1]) / 2, float(taper[0])
    length = lengths.sum(1)
    dots = drawing.primitive.segments is None
    cap = width * tip
    if profile == "flat":
        # Both ends of a line together are a dot, whose ink `Drawing` corrects where there is nothing else.
        ends = math.pi * (PEN_WIDTH * cap / 2) ** 2 / (1 if dots else dot_share(cap))
    else:
        ends = math.pi * cap * (cap if dots else (cap**2 + PIXEL**2).sqrt())
    return opacity * (PEN_WIDTH * width * length + ends)


def seen(drawing: Drawing, picture: Tensor) -> Tensor:
    """How much of each pixel is ink, `[H, W]`."""
    paper, ink = drawing.paper[:, None, None], drawing.ink[:, None, None]
    if drawing.plain:
        return 1 - picture[0]
    way = paper - ink
    return ((paper - picture) * way).sum(0) / (way * way).sum().clamp(min=1e-6)
