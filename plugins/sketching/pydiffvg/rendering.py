"""Scenes as pictures: what diffvg's RenderFunction is called with, rendered by tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from framework.errors import ProgramError
from plugins.sketching.pydiffvg.device import get_device
from plugins.sketching.pydiffvg.shapes import (
    Color,
    Degrees,
    LinearGradient,
    Path,
    RadialGradient,
    Shape,
    ShapeGroup,
)
from plugins.sketching.raster.lines import FillRule
from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.scene.chains import Chains
from plugins.sketching.scene.layers import Layer, composed
from plugins.sketching.scene.paints import LinearPaint, Paint, RadialPaint

KNOWN = "a Circle, Ellipse, Path, Polygon or Rect"


class OutputType(IntEnum):
    """What is rendered."""

    color = 1
    sdf = 2


class FilterType(IntEnum):
    """diffvg's filters, of which `box` is known here."""

    box = 0
    tent = 1
    parabolic = 2
    hann = 3


@dataclass(frozen=True)
class PixelFilter:
    """How a pixel sees the scene."""

    type: FilterType = FilterType.box
    radius: Tensor = field(default_factory=lambda: torch.tensor(0.5))


@dataclass(frozen=True)
class Group:
    """A group of a scene.

    Attributes:
        contours: places in the scene's chains.
        fill, stroke: None: it has none.
    """

    contours: list[int]
    rule: FillRule
    fill: Paint | Tensor | None
    stroke: Paint | Tensor | None


@dataclass(frozen=True)
class Scene:
    """A scene as it was when it was serialised.

    Attributes:
        canvas: width and height, in the shapes' units.
        points: of all contours, in the canvas's coordinates, `[P, 2]`.
        pens: of each contour half of its pen's width, in the canvas's units: `[]`, or at each of its points `[n]`.
        widths: the same at all points, `[P]`, where any pen varies; else None.
    """

    canvas: tuple[float, float]
    points: Tensor
    pens: list[Tensor]
    widths: Tensor | None
    chains: Chains
    groups: list[Group]


class RenderFunction:
    """diffvg's two calls."""

    @staticmethod
    def serialize_scene(
        canvas_width: int,
        canvas_height: int,
        shapes: Sequence[Shape],
        shape_groups: Sequence[ShapeGroup],
        filter: PixelFilter | None = None,
        output_type: OutputType = OutputType.color,
        use_prefiltering: bool = False,
        eval_positions: Tensor | None = None,
    ) -> list[Any]:
        """The arguments of `apply` that describe the scene as it is now.

        Raises:
            ProgramError: shapes that do not fit, or what is not rendered here; one line.
        """
        if output_type != OutputType.color or (
            eval_positions is not None and eval_positions.numel()
        ):
            raise ProgramError("only pictures are rendered: output_type 'color', no eval_positions")
        if filter is not None and (
            int(filter.type) != FilterType.box or abs(float(filter.radius) - 0.5) > 1e-6
        ):
            raise ProgramError("filter: only a box of radius 0.5 is known")
        return [scene_of((canvas_width, canvas_height), shapes, shape_groups)]

    @staticmethod
    def apply(
        width: int,
        height: int,
        num_samples_x: int,
        num_samples_y: int,
        seed: int,
        background_image: Tensor | None,
        *scene: Any,
    ) -> Tensor:
        """The picture `[height, width, 4]`: red, green, blue and opacity, not premultiplied.

        Args:
            num_samples_x, num_samples_y, seed: without effect: coverage is computed, not sampled.
            background_image: `[height, width, 4]`, or `[height, width, 3]` for an opaque one; None: transparent.

        Raises:
            ProgramError: no scene of `serialize_scene`, or a background of another size.
        """
        if len(scene) != 1 or not isinstance(scene[0], Scene):
            raise ProgramError("expected the arguments that serialize_scene returned")
        return picture_of(scene[0], (int(width), int(height)), background_image)


def picture_of(scene: Scene, size: tuple[int, int], background: Tensor | None) -> Tensor:
    """The picture `[height, width, 4]` of a scene that fills `size` (width, height)."""
    width, height = size
    like = scene.points
    scale = like.new_tensor([width / scene.canvas[0], height / scene.canvas[1]])
    lines, pens = drawn_lines(scene, scale)
    layers: list[Layer] = []
    for group in scene.groups:
        contours = [lines[number] for number in group.contours]
        if not contours:
            continue
        if group.fill is not None:
            layers.append(Layer(contours, group.rule, like.new_tensor(1.0), on(group.fill, scale)))
        if group.stroke is not None:
            mine = [pens[number] for number in group.contours]
            layers += strokes(contours, mine, on(group.stroke, scale))
    picture = composed(layers, (height, width), paper_of(background, size, like))
    alpha = picture[3:]
    seen = alpha > 1e-6
    colour = torch.where(seen, picture[:3] / torch.where(seen, alpha, 1.0), picture[:3])
    return torch.cat([colour, alpha]).permute(1, 2, 0)


