"""What a rasteriser's kernel is asked to render: the one argument that `render.py` passes to either kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from plugins.sketching.raster.tiles import Layout

Composition = Literal["soft_or", "max", "smooth_max", "over"]
Profile = Literal["gaussian", "flat"]


@dataclass(frozen=True)
class RenderRequest:
    """What a kernel renders: N strokes of P pieces each on the canvases of a layout.

    Attributes:
        ends: `[N, P, 4]`, both ends of each piece.
        width: `[N]`.
        amplitude: `[N, A]`, the largest ink; one per channel where inks are transparent.
        colour: `[N, C]` for opaque paint ("over"), else None.
    """

    ends: Tensor
    width: Tensor
    amplitude: Tensor
    colour: Tensor | None
    layout: Layout
    composition: Composition
    profile: Profile
    filled: bool

    @property
    def channels(self) -> int:
        """Channels of a kernel's result: the remaining paper, preceded by the paint where paint is opaque."""
        return int(self.amplitude.shape[1]) + (0 if self.colour is None else self.colour.shape[1])
