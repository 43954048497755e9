"""Numbers, transforms and shapes as SVG's attributes write them, read by svgelements."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

import numpy

from framework.errors import UserError
from framework.extras import import_extra
from plugins.sketching.svg.document import local_name
from plugins.sketching.svg.grammar import sound_path, sound_points
from plugins.sketching.svg.picture import Array, Contour

# `[2, 3]`.
Matrix = Array
IDENTITY: Matrix = numpy.array([[1.0, 0, 0], [0, 1, 0]])
# CSS's pixels per inch.
PPI = 96
MAX_CURVES = 500_000
# CSS's units in pixels, and in sizes of the font.
UNITS = {
    **{"": 1.0, "px": 1.0, "in": PPI, "cm": PPI / 2.54, "mm": PPI / 25.4, "q": PPI / 101.6},
    **{"pt": PPI / 72, "pc": PPI / 6, "rem": 16.0},
}
FONT_UNITS = {"em": 1.0, "ex": 0.5, "ch": 0.5}
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# How many numbers each function of a transform may have.
FUNCTIONS = {
    **{"matrix": (6,), "translate": (1, 2), "scale": (1, 2)},
    **{"rotate": (1, 3), "skewX": (1,), "skewY": (1,)},
}
FUNCTION = re.compile(r"[\s,]*(\w+)\s*\(([^()]*)\)[\s,]*")
TURNS = {"rotate", "skewX", "skewY"}
ANGLES = {"", "deg", "rad", "grad", "turn"}
# A length as an attribute: its value, and which side of the viewport its percentages are of.
Measure = Callable[[str, str, float], float]


class TooMany(UserError):
    """More than a file may hold."""


def svgelements() -> Any:
    """The package that reads the grammar of SVG.

    Raises:
        UserError: it is not installed.
    """
    return import_extra("svgelements", "sketching", "reading SVG needs svgelements")


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The matrix that applies `inner` first."""
    return numpy.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def placed(points: Array, matrix: Matrix) -> Array:
    """Points `[..., 2]` under a matrix."""
    with numpy.errstate(all="ignore"):
        found: Array = points @ matrix[:, :2].T + matrix[:, 2]
    return found


def stretch(matrix: Matrix) -> float:
    """The factor of lengths, on average over directions."""
    (a, c), (b, d) = matrix[:, :2].tolist()
    return math.sqrt(abs(a * d - b * c))


def transform(text: str) -> Matrix:
    """A transform attribute as a matrix.

    Raises:
        UserError: it is none.
    """
    if text.strip() in {"", "none"}:
        return IDENTITY
    try:
        if not is_transform(text):
            raise ValueError
        found = svgelements().Matrix(text)
        found.render(ppi=PPI, width=1, height=1)
        values = [float(getattr(found, name)) for name in "acebdf"]
    except (ValueError, TypeError, IndexError, AttributeError):
        raise UserError(f"transform '{text[:40]}' is not known") from None
    return numpy.array(values).reshape(2, 3)


def is_transform(text: str) -> bool:
    """Whether a text is a list of transforms, each of as many numbers as it should have."""
    place = 0
    while part := FUNCTION.match(text, place):
        name, given = part[1], re.split(r"\s*,\s*|\s+", part[2].strip())
        units = UNITS if name == "translate" else ANGLES if name in TURNS else {""}
        if len(given) not in FUNCTIONS.get(name, ()) or not all(is_in(one, units) for one in given):
            return False
        place = part.end()
    return place == len(text)


def is_in(text: str, units: Collection[str]) -> bool:
    """Whether a text is a number in one of some units."""
    number = NUMBER.match(text)
    return number is not None and text[number.end() :].lower() in units


