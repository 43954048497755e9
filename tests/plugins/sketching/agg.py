"""An SVG's marks painted independently of the plugin's rasteriser; for tests only.

Fills are measured on four scan lines to a pixel, exactly along each; matplotlib's Agg strokes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from plugins.sketching.svg.picture import Array, Contour, Gradient, Mark, Paint, Picture

# Scan lines to a pixel, and straight pieces to a cubic.
LINES, PIECES = 4, 24


def render_with_agg(picture: Picture, scale: float = 1.0) -> NDArray[numpy.uint8]:
    """The picture on white, `[H, W, 3]` uint8, `scale` pixels per unit; blend modes are ignored."""
    size = max(1, round(picture.height * scale)), max(1, round(picture.width * scale))
    paper = numpy.ones((*size, 3))
    for mark in picture.marks:
        seen = numpy.ones(size)
        for clip in mark.clips:
            inside = numpy.zeros(size)
            for contours, rule in clip.shapes:
                inside = numpy.maximum(inside, coverage(contours, rule, size, scale))
            seen = seen * inside
        if mark.fill is not None:
            covered = (
                seen * mark.fill_opacity * coverage(mark.contours, mark.fill_rule, size, scale)
            )
            paper = painted(paper, mark.fill, covered, scale)
        if mark.stroke is not None and mark.width > 0:
            covered = seen * mark.stroke_opacity * stroked(mark, size, scale)
            paper = painted(paper, mark.stroke, covered, scale)
    found: NDArray[numpy.uint8] = (255 * paper.clip(0, 1)).round().astype(numpy.uint8)
    return found


def painted(paper: Array, paint: Paint, covered: Array, scale: float) -> Array:
    if isinstance(paint, Gradient):
        y, x = numpy.mgrid[: paper.shape[0], : paper.shape[1]] + 0.5
        found = paint.at(numpy.stack([x, y], -1) / scale)
        colour, covered = found[..., :3], covered * found[..., 3]
    else:
        colour = numpy.array(paint)
    result: Array = paper + covered[..., None] * (colour - paper)
    return result


def flattened(contour: Contour) -> Array:
    """A contour as a polyline `[n, 2]`."""
    t = numpy.linspace(0, 1, PIECES + 1)[1:, None]
    weights = numpy.concatenate([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t**3], 1)
    points = (weights @ contour.cubics).reshape(-1, 2)
    return numpy.concatenate([contour.cubics[0, :1], points])


def coverage(contours: Sequence[Contour], rule: str, size: tuple[int, int], scale: float) -> Array:
    """How much of each pixel is inside contours, `[H, W]`."""
    height, width = size
    edges = []
    for contour in contours:
        points = flattened(contour) * scale
        edges.append(numpy.stack([points, numpy.roll(points, -1, 0)], 1))
    ends = numpy.concatenate(edges)
    ends = ends[ends[:, 0, 1] != ends[:, 1, 1]]
    found = numpy.zeros((height * LINES, width))
    for row in range(height * LINES):
        y = (row + 0.5) / LINES
        above, below = ends[:, 0, 1] <= y, ends[:, 1, 1] <= y
        crossing = ends[above != below]
        share = (y - crossing[:, 0, 1]) / (crossing[:, 1, 1] - crossing[:, 0, 1])
        x = crossing[:, 0, 0] + share * (crossing[:, 1, 0] - crossing[:, 0, 0])
        turn = numpy.where(crossing[:, 1, 1] > crossing[:, 0, 1], 1, -1)
        order = numpy.argsort(x)
        winding = numpy.cumsum(turn[order])
        inside = winding % 2 != 0 if rule == "evenodd" else winding != 0
        for k in numpy.nonzero(inside[:-1])[0]:
            left, right = x[order[k]].clip(0, width), x[order[k + 1]].clip(0, width)
            columns = numpy.arange(int(left), min(int(numpy.ceil(right)), width))
            found[row, columns] += numpy.minimum(right, columns + 1) - numpy.maximum(left, columns)
    result: Array = found.reshape(height, LINES, width).mean(1)
    return result


def stroked(mark: Mark, size: tuple[int, int], scale: float) -> Array:
    """How much of each pixel a mark's pen covers, `[H, W]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    height, width = size
    # A point is a pixel.
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    points: list[Array] = []
    codes: list[Any] = []
    for contour in mark.contours:
        cubics = contour.cubics * scale
        if abs(cubics - cubics[0, 0]).max() < 1e-9:
            # A dot, which Agg would not draw.
            cubics[-1, -1, 0] += 1e-2
        points += [cubics[0, :1], cubics[:, 1:].reshape(-1, 2)]
        codes += [Outline.MOVETO, *[Outline.CURVE4] * (3 * len(cubics))]
        if contour.closed:
            points.append(cubics[0, :1])
            codes.append(Outline.CLOSEPOLY)
    dashes: Any = "solid"
    if mark.dashes:
        pen = mark.width
        dashes = (mark.dash_offset / pen, tuple(dash / pen for dash in mark.dashes))
    patch = PathPatch(
        Outline(numpy.concatenate(points), codes),
        fill=False,
        edgecolor="black",
        linewidth=mark.width * scale,
        linestyle=dashes,
        capstyle={"round": "round", "square": "projecting"}.get(mark.cap, "butt"),
        joinstyle={"round": "round", "bevel": "bevel"}.get(mark.join, "miter"),
        snap=False,
    )
    axes.add_patch(patch)
    canvas.draw()
    found: Array = 1 - numpy.asarray(canvas.buffer_rgba())[:, :, 0].astype(float) / 255
    return found
