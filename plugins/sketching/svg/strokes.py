"""The strokes that a drawing starts with, taken from an SVG."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from framework.errors import UserError
from plugins.sketching.raster.render import PEN_WIDTH
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.svg.reading import Picture


def as_strokes(picture: Picture, canvas: tuple[int, int]) -> Strokes:
    """Every cubic of every mark as a stroke, the picture fitted into a canvas of (height, width) pixels.

    Filled marks without a stroke contribute their outline; rectangles of the paper's size are ignored.

    Raises:
        UserError: the SVG holds no strokes.
    """
    height, width = canvas
    scale = min(width / picture.width, height / picture.height)
    shift = (
        numpy.array([width, height]) - scale * numpy.array([picture.width, picture.height])
    ) / 2
    kept = []
    for mark in picture.marks:
        extent = numpy.ptp(mark.cubics.reshape(-1, 2), axis=0)
        paper = (extent >= 0.999 * numpy.array([picture.width, picture.height])).all()
        if not (paper and mark.stroke is None) and (mark.stroke or mark.fill):
            kept.append(mark)
    if not kept:
        raise UserError("the SVG holds no strokes")
    counts = [len(mark.cubics) for mark in kept]
    control = numpy.concatenate([mark.cubics for mark in kept]) * scale + shift

    def each(values: list[object]) -> Tensor:
        return torch.tensor(numpy.repeat(numpy.array(values), counts, axis=0)).float()

    return Strokes(
        torch.from_numpy(control).float(),
        each([max(mark.width if mark.stroke else 1.0, 0.01) * scale / PEN_WIDTH for mark in kept]),
        each([mark.stroke_opacity if mark.stroke else mark.fill_opacity for mark in kept]),
        each([mark.stroke or mark.fill for mark in kept]),
    )
