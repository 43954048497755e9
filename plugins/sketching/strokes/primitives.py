"""What a stroke can be: every primitive is a chain of cubic Bezier curves, and every chain becomes a soft polyline.

    B(t) = (1-t)^3 p0 + 3 (1-t)^2 t p1 + 3 (1-t) t^2 p2 + t^3 p3

So a primitive is one function from its control points to cubics; rendering and SVG need no other. Curves are cut into
as many pieces as Wang's bound requires: n pieces of a cubic are off by at most 6 max |p_i - 2 p_{i+1} + p_{i+2}| /
(8 n^2). Catmull-Rom curves pass through their points; knots lie |p_{i+1} - p_i|^alpha apart (Barry & Goldman 1988).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

Knots = Literal["uniform", "centripetal", "chordal"]
Name = Literal["point", "line", "polyline", "quadratic", "cubic", "catmull_rom", "ellipse"]

ALPHA: Mapping[str, float] = MappingProxyType({"uniform": 0.0, "centripetal": 0.5, "chordal": 1.0})
# Pixels between a curve and its polyline.
TOLERANCE = 0.1
MAX_PIECES = 64
# Pixels; points nearer than this count as this far apart when knots are placed.
NEAR = 1e-2
# The handle of a quarter circle as a cubic, at most 0.03 % of its radius off.
ARC = 4 / 3 * (math.sqrt(2) - 1)


@dataclass(frozen=True)
class Primitive:
    """A kind of stroke.

    Attributes:
        name: see `Name`.
        controls: control points of a stroke.
        segments: `[..., controls, 2]` -> cubics `[..., m, 4, 2]`, each starting where the last one ends; None: dots.
        closed: the chain ends where it starts.
    """

    name: str
    controls: int
    segments: Callable[[Tensor], Tensor] | None
    closed: bool

    def vertices(self, control: Tensor, tolerance: float = TOLERANCE, *, least: int = 1) -> Tensor:
        """`[..., strokes, controls, 2]` in pixels -> a polyline `[..., strokes, V, 2]` within `tolerance` pixels.

        Args:
            least: pieces that each polyline has at least.
        """
        if self.segments is None:
            return control
        cubics = self.segments(control)
        # A straight line needs no look at where it lies.
        needed = 1 if self.name == "line" else pieces_needed(cubics, tolerance)
        return flatten(cubics, max(needed, -(-least // cubics.shape[-3])))


def primitive(
    name: Name, *, controls: int = 4, closed: bool = False, knots: Knots = "centripetal"
) -> Primitive:
    """A primitive by name; `controls`, `closed` and `knots` apply to those that have them.

    A quadratic has 3 control points, a cubic 4, a line 2, a point 1, an ellipse 3 (its centre and the ends of two
    conjugate radii).
    """
    if name == "point":
        return Primitive(name, 1, None, False)
    if name in {"line", "quadratic", "cubic"}:
        return Primitive(name, {"line": 2, "quadratic": 3, "cubic": 4}[name], elevated, False)
    if name == "ellipse":
        return Primitive(name, 3, ellipse, True)
    if name == "polyline":
        return Primitive(name, controls, lambda c: polyline(c, closed=closed), closed)
    alpha = ALPHA[knots]
    return Primitive(name, controls, lambda c: catmull_rom(c, alpha=alpha, closed=closed), closed)


def elevated(control: Tensor) -> Tensor:
    """One Bezier curve of degree 1 to 3 as one cubic, `[..., 2 to 4, 2]` -> `[..., 1, 4, 2]`."""
    while control.shape[-2] < 4:
        degree = control.shape[-2]
        share = torch.arange(degree + 1, dtype=control.dtype, device=control.device) / degree
        share = share[:, None]
        first = torch.cat([control[..., :1, :], control], -2)
        last = torch.cat([control, control[..., -1:, :]], -2)
        control = share * first + (1 - share) * last
    return control.unsqueeze(-3)


def polyline(control: Tensor, *, closed: bool = False) -> Tensor:
    """Straight segments through all points."""
    if closed:
        control = torch.cat([control, control[..., :1, :]], -2)
    ends = torch.stack([control[..., :-1, :], control[..., 1:, :]], -2)
    return elevated(ends).squeeze(-3)


def catmull_rom(control: Tensor, *, alpha: float, closed: bool = False) -> Tensor:
    """A smooth curve through all points; at open ends the missing neighbour is a mirror image.

    Coincident points are allowed: their knots are a hundredth of a pixel apart.
    """
    if closed:
        control = torch.cat([control[..., -1:, :], control, control[..., :2, :]], -2)
    else:
        before = 2 * control[..., :1, :] - control[..., 1:2, :]
        after = 2 * control[..., -1:, :] - control[..., -2:-1, :]
        control = torch.cat([before, control, after], -2)
    way = control.diff(dim=-2)
    knot = (way.square().sum(-1, keepdim=True) + NEAR**2) ** (alpha / 2)
    d0, d1, d2 = knot[..., :-2, :], knot[..., 1:-1, :], knot[..., 2:, :]
    w0, w1, w2 = way[..., :-2, :], way[..., 1:-1, :], way[..., 2:, :]
    start, end = control[..., 1:-2, :], control[..., 2:-1, :]
    leaves = start + (d0 * d0 * w1 + d1 * d1 * w0) / (3 * d0 * (d0 + d1))
    arrives = end - (d2 * d2 * w1 + d1 * d1 * w2) / (3 * d2 * (d2 + d1))
    return torch.stack([start, leaves, arrives, end], -2)


def ellipse(control: Tensor) -> Tensor:
    """Four quarters of the ellipse with the centre and conjugate radii `control [..., 3, 2]` (centre, end, end)."""
    centre, p, q = control.unbind(-2)
    p, q = p - centre, q - centre
    quarters = []
    for a, b in ((p, q), (q, -p), (-p, -q), (-q, p)):
        quarters.append(torch.stack([a, a + ARC * b, b + ARC * a, b], -2))
    return centre[..., None, None, :] + torch.stack(quarters, -3)


def flatten(cubics: Tensor, pieces: int) -> Tensor:
    """A chain of cubics `[..., m, 4, 2]` as a polyline `[..., m * pieces + 1, 2]`."""
    t = torch.arange(pieces, dtype=cubics.dtype, device=cubics.device) / pieces
    s = 1 - t
    # `[pieces, 4]`.
    weights = torch.stack([s**3, 3 * s * s * t, 3 * s * t * t, t**3], 1)
    points = (weights @ cubics).flatten(-3, -2)
    return torch.cat([points, cubics[..., -1, -1:, :]], -2)


def pieces_needed(cubics: Tensor, tolerance: float = TOLERANCE) -> int:
    """The number of pieces per cubic with which no polyline is farther than `tolerance` from its curve.

    At most `MAX_PIECES`: a curve that bends over a canvas of thousands of pixels may be farther off.
    """
    if cubics.numel() == 0:
        return 1
    bend = cubics.detach().diff(n=2, dim=-2).norm(dim=-1).amax()
    pieces = math.ceil(math.sqrt(0.75 * float(bend) / tolerance) - 1e-6)
    return min(max(pieces, 1), MAX_PIECES)
