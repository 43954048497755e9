"""What an SVG shows: compound paths with their paint, in pixels of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy
from numpy.typing import NDArray

Array = NDArray[numpy.float64]
Colour = tuple[float, float, float]
Rule = Literal["nonzero", "evenodd"]


@dataclass(frozen=True)
class Contour:
    """A chain of cubics `[m, 4, 2]`, each starting where the last one ends; a closed one ends where it starts."""

    cubics: Array
    closed: bool


@dataclass(frozen=True)
class Gradient:
    """A linear or radial gradient (SVG 2, section 14.2).

    Attributes:
        inverse: `[2, 3]`, from pixels of the picture to the gradient's coordinates.
        line: x1, y1, x2, y2 of a linear one; None: radial.
        circle: cx, cy, r, fx, fy of a radial one.
        offsets: `[K]`, rising, in 0..1.
        colours: `[K, 4]`, red, green, blue and opacity at the stops.
        spread: how it goes on beyond its ends.
    """

    inverse: Array
    line: tuple[float, float, float, float] | None
    circle: tuple[float, float, float, float, float]
    offsets: Array
    colours: Array
    spread: str

    def at(self, points: Array) -> Array:
        """Red, green, blue and opacity `[..., 4]` at points `[..., 2]`."""
        place = points @ self.inverse[:, :2].T + self.inverse[:, 2]
        t = self.along_line(place) if self.line else self.along_circle(place)
        if self.spread == "repeat":
            t = t - numpy.floor(t)
        elif self.spread == "reflect":
            t = 1 - abs(t - 2 * numpy.floor(t / 2) - 1)
        channels = [numpy.interp(t, self.offsets, self.colours[:, c]) for c in range(4)]
        return numpy.stack(channels, -1)

    def along_line(self, place: Array) -> Array:
        assert self.line is not None
        x1, y1, x2, y2 = self.line
        way = numpy.array([x2 - x1, y2 - y1])
        length = float(way @ way)
        if length == 0:
            return numpy.ones(place.shape[:-1])
        found: Array = (place - [x1, y1]) @ way / length
        return found

    def along_circle(self, place: Array) -> Array:
        """Where the ray from the focus through a point meets the circle: |f + (p - f) / t - c| = r."""
        cx, cy, r, fx, fy = self.circle
        if r <= 0:
            return numpy.ones(place.shape[:-1])
        focus, centre = numpy.array([fx, fy]), numpy.array([cx, cy])
        off = focus - centre
        # A focus outside the circle lies on its edge.
        distance = float(numpy.hypot(*off))
        if distance > 0.999 * r:
            off = off * (0.999 * r / distance)
            focus = centre + off
        way = place - focus
        a, b, c = r * r - off @ off, way @ off, (way * way).sum(-1)
        found: Array = (b + numpy.sqrt(b * b + a * c)) / a
        return found

    @property
    def mean(self) -> tuple[float, float, float, float]:
        """The average over the gradient's length."""
        red, green, blue, opacity = self.at_offsets(numpy.linspace(0, 1, 33)).mean(0).tolist()
        return red, green, blue, opacity

    def at_offsets(self, t: Array) -> Array:
        return numpy.stack([numpy.interp(t, self.offsets, self.colours[:, c]) for c in range(4)], 1)


Paint = Colour | Gradient


@dataclass(frozen=True)
class Clip:
    """The union of shapes inside which a mark is seen: the contours of each, and its fill rule."""

    shapes: Sequence[tuple[Sequence[Contour], Rule]]


@dataclass(frozen=True)
class Mark:
    """A compound path and its paint.

    Attributes:
        contours: its parts; a fill's holes are contours of it.
        fill, stroke: None: it has none.
        fill_opacity, stroke_opacity: those of the element and of all groups that it lies in, multiplied.
        width: of the pen, in pixels.
        dashes: lengths of dashes and gaps, in pixels; (): an unbroken line.
        clips: only what lies inside all of them is seen.
    """

    contours: Sequence[Contour]
    fill: Paint | None
    fill_opacity: float
    fill_rule: Rule
    stroke: Paint | None
    stroke_opacity: float
    width: float
    cap: str = "butt"
    join: str = "miter"
    miter_limit: float = 4.0
    dashes: tuple[float, ...] = ()
    dash_offset: float = 0.0
    clips: tuple[Clip, ...] = ()

    @property
    def points(self) -> Array:
        """All control points, `[n, 2]`."""
        return numpy.concatenate([contour.cubics.reshape(-1, 2) for contour in self.contours])


@dataclass(frozen=True)
class Picture:
    """The marks of an SVG in the order of painting.

    Attributes:
        width, height: in pixels.
        left_out: what the file holds beyond its marks, each in one line.
    """

    width: float
    height: float
    marks: list[Mark]
    left_out: list[str]
