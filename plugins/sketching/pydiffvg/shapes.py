"""Shapes and the groups that paint them, with diffvg's names, fields and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from framework.errors import ProgramError
from plugins.sketching.strokes.primitives import ARC

Degrees = Sequence[int]
# By the number of control points between a segment's ends.
BETWEEN = (0, 1, 2)


def one() -> Tensor:
    return torch.tensor(1.0)


@dataclass(eq=False)
class Circle:
    """A circle; `stroke_width` of this and all other shapes is half of the pen's width, as in diffvg."""

    radius: Tensor
    center: Tensor
    stroke_width: Tensor = field(default_factory=one)
    id: str = ""

    def outline(self) -> tuple[Tensor, Degrees, bool]:
        return ellipse(self.center, self.radius.reshape(1).expand(2))


@dataclass(eq=False)
class Ellipse:
    """An ellipse with the radii `[2]` along x and y."""

    radius: Tensor
    center: Tensor
    stroke_width: Tensor = field(default_factory=one)
    id: str = ""

    def outline(self) -> tuple[Tensor, Degrees, bool]:
        return ellipse(self.center, self.radius)


@dataclass(eq=False)
class Path:
    """A chain of lines, quadratic and cubic curves.

    Attributes:
        num_control_points: `[M]`, of each segment between its ends: 0, 1 or 2.
        points: `[P, 2]`, one after another; of a closed path the last segment ends in the first point.
    """

    num_control_points: Tensor
    points: Tensor
    is_closed: bool
    stroke_width: Tensor = field(default_factory=one)
    id: str = ""
    use_distance_approx: bool = False

    def outline(self) -> tuple[Tensor, Degrees, bool]:
        between = torch.as_tensor(self.num_control_points).flatten().tolist()
        if not set(between) <= set(BETWEEN):
            raise ProgramError(f"num_control_points = {between}: expected 0, 1 or 2 each")
        degrees = [int(number) + 1 for number in between]
        expected = sum(degrees) + (0 if self.is_closed else 1)
        if not degrees or tuple(self.points.shape) != (expected, 2):
            kind = "a closed" if self.is_closed else "an open"
            raise ProgramError(
                f"points {list(self.points.shape)}: {kind} path of num_control_points {between} has [{expected}, 2]"
            )
        return self.points, degrees, bool(self.is_closed)


@dataclass(eq=False)
class Polygon:
    """Straight lines through `points [P, 2]`."""

    points: Tensor
    is_closed: bool
    stroke_width: Tensor = field(default_factory=one)
    id: str = ""

    def outline(self) -> tuple[Tensor, Degrees, bool]:
        if self.points.dim() != 2 or self.points.shape[1] != 2 or len(self.points) < 2:
            raise ProgramError(
                f"points {list(self.points.shape)}: expected [P, 2] with two or more points"
            )
        return self.points, [1] * (len(self.points) - (not self.is_closed)), bool(self.is_closed)


@dataclass(eq=False)
class Rect:
    """A rectangle from its least to its largest x and y, `[2]` each."""

    p_min: Tensor
    p_max: Tensor
    stroke_width: Tensor = field(default_factory=one)
    id: str = ""

    def outline(self) -> tuple[Tensor, Degrees, bool]:
        (left, top), (right, bottom) = self.p_min, self.p_max
        corners = [left, top, right, top, right, bottom, left, bottom]
        return torch.stack(corners).reshape(4, 2), [1] * 4, True


Shape = Circle | Ellipse | Path | Polygon | Rect


@dataclass(eq=False)
class LinearGradient:
    """Colours along the line from `begin` to `end`, in the canvas's coordinates; `stop_colors [K, 4]`."""

    begin: Tensor = field(default_factory=lambda: torch.zeros(2))
    end: Tensor = field(default_factory=lambda: torch.zeros(2))
    offsets: Tensor = field(default_factory=lambda: torch.zeros(1))
    stop_colors: Tensor = field(default_factory=lambda: torch.zeros(1, 4))


@dataclass(eq=False)
class RadialGradient:
    """Colours around `center`, the offset 1 at the radii `[2]` along x and y."""

    center: Tensor = field(default_factory=lambda: torch.zeros(2))
    radius: Tensor = field(default_factory=lambda: torch.zeros(2))
    offsets: Tensor = field(default_factory=lambda: torch.zeros(1))
    stop_colors: Tensor = field(default_factory=lambda: torch.zeros(1, 4))


Color = Tensor | LinearGradient | RadialGradient


@dataclass(eq=False)
class ShapeGroup:
    """Shapes that are painted together: one compound fill, below one stroke.

    Attributes:
        shape_ids: `[S]`, places in the list of shapes.
        fill_color, stroke_color: red, green, blue and opacity `[4]`, a gradient, or None.
        shape_to_canvas: `[3, 3]`, the shapes' transform.
    """

    shape_ids: Tensor
    # Any: what is learned of a colour depends on its kind, which the caller knows.
    fill_color: Any
    use_even_odd_rule: bool = True
    stroke_color: Any = None
    shape_to_canvas: Tensor = field(default_factory=lambda: torch.eye(3))
    id: str = ""


def ellipse(center: Tensor, radius: Tensor) -> tuple[Tensor, Degrees, bool]:
    """Four quarters as cubics, `[12, 2]`."""
    unit = [(1, 0), (1, ARC), (ARC, 1), (0, 1), (-ARC, 1), (-1, ARC)]
    turned = [*unit, *[(-x, -y) for x, y in unit]]
    return center + radius * radius.new_tensor(turned), [3] * 4, True
