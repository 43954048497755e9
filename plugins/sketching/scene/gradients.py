"""Gradients of an SVG as parameters: where they lie, their offsets and their colours."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor, nn

from plugins.sketching.scene.paints import LinearPaint, Paint, RadialPaint, Spread
from plugins.sketching.svg.picture import Array, Gradient

# Colours and opacities move this many times faster than places.
SHADE = 4.0
SPREADS: tuple[Spread, ...] = ("pad", "repeat", "reflect")


class LearnedGradient(nn.Module):
    """A gradient on a canvas of `side` pixels; places are fractions of it, or of a radial gradient's first radius.

    Args:
        scale, shift: from the picture's pixels to the canvas's.
        learned: whether it is learned.
    """

    inverse: Tensor

    def __init__(
        self,
        gradient: Gradient,
        opacity: float,
        scale: float,
        shift: Array,
        side: int,
        learned: bool,
    ) -> None:
        super().__init__()
        matrix = gradient.inverse[:, :2] / scale
        inverse = numpy.concatenate(
            [matrix, gradient.inverse[:, 2:] - matrix @ shift[:, None]], axis=1
        )
        self.side, self.linear = side, gradient.line is not None
        self.spread: Spread = next((s for s in SPREADS if s == gradient.spread), "pad")
        if gradient.line is not None:
            places = line_on(inverse, gradient.line) / side
        else:
            cx, cy, r, fx, fy = gradient.circle
            inverse = inverse / max(r, 1e-6)
            places = numpy.array([[cx, cy], [fx, fy], [1, 1]]) / max(r, 1e-6)
            places[2] = 1
            self.focused = (cx, cy) != (fx, fy)
        colours = gradient.colours * [1, 1, 1, opacity] / SHADE
        self.places = nn.Parameter(torch.from_numpy(places).float(), learned)
        self.offsets = nn.Parameter(
            torch.from_numpy(numpy.array(gradient.offsets)).float(), learned
        )
        self.colours = nn.Parameter(torch.from_numpy(colours).float(), learned)
        self.register_buffer("inverse", torch.from_numpy(inverse).float())

    def paint(self, scale: float) -> Paint:
        """The gradient on a canvas `scale` times as large."""
        colours = SHADE * self.colours
        if self.linear:
            begin, end = self.places * (self.side * scale)
            return LinearPaint(begin, end, self.offsets, colours, self.spread)
        centre, focus, radius = self.places
        inverse = torch.cat([self.inverse[:, :2] / scale, self.inverse[:, 2:]], 1)
        at = focus if self.focused else None
        return RadialPaint(centre, radius, self.offsets, colours, self.spread, at, inverse)

    @torch.no_grad()
    def confine(self) -> None:
        """Keep colours and offsets in 0..1, offsets in their order, and radii above 0."""
        self.colours.clamp_(0, 1 / SHADE)
        self.offsets.copy_(self.offsets.clamp(0, 1).cummax(0).values)
        if not self.linear:
            self.places[2].clamp_(min=0.01)


def line_on(inverse: Array, line: tuple[float, float, float, float]) -> Array:
    """Where on the canvas a linear gradient begins and ends, `[2, 2]`, whatever transform it was under.

    Its offset is way (M p + b - start) / |way|^2, which rises fastest along M^T way.
    """
    matrix, way = inverse[:, :2], numpy.array(line[2:]) - line[:2]
    begin = numpy.linalg.solve(matrix, numpy.array(line[:2]) - inverse[:, 2])
    rise = matrix.T @ way / max(float(way @ way), 1e-12)
    return numpy.stack([begin, begin + rise / max(float(rise @ rise), 1e-12)])
