"""How large pictures and shapes are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy

from framework.errors import UserError
from plugins.sketching.svg.picture import Array, Contour, Mark


def sides(given: list[float], box: list[float]) -> tuple[float, float]:
    """A picture's width and height, of which the viewBox states what the attributes do not."""
    width, height = given
    if box:
        if math.isnan(width) and math.isnan(height):
            return box[2], box[3]
        if math.isnan(width):
            width = height * box[2] / box[3]
        if math.isnan(height):
            height = width * box[3] / box[2]
    return width, height


def extent_of(marks: list[Mark]) -> tuple[float, float]:
    """The size of a picture that states none: as far right and down as its marks reach.

    Raises:
        UserError: they reach nowhere.
    """
    far = numpy.array([mark.points.max(0) + mark.width / 2 for mark in marks]).reshape(-1, 2)
    width, height = far.max(0).tolist() if len(far) else (0.0, 0.0)
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise UserError(
            "no viewBox, no width and height, and nothing drawn to the right of and below 0"
        )
    return width, height


def box_of(contours: Sequence[Contour]) -> Array:
    """The least and largest x and y of contours, `[2, 2]`, by points on their curves."""
    t = numpy.linspace(0, 1, 17)[:, None]
    weights = numpy.concatenate([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t**3], 1)
    points = [(weights @ contour.cubics).reshape(-1, 2) for contour in contours]
    if not points:
        return numpy.zeros((2, 2))
    every = numpy.concatenate(points)
    return numpy.stack([every.min(0), every.max(0)])


def ring(corners: Array) -> Contour:
    """A polygon as a closed chain of straight cubics."""
    after = numpy.roll(corners, -1, 0)
    thirds = numpy.array([0, 1 / 3, 2 / 3, 1])[None, :, None]
    return Contour(corners[:, None] + thirds * (after - corners)[:, None], True)
