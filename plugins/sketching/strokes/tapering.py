"""Strokes that are thinner at their ends, as a brush or a pencil leaves them."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.sketching.strokes.primitives import TOLERANCE, Primitive

# Pieces of a tapered stroke, whose width is linear along each, while it is fitted.
PIECES = 8
Lines = tuple[Tensor, Tensor | None]


def lines_of(
    primitive: Primitive,
    control: Tensor,
    taper: float,
    tolerance: float = TOLERANCE,
    pieces: int = PIECES,
) -> Lines:
    """Strokes `[..., S, k, 2]` as polylines `[..., S, V, 2]`, and the factors `[V]` of their widths; None: all 1."""
    if taper == 0:
        return primitive.vertices(control, tolerance), None
    vertices = primitive.vertices(control, tolerance, least=pieces)
    return vertices, factors(vertices.shape[-2], taper).to(vertices)


def factors(count: int, taper: float) -> Tensor:
    """Of the widths at `count` vertices, 1 in the middle and 1 - taper at both ends: a parabola."""
    across = torch.linspace(-1, 1, count)
    return 1 - taper * across * across
