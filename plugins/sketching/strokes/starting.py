"""How the strokes of a drawing start, and start again: contours first, by pen, or as one line through dark places."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plugins.sketching.images.photo import scattered
from plugins.sketching.images.subject import Subject
from plugins.sketching.strokes.colours import separated
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.placing import HATCHING, Placing
from plugins.sketching.strokes.plotter import ordered


@dataclass(frozen=True)
class Start:
    """Where strokes start, besides what they look like.

    Attributes:
        count: how many there are; of one line, how many points it has.
        coloured: strokes are needed everywhere, not where it is dark.
        edge_weight: 0: they start where it is dark; 1: where edges are.
        pens: `[P, 3]`, the colours of the strokes; None: those of the photograph.
        continuous: the drawing is one line.
    """

    placing: Placing
    count: int
    coloured: bool
    edge_weight: float
    pens: Tensor | None
    continuous: bool

    def first(self, subject: Subject, draw: torch.Generator) -> Strokes:
        """A drawing's first strokes, large ones first."""
        if self.continuous:
            return self.one_line(subject, draw)
        if self.pens is None:
            return self.strokes(self.places(subject, self.count, draw), None, subject, draw)
        inks = separated(subject.photo, self.pens)
        shares = inks.flatten(1).sum(1)
        counts = (self.count * shares / shares.sum().clamp(min=1e-6)).round().long().tolist()
        counts[-1] += self.count - sum(counts)
        parts = []
        for pen, (ink, count) in enumerate(zip(inks, counts, strict=True)):
            places = scattered(ink, max(count, 0), draw)
            parts.append(self.strokes(places, self.pens[pen], subject, draw))
        return joined(parts)

    def again(
        self,
        places: Tensor,
        which: Tensor,
        colours: Tensor,
        subject: Subject,
        draw: torch.Generator,
    ) -> Strokes:
        """The strokes numbered `which`, of `colours [K, 3]`, at new places."""
        rank = which.cpu() / self.count
        if self.pens is None:
            return self.placing.strokes(places, rank, subject.photo, subject.guide, draw)
        pen = torch.cdist(colours.cpu(), self.pens).argmin(1)
        fresh = self.placing.strokes(
            places, rank, subject.photo, subject.guide, draw, self.angle(pen)
        )
        return replace(fresh, colour=self.pens[pen])

    def places(self, subject: Subject, count: int, draw: torch.Generator) -> Tensor:
        """Places `[count, 2]`: contours' on edges, then the others'."""
        outlines = round(self.placing.contours * count)
        others = subject.places(count - outlines, self.coloured, self.edge_weight, draw)
        if not outlines:
            return others
        return torch.cat([subject.places(outlines, self.coloured, 1.0, draw), others])

    def strokes(
        self, places: Tensor, colour: Tensor | None, subject: Subject, draw: torch.Generator
    ) -> Strokes:
        """Strokes at places in their order, in the photograph's colours or in one."""
        rank = (torch.arange(len(places)) + 0.5) / max(len(places), 1)
        if colour is None or self.pens is None:
            return self.placing.strokes(places, rank, subject.photo, subject.guide, draw)
        pen = torch.cdist(colour[None], self.pens).argmin(1)
        drawn = self.placing.strokes(
            places, rank, subject.photo, subject.guide, draw, self.angle(pen)
        )
        return replace(drawn, colour=colour.expand(len(places), 3))

    def angle(self, pen: Tensor) -> Tensor:
        """The angle in radians in which each pen of `[K]` hatches: as far from the others' as can be."""
        assert self.pens is not None
        return HATCHING + math.pi / len(self.pens) * pen

    def one_line(self, subject: Subject, draw: torch.Generator) -> Strokes:
        """One stroke whose points are a short tour of dark places and edges."""
        places = subject.places(self.count, self.coloured, self.edge_weight, draw)
        ends = places.double()[:, None].expand(-1, 2, -1)
        order = torch.from_numpy(ordered(ends.contiguous().numpy()).order)
        one = torch.ones(1)
        colour = torch.zeros(1, 3)
        return Strokes(
            places[order][None], self.placing.width * one, self.placing.opacity * one, colour
        )


def joined(parts: list[Strokes]) -> Strokes:
    """All strokes of several lists."""
    return Strokes(
        torch.cat([part.control for part in parts]),
        torch.cat([part.width for part in parts]),
        torch.cat([part.opacity for part in parts]),
        torch.cat([part.colour for part in parts]),
    )


def bending(control: Tensor) -> Tensor:
    """How much strokes `[S, k, 2]` bend: the squared turn of their polygon over its squared length, on average."""
    ways = control.diff(dim=1)
    turns = ways.diff(dim=1).square().sum((1, 2))
    return (turns / ways.square().sum((1, 2)).clamp(min=1e-6)).mean()
