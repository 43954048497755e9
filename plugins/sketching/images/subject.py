"""What a sketch draws: a photograph, its tones or its lines, all of it or its subject, and where strokes are needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from framework.errors import UserError
from framework.photographs import photograph_of
from plugins.sketching.images.photo import (
    Guide,
    blurred,
    grey,
    line_drawing,
    scattered,
    slopes,
    stretched,
)
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.colours import clustered

# Pixels of a picture's side in which saliency is looked for, and colours of its border.
SIDE, GROUNDS = 64, 4


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

    def masked(self, mask: Tensor, paper: tuple[float, float, float]) -> Subject:
        """The subject alone on paper, where `mask [H, W]` is 1."""
        ground = self.photo.new_tensor(paper)[:, None, None]
        guide = replace(self.guide, edges=self.guide.edges * mask)
        lightness = 1 - mask * (1 - self.lightness)
        return Subject(ground + mask * (self.photo - ground), lightness, guide)

    @property
    def canvas(self) -> tuple[int, int]:
        return int(self.photo.shape[1]), int(self.photo.shape[2])

    def target(self, style: Style, plain: bool) -> Tensor:
        """The photograph, or its lightness between paper and ink: `[3, H, W]`, or `[1, H, W]` for black on white."""
        if style.coloured:
            return self.photo
        if plain:
            return self.lightness.unsqueeze(0)
        paper, ink = (torch.tensor(c)[:, None, None] for c in (style.paper, style.ink))
        return ink + (paper - ink) * self.lightness

    def places(
        self, count: int, coloured: bool, edge_weight: float, draw: torch.Generator
    ) -> Tensor:
        """`count` places `[count, 2]` where it is dark (in colour: anywhere) and where edges are."""
        tone = torch.ones_like(self.lightness) if coloured else 1 - self.lightness
        tone, edges = tone / tone.sum().clamp(min=1e-6), self.guide.edges
        edges = edges / edges.sum().clamp(min=1e-6)
        return scattered((1 - edge_weight) * tone + edge_weight * edges, count, draw)


def mask_of(given: str, photo: Tensor) -> Tensor:
    """Where a photograph's subject is, `[H, W]` in 0..1: of a file, white; "saliency": where it differs.

    Raises:
        UserError: no readable picture, or one in which nothing is white.
    """
    if given == "saliency":
        return saliency(photo)
    height, width = photo.shape[-2:]
    pixels = photograph_of(Path(given)).permute(1, 2, 0).numpy()
    small = Pillow.fromarray(pixels).convert("L").resize((width, height))
    mask = torch.from_numpy(numpy.asarray(small, dtype=numpy.float32) / 255)
    if float(mask.max()) == 0:
        raise UserError(f"task.mask = '{given}': all black; the subject is white")
    return mask


def saliency(photo: Tensor) -> Tensor:
    """How far each place of `[3, H, W]` stands out, `[H, W]` in 0..1, soft at its borders, without learned weights.

    What a photograph's border shows is rather ground (Wei et al. 2012): a place stands out by its distance from the
    border's colours and by its detail, in the middle more than elsewhere.
    """
    height, width = photo.shape[-2:]
    small = functional.interpolate(photo[None], (SIDE, SIDE), mode="area")[0]
    rim = torch.cat(
        [small[:, :2].flatten(1), small[:, -2:].flatten(1), small[:, :, 0], small[:, :, -1]], 1
    )
    ground, _ = clustered(rim.T.double().numpy(), GROUNDS)
    places = small.flatten(1).T
    away = torch.cdist(places, torch.from_numpy(ground).to(places)).amin(1).reshape(SIDE, SIDE)
    detail = torch.hypot(*slopes(grey(small)))
    found = sum(
        (part / part.max().clamp(min=1e-3) for part in (blurred(away, 2.0), blurred(detail, 3.0))),
        torch.zeros(SIDE, SIDE),
    )
    line = torch.linspace(-1, 1, SIDE).square()
    found = found * torch.exp(-1.5 * (line[:, None] + line))
    found = found / found.max().clamp(min=1e-12)
    # Half of the picture is subject at most.
    threshold = float(found.flatten().quantile(0.5).clamp(min=0.25))
    soft = torch.sigmoid((found - threshold) * 20)
    whole = functional.interpolate(soft[None, None], (height, width), mode="bicubic")[0, 0]
    return whole.clamp(0, 1)