def drawn_lines(scene: Scene, scale: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Each contour as a polyline `[V, 2]` in pixels, and half of its pen's width: `[]`, or `[V]` where it varies."""
    points, stretch = scene.points * scale, scale.prod().sqrt()
    pens = [pen * stretch for pen in scene.pens]
    if scene.widths is None:
        return scene.chains.polylines(points), pens
    found = scene.chains.polylines(torch.cat([points, scene.widths[:, None] * stretch], 1))
    along = [line[:, 2] if pen.dim() else pen for line, pen in zip(found, pens, strict=True)]
    return [line[:, :2] for line in found], along


def strokes(contours: list[Tensor], pens: list[Tensor], paint: Paint | Tensor) -> list[Layer]:
    """The stroke of a group, whose shapes overlap without darkening one another; pens of width 0 draw nothing."""
    drawn = [
        (line, pen)
        for line, pen in zip(contours, pens, strict=True)
        if float(pen.detach().amax()) > 0
    ]
    if not drawn:
        return []
    lines = [line for line, _ in drawn]
    if not any(pen.dim() for _, pen in drawn):
        widths = torch.stack([2 * pen / PEN_WIDTH for _, pen in drawn])
        return [Layer(lines, None, widths[0] if len(drawn) == 1 else widths, paint)]
    # As wide as each pen is at its widest, and what share of that at each vertex.
    widest = torch.stack([pen.detach().amax() for _, pen in drawn])
    shares = [
        (pen / wide).clamp(min=0).expand(len(line))
        for (line, pen), wide in zip(drawn, widest, strict=True)
    ]
    return [Layer(lines, None, 2 * widest / PEN_WIDTH, paint, taper=torch.cat(shares))]


def on(paint: Paint | Tensor, scale: Tensor) -> Paint | Tensor:
    """A paint in pixels."""
    if isinstance(paint, Tensor):
        return paint
    if isinstance(paint, LinearPaint):
        return replace(paint, begin=paint.begin * scale, end=paint.end * scale)
    return replace(paint, centre=paint.centre * scale, radius=paint.radius * scale)


def paper_of(background: Tensor | None, size: tuple[int, int], like: Tensor) -> Tensor:
    """The premultiplied paper, `[4]` or `[4, height, width]`.

    Raises:
        ProgramError: another size.
    """
    width, height = size
    if background is None:
        return like.new_zeros(4)
    if tuple(background.shape) not in {(height, width, 3), (height, width, 4)}:
        raise ProgramError(
            f"background_image {list(background.shape)}: expected [{height}, {width}, 4]"
        )
    paper = background.to(like).permute(2, 0, 1)
    if len(paper) == 3:
        return torch.cat([paper, torch.ones_like(paper[:1])])
    return torch.cat([paper[:3] * paper[3:], paper[3:]])


def scene_of(
    canvas: tuple[int, int], shapes: Sequence[Shape], groups: Sequence[ShapeGroup]
) -> Scene:
    """A scene's tensors, gathered on the device where it is rendered.

    Raises:
        ProgramError: shapes, groups or colours that do not fit.
    """
    if not (canvas[0] > 0 and canvas[1] > 0):
        raise ProgramError(f"canvas {tuple(canvas)}: expected a width and a height above 0")
    outlines = [outlined(shape, number) for number, shape in enumerate(shapes)]
    double = any(points.dtype == torch.float64 for points, *_ in outlines)
    like = torch.zeros(0, 2, dtype=torch.float64 if double else torch.float32, device=get_device())
    contours: list[tuple[Degrees, bool]] = []
    placed, pens, here = [like], list[Tensor](), []
    for number, group in enumerate(groups):
        ids = torch.as_tensor(group.shape_ids).flatten().tolist()
        matrix, begin = matrix_of(group, number, like), len(contours)
        for one in ids:
            if not 0 <= one < len(shapes):
                raise ProgramError(
                    f"group {number}: shape_ids has {one}; there are {len(shapes)} shapes"
                )
            points, degrees, closed = outlines[one]
            points, pen = points.to(like), pen_of(shapes[one], one).to(like)
            if matrix is not None:
                points = points @ matrix[:2, :2].T + matrix[:2, 2]
                pen = pen * torch.linalg.det(matrix[:2, :2]).abs().sqrt()
            placed.append(points)
            contours.append((degrees, closed))
            pens.append(pen)
        here.append(
            Group(
                list(range(begin, len(contours))),
                "evenodd" if group.use_even_odd_rule else "nonzero",
                paint_of(group.fill_color, f"group {number}: fill_color", like),
                paint_of(group.stroke_color, f"group {number}: stroke_color", like),
            )
        )
    size = float(canvas[0]), float(canvas[1])
    widths = None
    if any(pen.dim() for pen in pens):
        widths = torch.cat([pen.expand(len(p)) for pen, p in zip(pens, placed[1:], strict=True)])
    return Scene(size, torch.cat(placed), pens, widths, Chains.of(contours), here)


def outlined(shape: Shape, number: int) -> tuple[Tensor, Degrees, bool]:
    """A shape's points, the degrees of its segments, and whether it is closed.

    Raises:
        ProgramError: no shape, or points that do not fit or are not finite.
    """
    if not isinstance(shape, Shape):
        raise ProgramError(f"shape {number} is a {type(shape).__name__}; expected {KNOWN}")
    try:
        points, degrees, closed = shape.outline()
    except ProgramError as error:
        raise ProgramError(f"shape {number}: {error}") from None
    if not bool(torch.isfinite(points).all()):
        raise ProgramError(f"shape {number} has a coordinate that is not finite")
    return points, degrees, closed


def pen_of(shape: Shape, number: int) -> Tensor:
    """Half of a pen's width, `[]`, or of a path that at each of its points, `[n]`.

    Raises:
        ProgramError: other shapes, or numbers that are not finite.
    """
    pen = torch.as_tensor(shape.stroke_width)
    points = len(shape.points) if isinstance(shape, Path) else 1
    if pen.numel() != 1 and tuple(pen.shape) != (points,):
        each = f", or [{points}] for its points" if isinstance(shape, Path) else ""
        raise ProgramError(f"shape {number}: stroke_width {list(pen.shape)}; expected []{each}")
    if not bool(torch.isfinite(pen).all()):
        raise ProgramError(f"shape {number}: stroke_width has a number that is not finite")
    return pen.reshape(()) if pen.numel() == 1 else pen


def matrix_of(group: ShapeGroup, number: int, like: Tensor) -> Tensor | None:
    """A group's transform `[3, 3]`; None: it has none.

    Raises:
        ProgramError: no affine transform.
    """
    matrix = torch.as_tensor(group.shape_to_canvas)
    if tuple(matrix.shape) != (3, 3) or matrix[2].tolist() != [0, 0, 1]:
        raise ProgramError(
            f"group {number}: shape_to_canvas is no affine transform [3, 3], whose last row is 0 0 1"
        )
    if not matrix.requires_grad and torch.equal(matrix, torch.eye(3).to(matrix)):
        return None
    return matrix.to(like)


def paint_of(colour: Color | None, name: str, like: Tensor) -> Paint | Tensor | None:
    """A colour or gradient as a paint.

    Raises:
        ProgramError: another shape, numbers that are not finite, or radii that are not positive.
    """
    if colour is None:
        return None
    if isinstance(colour, LinearGradient):
        return LinearPaint(
            checked(colour.begin, (2,), f"{name}.begin", like),
            checked(colour.end, (2,), f"{name}.end", like),
            *stops_of(colour, name, like),
        )
    if isinstance(colour, RadialGradient):
        radius = checked(colour.radius, (2,), f"{name}.radius", like)
        if not bool((radius > 0).all()):
            raise ProgramError(f"{name}.radius = {radius.tolist()}: expected numbers above 0")
        centre = checked(colour.center, (2,), f"{name}.center", like)
        return RadialPaint(centre, radius, *stops_of(colour, name, like))
    return checked(colour, (4,), name, like)


def stops_of(
    gradient: LinearGradient | RadialGradient, name: str, like: Tensor
) -> tuple[Tensor, Tensor]:
    """A gradient's offsets `[K]` and colours `[K, 4]`."""
    count = len(gradient.offsets)
    return (
        checked(gradient.offsets, (count,), f"{name}.offsets", like),
        checked(gradient.stop_colors, (count, 4), f"{name}.stop_colors", like),
    )


def checked(value: Tensor, shape: tuple[int, ...], name: str, like: Tensor) -> Tensor:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape or not value.numel():
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ProgramError(f"{name} {found}: expected a tensor {list(shape)}")
    if not bool(torch.isfinite(value).all()):
        raise ProgramError(f"{name} has a number that is not finite")
    return value.to(like)
