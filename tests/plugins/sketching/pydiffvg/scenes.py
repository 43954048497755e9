"""Scenes of every kind for the tests of the drop-in, on a canvas of 64 x 48."""

from __future__ import annotations

import torch
from torch import Tensor, tensor

import plugins.sketching.pydiffvg as pydiffvg

Scene = tuple[list[pydiffvg.Shape], list[pydiffvg.ShapeGroup]]
RED, BLUE = tensor([0.9, 0.2, 0.1, 1.0]), tensor([0.1, 0.3, 0.8, 0.6])


def curve(closed: bool, width: float = 2.0) -> pydiffvg.Path:
    """A line, a quadratic and a cubic."""
    points = [[8.0, 8.0], [30.0, 6.0], [58.0, 4.0], [52.0, 24.0], [50.0, 44.0], [20.0, 40.0]]
    points = points if closed else [*points, [10.0, 30.0]]
    between = tensor([0, 1, 2])
    return pydiffvg.Path(between, tensor(points), closed, tensor(width))


def alone(shape: pydiffvg.Shape, **paint: object) -> Scene:
    given: dict[str, object] = {"fill_color": None} | paint
    return [shape], [pydiffvg.ShapeGroup(tensor([0]), **given)]  # type: ignore[arg-type]


def stops(*colours: list[float]) -> Tensor:
    return tensor(colours)


def linear() -> pydiffvg.LinearGradient:
    colours = stops([1.0, 0, 0, 1], [0, 1.0, 0, 0.5], [0, 0, 1.0, 1])
    return pydiffvg.LinearGradient(
        tensor([10.0, 5.0]), tensor([50.0, 40.0]), tensor([0.1, 0.5, 0.9]), colours
    )


def radial() -> pydiffvg.RadialGradient:
    colours = stops([1.0, 1, 0, 1], [0, 0.2, 0.6, 0.8])
    return pydiffvg.RadialGradient(
        tensor([30.0, 24.0]), tensor([25.0, 12.0]), tensor([0.0, 1.0]), colours
    )


def ring(even_odd: bool) -> Scene:
    shapes: list[pydiffvg.Shape] = [
        pydiffvg.Circle(tensor(18.0), tensor([30.0, 24.0])),
        pydiffvg.Circle(tensor(9.0), tensor([33.0, 22.0])),
    ]
    return shapes, [pydiffvg.ShapeGroup(tensor([0, 1]), RED, even_odd)]


def strokes_of_two_pens() -> Scene:
    shapes: list[pydiffvg.Shape] = [
        pydiffvg.Polygon(tensor([[5.0, 5.0], [60.0, 40.0]]), False, tensor(3.0)),
        pydiffvg.Polygon(tensor([[5.0, 40.0], [60.0, 5.0]]), False, tensor(1.5)),
    ]
    return shapes, [pydiffvg.ShapeGroup(tensor([0, 1]), None, stroke_color=BLUE)]


def varying_pen() -> Scene:
    """A translucent stroke that is as wide as is stated at each of its points, and one of one width."""
    first, second = curve(False), pydiffvg.Polygon(tensor([[5.0, 44], [30, 20]]), False)
    first.stroke_width = tensor([1.0, 3.0, 0.5, 4.0, 2.0, 5.0, 1.0])
    return [first, second], [pydiffvg.ShapeGroup(tensor([0, 1]), None, stroke_color=BLUE)]


def layered() -> Scene:
    """A fill, a gradient and a stroke over one another."""
    shapes: list[pydiffvg.Shape] = [
        pydiffvg.Rect(tensor([6.0, 6.0]), tensor([40.0, 30.0]), tensor(1.0)),
        pydiffvg.Ellipse(tensor([18.0, 10.0]), tensor([36.0, 26.0]), tensor(1.0)),
        curve(False, 1.5),
    ]
    groups = [
        pydiffvg.ShapeGroup(tensor([0]), RED, stroke_color=tensor([0.0, 0, 0, 1])),
        pydiffvg.ShapeGroup(tensor([1]), radial()),
        pydiffvg.ShapeGroup(tensor([2]), None, stroke_color=BLUE),
    ]
    return shapes, groups


def turned() -> Scene:
    matrix = tensor([[0.8, -0.6, 20.0], [0.6, 0.8, -8.0], [0, 0, 1]])
    shapes: list[pydiffvg.Shape] = [pydiffvg.Rect(tensor([10.0, 8.0]), tensor([40.0, 22.0]))]
    group = pydiffvg.ShapeGroup(tensor([0]), RED, stroke_color=BLUE, shape_to_canvas=matrix)
    return shapes, [group]


SCENES: dict[str, Scene] = {
    "circle": alone(pydiffvg.Circle(tensor(15.3), tensor([31.2, 22.9])), fill_color=RED),
    "ellipse": alone(pydiffvg.Ellipse(tensor([20.0, 9.0]), tensor([31.2, 22.9])), fill_color=BLUE),
    "rectangle": alone(pydiffvg.Rect(tensor([7.3, 9.0]), tensor([50.0, 33.6])), fill_color=RED),
    "polygon": alone(
        pydiffvg.Polygon(tensor([[5.0, 5.0], [60, 20], [10, 40], [40, 2], [42, 44]]), True),
        fill_color=BLUE,
    ),
    "curve": alone(curve(True), fill_color=RED, stroke_color=BLUE),
    "open curve": alone(curve(False), stroke_color=BLUE),
    "thin curve": alone(curve(False, 0.2), stroke_color=RED),
    "linear": alone(curve(True), fill_color=linear(), stroke_color=RED),
    "radial": alone(curve(True), fill_color=radial(), stroke_color=linear()),
    "ring": ring(True),
    "disc": ring(False),
    "two pens": strokes_of_two_pens(),
    "varying pen": varying_pen(),
    "layers": layered(),
    "turned": turned(),
}


def rendered(scene: Scene, size: tuple[int, int] = (64, 48), paper: Tensor | None = None) -> Tensor:
    """The picture, as a user of diffvg asks for it."""
    given = pydiffvg.RenderFunction.serialize_scene(64, 48, *scene)
    picture: Tensor = pydiffvg.RenderFunction.apply(size[0], size[1], 2, 2, 0, paper, *given)
    return picture


def flat(picture: Tensor) -> Tensor:
    """A picture over black."""
    return torch.cat([picture[..., :3] * picture[..., 3:], picture[..., 3:]], -1)
