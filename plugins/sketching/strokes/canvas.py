"""What all drawings have: a canvas of paper, and one way to be rendered, at any size and with any pen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plugins.sketching.raster.request import Composition, Profile


@dataclass(frozen=True)
class Style:
    """How strokes are put on paper.

    Attributes:
        paper, ink: colours in 0..1; `ink` is the colour of all strokes where colours are not learned.
        taper: the share of a stroke's width that is missing at its ends.
    """

    composition: Composition
    filled: bool
    coloured: bool
    paper: tuple[float, float, float]
    ink: tuple[float, float, float]
    taper: float = 0.0


@dataclass(frozen=True)
class Look:
    """How a drawing is rendered.

    Attributes:
        widening: factor of all widths; lines become fainter by as much: the same ink, spread out.
        scale: size of the picture relative to the canvas.
        gates: `[*n, S]`, factors of the opacities of the strokes that are present; None: 1.
    """

    widening: float
    profile: Profile
    scale: float
    gates: Tensor | None


class Canvas(nn.Module):
    """The canvas of a drawing, (height, width) in pixels, and which of its `count` strokes are present."""

    present: Tensor
    ink: Tensor
    paper: Tensor

    def __init__(self, canvas: tuple[int, int], style: Style, count: int) -> None:
        super().__init__()
        self.canvas, self.style, self.side = canvas, style, max(canvas)
        self.register_buffer("present", torch.ones(count, dtype=torch.bool))
        self.register_buffer("ink", torch.tensor(style.ink))
        self.register_buffer("paper", torch.tensor(style.paper))

    def forward(
        self,
        *,
        widening: float = 1.0,
        profile: Profile = "gaussian",
        scale: float = 1.0,
        gates: Tensor | None = None,
    ) -> Tensor:
        """The picture `[*n, C, H, W]`: one channel, the lightness, where all is black on white, else three.

        Args: those of `Look`.
        """
        return self.rendered(Look(widening, profile, scale, gates))

    def rendered(self, look: Look) -> Tensor:
        raise NotImplementedError

    def size(self, scale: float) -> tuple[int, int]:
        """Height and width of the picture of a canvas `scale` times as large."""
        height, width = (max(1, round(side * scale)) for side in self.canvas)
        return height, width

    @property
    def plain(self) -> bool:
        """Whether the drawing is black on white, so that one channel is enough."""
        style = self.style
        return not style.coloured and set(style.paper) == {1.0} and set(style.ink) == {0.0}
