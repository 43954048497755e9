"""SVG files as scenes: each shape of the file is a group, its contours cubics and lines whose points can be learned."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path as File
from xml.sax.saxutils import quoteattr

import numpy
import torch
from torch import Tensor

from framework.errors import UserError
from plugins.sketching.pydiffvg.shapes import (
    Color,
    LinearGradient,
    Path,
    RadialGradient,
    Shape,
    ShapeGroup,
)
from plugins.sketching.scene.gradients import line_on
from plugins.sketching.svg.picture import Array, Gradient, Mark, Paint
from plugins.sketching.svg.reading import parse, read

Scene = tuple[int, int, list[Shape], list[ShapeGroup]]


def svg_to_scene(filename: str) -> Scene:
    """An SVG's width, height, shapes and groups, in pixels; transforms and styles are applied.

    What a scene cannot hold (clips, dashes, gradients' foci) is left out, each with a line on stderr.

    Raises:
        UserError: no readable SVG.
    """
    picture = read(File(filename))
    shapes: list[Shape] = []
    groups: list[ShapeGroup] = []
    lost = [*picture.left_out, *picture.not_drawn]
    for number, mark in enumerate(picture.marks):
        if mark.fill is None and (mark.stroke is None or mark.width <= 0):
            continue
        begin = len(shapes)
        shapes += paths_of(mark, close=mark.fill is not None and mark.stroke is None)
        for line in not_held(mark):
            lost.append(f"shape {number + 1}: {line}")
        groups.append(
            ShapeGroup(
                torch.arange(begin, len(shapes)),
                colour_of(mark.fill, mark.fill_opacity),
                mark.fill_rule == "evenodd",
                colour_of(mark.stroke, mark.stroke_opacity) if mark.width > 0 else None,
            )
        )
    for line in lost:
        sys.stderr.write(f"{filename}: {line}\n")
    return max(1, round(picture.width)), max(1, round(picture.height)), shapes, groups


def from_svg_path(
    path_str: str, shape_to_canvas: Tensor | None = None, force_close: bool = False
) -> list[Path]:
    """The contours of path data, each as a path.

    Args:
        shape_to_canvas: `[3, 3]`, a transform of their points.
        force_close: end each where it starts.

    Raises:
        UserError: no path data.
    """
    text = f'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><path d={quoteattr(path_str)}/></svg>'
    picture = parse(text.encode())
    if picture.left_out:
        raise UserError(picture.left_out[0])
    paths = [path for mark in picture.marks for path in paths_of(mark, close=force_close)]
    if shape_to_canvas is not None:
        for path in paths:
            matrix = shape_to_canvas.to(path.points)
            path.points = (path.points @ matrix[:2, :2].T + matrix[:2, 2]).contiguous()
    return paths


def paths_of(mark: Mark, *, close: bool) -> Iterator[Path]:
    """A mark's contours; `close`: open ones are closed by a line, as a fill closes them."""
    pen = mark.width / 2 if mark.stroke is not None else 1.0
    for contour in mark.contours:
        whole = contour.closed_up() if close else contour
        points, degrees = whole.chain()
        between = torch.tensor(degrees, dtype=torch.int32) - 1
        yield Path(between, tensor(points).contiguous(), whole.closed, torch.tensor(pen))


def not_held(mark: Mark) -> Iterator[str]:
    """What of a mark is lost."""
    if mark.clips:
        yield "its clip is left out"
    for paint in (mark.fill, mark.stroke):
        if isinstance(paint, Gradient):
            if paint.spread != "pad":
                yield f"its gradient ends in one colour, not by spreadMethod '{paint.spread}'"
            if paint.line is None and paint.circle[:2] != paint.circle[3:]:
                yield "its gradient's focus is left out"
            if paint.line is None and skewed(paint):
                yield "its gradient is not turned"


def skewed(gradient: Gradient) -> bool:
    """Whether a circle of a gradient's is an ellipse with axes other than x and y."""
    forward = numpy.linalg.inv(gradient.inverse[:, :2])
    spread = forward @ forward.T
    return bool(abs(spread[0, 1]) > 1e-6 * numpy.trace(spread))


def colour_of(paint: Paint | None, opacity: float) -> Color | None:
    """A paint as a colour or gradient."""
    if paint is None:
        return None
    if not isinstance(paint, Gradient):
        return torch.tensor([*paint, opacity])
    stops = torch.from_numpy(paint.colours * [1, 1, 1, opacity]).float()
    offsets = torch.from_numpy(numpy.asarray(paint.offsets)).float()
    matrix, shift = paint.inverse[:, :2], paint.inverse[:, 2]
    forward = numpy.linalg.inv(matrix)
    if paint.line is not None:
        begin, end = line_on(paint.inverse, paint.line)
        return LinearGradient(tensor(begin), tensor(end), offsets, stops)
    cx, cy, r, *_ = paint.circle
    centre = forward @ (numpy.array([cx, cy]) - shift)
    radius = max(r, 1e-6) * numpy.sqrt((forward * forward).sum(1))
    return RadialGradient(tensor(centre), tensor(radius), offsets, stops)


def tensor(values: Array) -> Tensor:
    return torch.from_numpy(numpy.asarray(values)).float()
