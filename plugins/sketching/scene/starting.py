"""The drawing that an SVG is: one of strokes of a single curve each, or a scene."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
import torch
from torch import Tensor

from framework.errors import UserError
from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.scene.drawing import SceneDrawing
from plugins.sketching.strokes import primitives
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Drawing, Strokes
from plugins.sketching.svg.picture import Picture
from plugins.sketching.svg.reading import read


def drawing_of(
    path: Path, canvas: tuple[int, int], style: Style, learned: frozenset[str]
) -> Drawing | SceneDrawing:
    """An SVG's shapes on a canvas of (height, width) pixels; what of it is not drawn is named on stderr.

    Raises:
        UserError: no readable SVG, or one without strokes.
    """
    picture = read(path)
    for line in [*picture.left_out, *picture.not_drawn]:
        sys.stderr.write(f"diffobj: {path}: {line}\n")
    if all(mark.is_single_stroke for mark in picture.on_paper):
        strokes = as_strokes(picture, canvas)
        return Drawing(primitives.primitive("cubic"), canvas, strokes, style, learned)
    return SceneDrawing(picture, canvas, style, learned)


def name_changed_widths(path: str, widths: Tensor, least: float, most: float) -> None:
    """Write how many of an SVG's pens, s in pixels, are not as wide as the options allow."""
    changed = int(((widths < 0.999 * least) | (widths > 1.001 * most)).sum())
    if changed:
        sys.stderr.write(
            f"diffobj: {path}: {changed} of {len(widths)} widths lie beyond task.min_width = {least:g} "
            f"to task.max_width = {most:g} (pixels, a pen's over 1.772), and become these\n"
        )


def as_strokes(picture: Picture, canvas: tuple[int, int]) -> Strokes:
    """Every curve as a stroke of four control points, the picture fitted into a canvas of (height, width) pixels.

    Args:
        picture: of marks that are single strokes; its paper is not one of them.

    Raises:
        UserError: the SVG holds no strokes, or other marks.
    """
    height, width = canvas
    paper = numpy.array([picture.width, picture.height])
    scale = min(width / picture.width, height / picture.height)
    shift = (numpy.array([width, height]) - scale * paper) / 2
    marks = picture.on_paper
    if not marks:
        raise UserError("the SVG holds no strokes")
    if not all(mark.is_single_stroke for mark in marks):
        raise UserError("the SVG has fills, gradients or chains of curves")
    control = numpy.concatenate([mark.contours[0].cubics for mark in marks]) * scale + shift
    return Strokes(
        tensor(control),
        tensor([max(mark.width, 0.01) * scale / PEN_WIDTH for mark in marks]),
        tensor([mark.stroke_opacity for mark in marks]),
        tensor([mark.stroke for mark in marks]),
    )


def tensor(values: object) -> Tensor:
    return torch.tensor(numpy.array(values)).float()
