"""What a sketch draws: a photograph, its tones or its lines, and where strokes of it are needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.sketching.images.photo import Guide, grey, line_drawing, scattered, stretched


@dataclass(frozen=True)
class Subject:
    """A photograph as it is drawn.

    Attributes:
        photo: `[3, H, W]`.
        lightness: `[H, W]`, what a drawing without colours should look like.
        guide: what directs the strokes.
    """

    photo: Tensor
    lightness: Tensor
    guide: Guide

    @classmethod
    def of(cls, photo: Tensor, gamma: float, line_scale: float) -> Subject:
        """A photograph `[3, H, W]`.

        Args:
            gamma: exponent of its lightness after the contrast is stretched.
            line_scale: half the thickness in pixels of the lines that are drawn; 0: its tones are.
        """
        lightness = stretched(grey(photo), gamma)
        if line_scale:
            lightness = line_drawing(lightness, line_scale)
        return cls(photo, lightness, Guide.of(grey(photo)))

    @property
    def canvas(self) -> tuple[int, int]:
        return int(self.photo.shape[1]), int(self.photo.shape[2])

    def places(
        self, count: int, coloured: bool, edge_weight: float, draw: torch.Generator
    ) -> Tensor:
        """`count` places `[count, 2]` where it is dark (in colour: anywhere) and where edges are."""
        tone = torch.ones_like(self.lightness) if coloured else 1 - self.lightness
        tone, edges = tone / tone.sum().clamp(min=1e-6), self.guide.edges
        edges = edges / edges.sum().clamp(min=1e-6)
        return scattered((1 - edge_weight) * tone + edge_weight * edges, count, draw)
