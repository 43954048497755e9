"""Scenes of diffvg's interface by its documented meaning, sample by sample, without this plugin's rasteriser."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy
from numpy.typing import NDArray

from plugins.sketching.pydiffvg import LinearGradient, RadialGradient, Shape, ShapeGroup

Array = NDArray[numpy.float64]
# Samples to a pixel's side, and straight pieces to a curve.
SAMPLES, PIECES = 5, 12


def sampled(size: tuple[int, int], shapes: Sequence[Shape], groups: Sequence[ShapeGroup]) -> Array:
    """The picture `[height, width, 4]` that `size` (width, height) shows, premultiplied."""
    width, height = size
    ticks = (numpy.arange(SAMPLES) + 0.5) / SAMPLES
    x = (numpy.arange(width)[:, None] + ticks).ravel()
    y = (numpy.arange(height)[:, None] + ticks).ravel()
    points = numpy.stack(numpy.meshgrid(x, y), -1)
    picture = numpy.zeros((*points.shape[:2], 4))
    for group in groups:
        lines = [line_of(shapes[one], group) for one in group.shape_ids.tolist()]
        inside = near = numpy.zeros(points.shape[:2], bool)
        if group.fill_color is not None:
            winding = numpy.sum([wound(points, line) for line, *_ in lines], axis=0)
            inside = winding % 2 == 1 if group.use_even_odd_rule else winding != 0
        if group.stroke_color is not None:
            for line, pens, closed in lines:
                if closed:
                    line, pens = (numpy.concatenate([a, a[:1]]) for a in (line, pens))
                near = near | under(points, line, pens)
        for mask, colour in ((inside, group.fill_color), (near, group.stroke_color)):
            if colour is not None:
                seen = colours(points, colour)
                alpha = seen[..., 3:] * mask[..., None]
                layer = numpy.concatenate([seen[..., :3] * alpha, alpha], -1)
                picture = layer + (1 - alpha) * picture
    blocks: Array = picture.reshape(height, SAMPLES, width, SAMPLES, 4).mean((1, 3))
    return blocks


def line_of(shape: Shape, group: ShapeGroup) -> tuple[Array, Array, bool]:
    """A shape's outline as vertices on the canvas, half of the pen's width there, and whether it is closed."""
    matrix = group.shape_to_canvas.detach().double().numpy()
    points, degrees, closed = shape.outline()
    pens = shape.stroke_width.detach().expand(len(points))
    control = numpy.concatenate([points.detach().numpy(), pens[:, None].numpy()], 1)
    t, place, found = numpy.arange(PIECES)[:, None] / PIECES, 0, []
    for degree in degrees:
        piece = [control[(place + step) % len(control)] for step in range(degree + 1)]
        rows: list[Any] = piece
        # De Casteljau.
        while len(rows) > 1:
            rows = [(1 - t) * a + t * b for a, b in pairwise(rows)]
        found.append(rows[0])
        place += degree
    if not closed:
        found.append(control[-1:])
    whole = numpy.concatenate(found)
    return whole[:, :2] @ matrix[:2, :2].T + matrix[:2, 2], whole[:, 2], closed


def wound(points: Array, line: Array) -> NDArray[numpy.int64]:
    total = numpy.zeros(points.shape[:2], numpy.int64)
    for a, b in zip(line, numpy.roll(line, -1, 0), strict=True):
        left = (b[0] - a[0]) * (points[..., 1] - a[1]) - (b[1] - a[1]) * (points[..., 0] - a[0])
        up = (a[1] <= points[..., 1]) & (points[..., 1] < b[1])
        down = (b[1] <= points[..., 1]) & (points[..., 1] < a[1])
        total += (up & (left < 0)).astype(int) - (down & (left > 0)).astype(int)
    return total


def under(points: Array, line: Array, pens: Array) -> NDArray[numpy.bool_]:
    """Whether a pen covers points: it is as wide as at the line's point that is nearest to each."""
    nearest, pen = numpy.full(points.shape[:2], numpy.inf), numpy.zeros(points.shape[:2])
    for (a, b), (first, last) in zip(pairwise(line), pairwise(pens), strict=True):
        way = b - a
        t = (((points - a) @ way) / max(way @ way, 1e-12)).clip(0, 1)
        away = numpy.linalg.norm(points - a - t[..., None] * way, axis=-1)
        pen = numpy.where(away < nearest, first + t * (last - first), pen)
        nearest = numpy.minimum(nearest, away)
    return nearest < pen


def colours(points: Array, colour: Any) -> Array:
    if isinstance(colour, LinearGradient):
        begin, end = colour.begin.detach().numpy(), colour.end.detach().numpy()
        t = (points - begin) @ (end - begin) / ((end - begin) ** 2).sum()
    elif isinstance(colour, RadialGradient):
        t = numpy.linalg.norm((points - colour.center.numpy()) / colour.radius.numpy(), axis=-1)
    else:
        return numpy.broadcast_to(colour.detach().double().numpy(), (*points.shape[:2], 4))
    stops, offsets = colour.stop_colors.detach().numpy(), colour.offsets.detach().numpy()
    return numpy.stack([numpy.interp(t, offsets, stops[:, c]) for c in range(4)], -1)
