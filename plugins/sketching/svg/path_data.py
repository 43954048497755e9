"""Path data, the attribute `d` of <path>, as chains of cubics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy
from numpy.typing import NDArray

from framework.errors import UserError
from plugins.sketching.svg.values import NUMBER, Cubics, numbers

# How many numbers each command takes at a time.
ARGUMENTS = {"A": 7, "M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "Z": 0}
Point = NDArray[numpy.float64]


def subpaths(data: str) -> Iterator[Cubics]:
    """Each subpath of path data as a chain of cubics.

    Raises:
        UserError: an unknown command, or a wrong number of numbers.
    """
    pen = Pen()
    for letter, inside in re.findall(r"([A-Za-z])([^A-Za-z]*(?:[eE][-+]?\d+[^A-Za-z]*)*)", data):
        pen.follow(letter, arc_numbers(inside) if letter in "Aa" else numbers(inside))
    yield from pen.chains_of_cubics()


class Pen:
    """The state of a path: where the pen is, and the chains of cubics up to there."""

    def __init__(self) -> None:
        self.place = self.start = numpy.zeros(2)
        # Of the previous curve: its family, C or Q, and its last handle.
        self.handle: tuple[str, Point] | None = None
        self.chains: list[list[Point]] = [[]]

    def follow(self, letter: str, given: list[float]) -> None:
        """Apply one command with all its coordinates."""
        kind = letter.upper()
        if kind not in ARGUMENTS:
            raise UserError(f"path command '{letter}' is not known")
        if kind == "Z":
            self.line(self.start)
            self.chains.append([])
            return
        step = ARGUMENTS[kind]
        if not given or len(given) % step:
            raise UserError(f"path command '{letter}' has {len(given)} numbers, expected {step}s")
        for k in range(0, len(given), step):
            here = numpy.array(given[k : k + step])
            base = self.place if letter.islower() else numpy.zeros(2)
            self.step("L" if kind == "M" and k else kind, here, base)

    def step(self, kind: str, given: Point, base: Point) -> None:
        if kind in "HV":
            axis = "HV".index(kind)
            target = self.place.copy()
            target[axis] = base[axis] + given[0]
            self.line(target)
            return
        if kind == "A":
            end = base + given[5:]
            for curve in arc(self.place, given[:5], end):
                self.add(*curve)
            self.handle = None
            return
        points = [base + given[i : i + 2] for i in range(0, len(given), 2)]
        if kind == "M":
            self.place = self.start = points[0]
            self.chains.append([])
            self.handle = None
        elif kind == "L":
            self.line(points[0])
        else:
            self.curve(kind, points)

    def line(self, target: Point) -> None:
        way = target - self.place
        self.add(self.place + way / 3, self.place + way * 2 / 3, target)
        self.handle = None

    def curve(self, kind: str, points: list[Point]) -> None:
        """C and S are cubics, Q and T quadratics; S and T start with the mirrored handle of the previous curve."""
        family = "C" if kind in "CS" else "Q"
        if kind in "ST":
            mirrored = self.handle is not None and self.handle[0] == family
            first = 2 * self.place - self.handle[1] if mirrored and self.handle else self.place
            points = [first, *points]
        self.handle = (family, points[-2])
        if family == "C":
            self.add(*points)
        else:
            middle, end = points
            self.add(self.place + (middle - self.place) * 2 / 3, end + (middle - end) * 2 / 3, end)

    def add(self, *points: Point) -> None:
        self.chains[-1].append(numpy.stack([self.place, *points]))
        self.place = points[-1]

    def chains_of_cubics(self) -> Iterator[Cubics]:
        yield from (numpy.stack(chain) for chain in self.chains if chain)


def arc_numbers(text: str) -> list[float]:
    """The numbers of arcs: two of each seven are flags, which need no space after them.

    Raises:
        UserError: something else.
    """
    found: list[float] = []
    place = 0
    while text[place:].strip(" ,\t\r\n"):
        pattern = r"[\s,]*([01])" if len(found) % 7 in {3, 4} else rf"[\s,]*({NUMBER})"
        match = re.compile(pattern).match(text, place)
        if match is None:
            raise UserError(f"an arc's numbers are not '{text.strip()[:40]}'")
        found.append(float(match[1]))
        place = match.end()
    return found


def arc(start: Point, parameters: Point, end: Point) -> Iterator[Point]:
    """An elliptic arc as cubics `[3, 2]` (both handles and the end), each of a quarter turn at most.

    Args:
        parameters: both radii, the first one's angle in degrees, and flags for the large arc and for growing angles.

    The centre is computed as in SVG 2, appendix B.2.4: in coordinates in which the ellipse is a unit circle.
    """
    radius, (large, growing) = numpy.abs(parameters[:2]), parameters[3:] != 0
    if (radius == 0).any() or (start == end).all():
        way = end - start
        yield numpy.stack([start + way / 3, start + way * 2 / 3, end])
        return
    c, s = math.cos(math.radians(parameters[2])), math.sin(math.radians(parameters[2]))
    turn = numpy.array([[c, -s], [s, c]])
    one, other = (turn.T @ point / radius for point in (start, end))
    half = (other - one) / 2
    length = float(numpy.hypot(*half))
    # Radii too small to reach the end are enlarged until they do.
    if length > 1:
        radius, one, other, half, length = (
            radius * length,
            one / length,
            other / length,
            half / length,
            1.0,
        )
    aside = math.sqrt(max(0.0, 1 / length**2 - 1)) * numpy.array([-half[1], half[0]])
    centre = (one + other) / 2 + (-aside if large == growing else aside)
    first, last = (math.atan2(*(point - centre)[::-1]) for point in (one, other))
    swept = (last - first) % (2 * math.pi)
    swept = swept if growing else swept - 2 * math.pi
    quarters = max(1, math.ceil(abs(swept) / (math.pi / 2) - 1e-9))
    step = swept / quarters
    reach = 4 / 3 * math.tan(step / 4)
    for k in range(quarters):
        a, b = first + k * step, first + (k + 1) * step
        here, there = (numpy.array([math.cos(x), math.sin(x)]) for x in (a, b))
        handles = [
            here + reach * numpy.array([-here[1], here[0]]),
            there - reach * numpy.array([-there[1], there[0]]),
        ]
        curve = (centre + numpy.stack([*handles, there])) * radius @ turn.T
        if k == quarters - 1:
            curve[2] = end
        yield curve
