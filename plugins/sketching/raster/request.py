"""What a rasteriser's kernel is asked to render: the one argument that `render.py` passes to either kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from plugins.sketching.raster.tiles import SIDE, Layout

Composition = Literal["soft_or", "max", "smooth_max", "over"]
Profile = Literal["gaussian", "flat"]

# In s: a flat pen 1.772 s wide leaves the ink of the profile exp(-d^2 / s^2).
PEN_WIDTH = math.sqrt(math.pi)
# In pixels: added to s as standard deviations are, so that no line is thinner than pixels can show.
PIXEL = 0.75
# Ink that may be left out of a pixel for each stroke.
CUT = 1e-5
# In widths.
REACH = math.sqrt(math.log(1 / CUT))
# Pixels; thinner strokes are rendered this thin.
MIN_WIDTH = 0.05
# Full ink, short of 1 so that no logarithm or quotient is infinite.
DARKEST = 1 - 1e-6
# Pixels up to which a canvas is not worth cutting into tiles.
TINY = 1024


def choose_layout(count: int, canvas: tuple[int, int], side: int | None = None) -> Layout:
    """How canvases of (height, width) pixels are cut into tiles."""
    height, width = canvas
    if height * width <= TINY:
        return Layout(count, height, width, height, width)
    return Layout(count, height, width, side or SIDE, side or SIDE)


# Of a stroke: a line along its pieces, or a fill of what they enclose by SVG's rule "nonzero" or "evenodd".
LINE, NONZERO, EVENODD = 0, 1, 2


@dataclass(frozen=True)
class RenderRequest:
    """What a kernel renders: N strokes on the canvases of a layout, of E pieces together.

    Attributes:
        ends: `[E, 4]`, both ends of each piece, one stroke after another.
        first_piece: `[N + 1]` int64, where each stroke's pieces begin.
        kind: `[N]` int64, LINE, NONZERO or EVENODD.
        width: `[N]`.
        amplitude: `[N, A]`, the largest ink; one per channel where inks are transparent.
        colour: `[N, C]` for opaque paint ("over"), else None.
        fills: whether any stroke is a fill.
        pens: `[E, 2]`, s at both ends of each piece, where widths vary along lines; `width` is then the largest r.
    """

    ends: Tensor
    first_piece: Tensor
    kind: Tensor
    width: Tensor
    amplitude: Tensor
    colour: Tensor | None
    layout: Layout
    composition: Composition
    profile: Profile
    fills: bool
    pens: Tensor | None = None

    @property
    def channels(self) -> int:
        """Channels of a kernel's result: the remaining paper, preceded by the paint where paint is opaque."""
        return int(self.amplitude.shape[1]) + (0 if self.colour is None else self.colour.shape[1])