def length(text: str | None, default: float, whole: float, font_size: float) -> float:
    """A length in pixels; `whole` is what its percentages are of.

    Raises:
        UserError: it is none, or not finite.
    """
    plain = (text or "").strip()
    if plain in {"", "auto"}:
        return default
    number = NUMBER.match(plain)
    if number is None:
        raise UserError(f"'{plain[:40]}' is no length")
    value, unit = float(number[0]), plain[number.end() :].lower()
    if unit == "%":
        value *= whole / 100
    elif unit in FONT_UNITS:
        value *= FONT_UNITS[unit] * font_size
    elif unit in UNITS:
        value *= UNITS[unit]
    else:
        raise UserError(f"'{plain[:40]}' is no length")
    if not math.isfinite(value) and not math.isnan(whole):
        raise UserError(f"'{plain[:40]}' is no finite length")
    return float(value)


def numbers(text: str) -> list[float]:
    """All numbers of a text."""
    return [float(part) for part in NUMBER.findall(text)]


def viewbox_of(element: Element) -> list[float]:
    """The four numbers of an element's viewBox; []: it has none.

    Raises:
        UserError: other than four, or no size.
    """
    text = element.get("viewBox")
    if text is None:
        return []
    parts = re.split(r"\s*,\s*|\s+", text.strip())
    box = [float(part) for part in parts if NUMBER.fullmatch(part)]
    if len(parts) != 4 or len(box) != 4 or not (box[2] > 0 and box[3] > 0):
        raise UserError(f"its viewBox is '{text[:40]}'")
    return box


def fitted(box: list[float], width: float, height: float, preserve: str | None) -> Matrix:
    """The matrix from a viewBox to a viewport of a width and height at the origin.

    Raises:
        UserError: the viewBox is none.
    """
    if len(box) != 4 or not (box[2] > 0 and box[3] > 0) or not all(map(math.isfinite, box)):
        raise UserError(f"its viewBox is {' '.join(f'{x:g}' for x in box)}")
    viewbox = svgelements().Viewbox(" ".join(map(repr, box)), preserve)
    viewport = svgelements().Rect(0, 0, width, height)
    return transform(str(viewbox.transform(viewport)))


def contours_of(element: Element, measure: Measure) -> list[Contour]:
    """The contours of a basic shape or path, in its own coordinates.

    Raises:
        UserError: one of its numbers is none.
    """
    # What is not finite is refused afterwards.
    with numpy.errstate(all="ignore"):
        return list(contours(SHAPES[local_name(element)](element, measure)))


def path_element(element: Element, measure: Measure) -> Any:
    """A path, up to its first mistake, as the standard asks for."""
    data = element.get("d", "")
    if sum(1 for _ in NUMBER.finditer(data)) > 6 * MAX_CURVES:
        raise TooMany(f"more than {MAX_CURVES:,} curves")
    sound, path = data[: sound_path(data)], svgelements().Path()
    if sound:
        try:
            path.parse(sound)
        except (ValueError, ArithmeticError, AttributeError, IndexError, TypeError):
            raise UserError(f"its path data '{data[:40]}' cannot be read") from None
    return path


def rectangle_element(element: Element, measure: Measure) -> Any:
    def side(name: str, of: str, default: float = 0.0) -> float:
        return measure(element.get(name, ""), of, default)

    x, y, width, height = side("x", "x"), side("y", "y"), side("width", "x"), side("height", "y")
    if width <= 0 or height <= 0:
        return ()
    rx, ry = side("rx", "x", math.nan), side("ry", "y", math.nan)
    rx, ry = (ry if math.isnan(rx) else rx), (rx if math.isnan(ry) else ry)
    rx, ry = (0.0 if not r > 0 else r for r in (rx, ry))
    rx, ry = min(rx, width / 2), min(ry, height / 2)
    return svgelements().Rect(x, y, width, height, rx, ry).segments()


def ellipse_element(element: Element, measure: Measure) -> Any:
    centre = [measure(element.get(name, ""), of, 0.0) for name, of in (("cx", "x"), ("cy", "y"))]
    if local_name(element) == "circle":
        rx = ry = measure(element.get("r", ""), "both", 0.0)
    else:
        rx, ry = (
            measure(element.get(name, ""), of, math.nan) for name, of in (("rx", "x"), ("ry", "y"))
        )
        rx, ry = (ry if math.isnan(rx) else rx), (rx if math.isnan(ry) else ry)
    if not (rx > 0 and ry > 0):
        return ()
    return svgelements().Ellipse(*centre, rx, ry).segments()


