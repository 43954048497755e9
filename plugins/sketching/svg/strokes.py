"""The strokes that a drawing starts with, taken from an SVG."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from framework.errors import UserError
from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.svg.picture import Colour, Gradient, Paint, Picture


def as_strokes(picture: Picture, canvas: tuple[int, int]) -> Strokes:
    """Every cubic of every mark as a stroke, the picture fitted into a canvas of (height, width) pixels.

    Filled marks without a stroke contribute their outline; rectangles of the paper's size are ignored.

    Raises:
        UserError: the SVG holds no strokes.
    """
    height, width = canvas
    paper = numpy.array([picture.width, picture.height])
    scale = min(width / picture.width, height / picture.height)
    shift = (numpy.array([width, height]) - scale * paper) / 2
    kept = []
    for mark in picture.marks:
        covers = (numpy.ptp(mark.points, axis=0) >= 0.999 * paper).all()
        if not (covers and mark.stroke is None) and (mark.stroke or mark.fill):
            kept.append(mark)
    if not kept:
        raise UserError("the SVG holds no strokes")
    cubics = [numpy.concatenate([contour.cubics for contour in mark.contours]) for mark in kept]
    counts = [len(chain) for chain in cubics]
    control = numpy.concatenate(cubics) * scale + shift

    def each(values: list[object]) -> Tensor:
        return torch.tensor(numpy.repeat(numpy.array(values), counts, axis=0)).float()

    return Strokes(
        torch.from_numpy(control).float(),
        each([max(mark.width if mark.stroke else 1.0, 0.01) * scale / PEN_WIDTH for mark in kept]),
        each([mark.stroke_opacity if mark.stroke else mark.fill_opacity for mark in kept]),
        each([plain(mark.stroke or mark.fill) for mark in kept]),
    )


def plain(paint: Paint | None) -> Colour:
    """One colour: a gradient's average."""
    if isinstance(paint, Gradient):
        return paint.mean[:3]
    assert paint is not None
    return paint
