"""Strokes whose width varies along them, as the outlines of what they cover."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

Array = NDArray[numpy.float64]
# The cosine of a turn from which a corner has a point for either side of it.
SHARP = 0.7
# Pixels; shorter pieces have no direction.
SHORT = 1e-3


def outline(line: Array, pens: Array) -> str:
    """The path of a line `[V, 2]` with round ends that is `pens [V]` wide at its vertices; clockwise on the screen."""
    way = numpy.diff(line, axis=0)
    length = numpy.hypot(way[:, 0], way[:, 1])
    keep = length > SHORT
    if not keep.any():
        return dot(line[0], float(pens[0]) / 2)
    line = numpy.concatenate([line[:-1][keep], line[-1:]])
    half = numpy.concatenate([pens[:-1][keep], pens[-1:]]) / 2
    way = way[keep] / length[keep, None]
    # To the left of the way, as y runs down.
    side = numpy.stack([way[:, 1], -way[:, 0]], 1)
    left, right = [line[0] + half[0] * side[0]], [line[0] - half[0] * side[0]]
    for k in range(1, len(way)):
        before, after = side[k - 1], side[k]
        turn = float(before @ after)
        for normal in ((before + after) / (1 + turn),) if turn > SHARP else (before, after):
            left.append(line[k] + half[k] * normal)
            right.append(line[k] - half[k] * normal)
    left.append(line[-1] + half[-1] * side[-1])
    right.append(line[-1] - half[-1] * side[-1])
    there = "L".join(point(p) for p in left)
    back = "L".join(point(p) for p in right[-2::-1])
    return f"M{there}{cap(half[-1], right[-1])}L{back}{cap(half[0], left[0])}Z"


def cap(radius: float, end: Array) -> str:
    return f"A{radius:.3g} {radius:.3g} 0 0 1 {point(end)}"


def dot(place: Array, radius: float) -> str:
    """A circle."""
    across = numpy.array([radius, 0.0])
    return f"M{point(place - across)}{cap(radius, place + across)}{cap(radius, place - across)}Z"


def point(place: Array) -> str:
    return f"{place[0]:.2f} {place[1]:.2f}"