def line_element(element: Element, measure: Measure) -> Any:
    x1, y1, x2, y2 = (measure(element.get(n, ""), n[0], 0.0) for n in ("x1", "y1", "x2", "y2"))
    return svgelements().SimpleLine(x1, y1, x2, y2).segments()


def polyline_element(element: Element, measure: Measure) -> Any:
    text = element.get("points", "")
    listed = numbers(text[: sound_points(text)])
    points = list(zip(listed[::2], listed[1::2], strict=True))
    if len(points) < 2:
        return ()
    kind = "Polygon" if local_name(element) == "polygon" else "Polyline"
    return getattr(svgelements(), kind)(*points).segments()


SHAPES: Mapping[str, Callable[[Element, Measure], Any]] = {
    "path": path_element,
    "rect": rectangle_element,
    "circle": ellipse_element,
    "ellipse": ellipse_element,
    "line": line_element,
    "polyline": polyline_element,
    "polygon": polyline_element,
}


def contours(segments: Any) -> Iterator[Contour]:
    """svgelements' segments as chains of cubics."""
    chain: list[list[tuple[float, float]]] = []
    for segment in segments:
        kind = type(segment).__name__
        if kind == "Move":
            if chain:
                yield Contour(numpy.array(chain), False)
            chain = []
            continue
        start, end = pair(segment.start), pair(segment.end)
        if kind == "Close":
            if start != end or not chain:
                chain.append(straight(start, end))
            yield Contour(numpy.array(chain), True)
            chain = []
        elif kind == "Arc":
            chain.extend(of_arc(segment))
        else:
            chain.append(of_curve(segment, start, end))
    if chain:
        yield Contour(numpy.array(chain), False)


def of_curve(
    segment: Any, start: tuple[float, float], end: tuple[float, float]
) -> list[tuple[float, float]]:
    """A line or a Bezier curve as a cubic."""
    if hasattr(segment, "control1"):
        return [start, pair(segment.control1), pair(segment.control2), end]
    if hasattr(segment, "control"):
        middle = pair(segment.control)
        return [start, mixed(start, middle, 2 / 3), mixed(end, middle, 2 / 3), end]
    return straight(start, end)


def of_arc(segment: Any) -> Iterator[list[tuple[float, float]]]:
    """An elliptic arc as cubics of a quarter turn at most, whose handles are 4/3 tan(turn / 4) radii long."""
    start, end = pair(segment.start), pair(segment.end)
    if not (segment.rx and segment.ry) or not segment.sweep:
        if start != end:
            yield straight(start, end)
        return
    if not math.isfinite(segment.sweep):
        raise UserError("an arc of it is too large")
    quarters = max(1, math.ceil(abs(segment.sweep) / (math.pi / 2) - 1e-9))
    step = segment.sweep / quarters
    turns = segment.get_start_t() + step * numpy.arange(quarters + 1)
    turned = float(segment.get_rotation())
    axes = numpy.array(
        [[math.cos(turned), math.sin(turned)], [-math.sin(turned), math.cos(turned)]]
    )
    axes = axes * numpy.array([[segment.rx], [segment.ry]])
    centre = pair(segment.center)
    points = numpy.stack([numpy.cos(turns), numpy.sin(turns)], 1) @ axes + centre
    ways = 4 / 3 * math.tan(step / 4) * numpy.stack([-numpy.sin(turns), numpy.cos(turns)], 1) @ axes
    points[0], points[-1] = start, end
    for k in range(quarters):
        curve = [points[k], points[k] + ways[k], points[k + 1] - ways[k + 1], points[k + 1]]
        yield [pair(point) for point in curve]


def pair(point: Any) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def mixed(a: tuple[float, float], b: tuple[float, float], share: float) -> tuple[float, float]:
    """The point a `share` of the way from a to b."""
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def straight(a: tuple[float, float], b: tuple[float, float]) -> list[tuple[float, float]]:
    return [a, mixed(a, b, 1 / 3), mixed(a, b, 2 / 3), b]
