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

    def chain(self) -> tuple[Array, list[int]]:
        """The points `[P, 2]`, shared by neighbouring curves, and each curve's degree: 1 where it is straight.

        Of a closed contour the first point is not repeated.
        """
        cubics = self.cubics
        ways = cubics[:, 3:] - cubics[:, :1]
        straight = cubics[:, :1] + numpy.array([[1 / 3], [2 / 3]]) * ways
        extent = max(float(numpy.ptp(cubics.reshape(-1, 2), axis=0).max()), 1e-9)
        lines = numpy.abs(cubics[:, 1:3] - straight).max((1, 2)) < 1e-6 * extent
        rows = [cubic[3:] if line else cubic[1:] for cubic, line in zip(cubics, lines, strict=True)]
        points = numpy.concatenate([cubics[0, :1], *rows])
        return points[:-1] if self.closed else points, numpy.where(lines, 1, 3).tolist()

    @property
    def is_line(self) -> bool:
        """Whether it is one straight line."""
        return len(self.cubics) == 1 and self.chain()[1] == [1]

    def closed_up(self) -> Contour:
        """The contour with a line from its end to its start, as a fill closes it."""
        if self.closed:
            return self
        start, end = self.cubics[0, 0], self.cubics[-1, 3]
        if numpy.abs(start - end).max() < 1e-9:
            return Contour(self.cubics, True)
        line = end + numpy.array([[0], [1 / 3], [2 / 3], [1]]) * (start - end)
        return Contour(numpy.concatenate([self.cubics, line[None]]), True)


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
    def is_single_stroke(self) -> bool:
        """Whether it is one stroke along one open curve, in one colour."""
        alone = self.fill is None and self.stroke is not None and self.width > 0
        curve = len(self.contours) == 1 and len(self.contours[0].cubics) == 1
        plain = isinstance(self.stroke, tuple) and not self.clips
        return alone and curve and plain and not self.contours[0].closed

    @property
    def has_edges(self) -> bool:
        """Whether its stroke has caps or joins that are not round."""
        if self.stroke is None or self.width <= 0:
            return False
        ends = self.cap != "round" and not all(contour.closed for contour in self.contours)
        turns = self.join != "round" and any(len(contour.cubics) > 1 for contour in self.contours)
        return ends or turns

    @property
    def not_drawn(self) -> list[str]:
        """What of it a scene of fills and strokes does not show."""
        dashed = self.stroke is not None and self.dashes
        return ["its dashes are left out"] if dashed else []

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

    @property
    def not_drawn(self) -> list[str]:
        """What of its marks a scene of fills and strokes does not show, each in one line."""
        lost = [
            f"shape {number + 1}: {line}"
            for number, mark in enumerate(self.marks)
            for line in mark.not_drawn
        ]
        edged = [number for number, mark in enumerate(self.marks) if mark.has_edges]
        if edged:
            count = f" and {len(edged) - 1} more" if len(edged) > 1 else ""
            lost.append(f"shape {edged[0] + 1}{count}: caps and joins are round")
        return lost

    @property
    def painted(self) -> list[Mark]:
        """The marks that show anything."""
        return [
            mark
            for mark in self.marks
            if mark.fill is not None or (mark.stroke is not None and mark.width > 0)
        ]

    @property
    def paper(self) -> Colour | None:
        """The colour of an opaque rectangle that covers the picture below everything else; None: there is none."""
        first = next(iter(self.painted), None)
        if first is None or first.stroke is not None or first.clips or len(first.contours) != 1:
            return None
        points, degrees = first.contours[0].closed_up().chain()
        places = points / [self.width, self.height]
        low, high = places <= 0.001, places >= 0.999
        corners = {tuple(corner) for corner in high.tolist()}
        covers = degrees == [1] * 4 and bool((low | high).all()) and len(corners) == 4
        opaque = first.fill_opacity >= 0.999
        return first.fill if covers and opaque and isinstance(first.fill, tuple) else None

    @property
    def on_paper(self) -> list[Mark]:
        """The marks that show anything but the paper."""
        return self.painted if self.paper is None else self.painted[1:]
