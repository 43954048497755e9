"""An SVG rendered by matplotlib's Agg, independently of the plugin's rasteriser; for tests only."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from plugins.sketching.svg.reading import Picture


def render_with_agg(picture: Picture, scale: float = 1.0) -> NDArray[numpy.uint8]:
    """The picture, `[H, W, 3]` uint8, `scale` pixels per unit; blend modes are ignored."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    width, height = round(picture.width * scale), round(picture.height * scale)
    # A point is a pixel.
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.set_axis_off()
    codes = [Outline.CURVE4] * 3
    for mark in picture.marks:
        points = numpy.concatenate([mark.cubics[0, :1], mark.cubics[:, 1:].reshape(-1, 2)])
        outline = Outline(points, [Outline.MOVETO, *codes * len(mark.cubics)])
        for paint, filled in ((mark.fill, True), (mark.stroke, False)):
            if paint is not None:
                patch = PathPatch(
                    outline,
                    fill=filled,
                    facecolor=paint if filled else "none",
                    edgecolor="none" if filled else paint,
                    alpha=mark.fill_opacity if filled else mark.stroke_opacity,
                    linewidth=0 if filled else mark.width * scale,
                    capstyle="round",
                    joinstyle="round",
                    snap=False,
                )
                axes.add_patch(patch)
    canvas.draw()
    return numpy.asarray(canvas.buffer_rgba())[:, :, :3].copy()
