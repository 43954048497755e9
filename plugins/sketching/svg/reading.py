"""SVG: a drawing as a file that any editor opens, and files of others as strokes to begin with.

One unit is one pixel of the canvas. A stroke of profile exp(-d^2 / s^2) is written 1.772 s wide, which leaves the same
ink; curves are written as the cubics they are. Transparent inks become mix-blend-mode: multiply.

A file to be read is not trusted: no DOCTYPE or ENTITY, limits on bytes, depth, elements and curves, nothing fetched.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy
import torch
from numpy.typing import NDArray
from PIL import ImageColor
from torch import Tensor

from framework.errors import UserError
from plugins.sketching.raster.render import PEN_WIDTH
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.primitives import ellipse, polyline

MOST_BYTES = 20_000_000
MOST_ELEMENTS = 200_000
MOST_CURVES = 500_000
DEEPEST = 64

Matrix = NDArray[numpy.float64]  # [2, 3]
Cubics = NDArray[numpy.float64]  # [m, 4, 2]
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Mark:
    """A shape that was read: its cubics in pixels of the picture, and how it is drawn; None: not at all."""

    cubics: Cubics
    stroke: tuple[float, float, float] | None
    fill: tuple[float, float, float] | None
    width: float  # of the pen, in pixels
    stroke_opacity: float
    fill_opacity: float


@dataclass(frozen=True)
class Picture:
    """An SVG that was read; sizes in its own units."""

    width: float
    height: float
    marks: list[Mark]


def read(path: Path) -> Picture:
    """The shapes of an SVG file; text, pictures, gradients and clips are left out.

    Raises:
        UserError: missing, not SVG, a document type or entity, or something beyond the limits.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such SVG")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    try:
        return parse(path.read_bytes())
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def parse(data: bytes) -> Picture:
    """`read` of a file's bytes."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("no UTF-8 text") from None
    refused = re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE)
    if refused:
        raise UserError(f"{refused[1].upper()} is refused")
    root = tree(text)
    if local(root) != "svg":
        raise UserError(f"the root is <{local(root)}>, expected <svg>")
    box = numbers(root.get("viewBox", ""))
    if len(box) != 4:
        sides = [numbers(root.get(side, "")) for side in ("width", "height")]
        if not all(sides):
            raise UserError("no viewBox and no width and height")
        box = [0.0, 0.0, sides[0][0], sides[1][0]]
    if not (box[2] > 0 and box[3] > 0):
        raise UserError(f"its size is {box[2]:g} x {box[3]:g}")
    begin = numpy.array([[1.0, 0, -box[0]], [0, 1, -box[1]]])
    marks: list[Mark] = []
    curves = 0
    for mark in walk(root, begin, {}):
        curves += len(mark.cubics)
        if curves > MOST_CURVES:
            raise UserError(f"more than {MOST_CURVES:,} curves")
        marks.append(mark)
    return Picture(box[2], box[3], marks)


def tree(text: str) -> ElementTree.Element:
    """The parsed document, its depth and size checked while it is parsed."""
    depth = elements = 0
    root: ElementTree.Element | None = None
    try:
        for event, element in ElementTree.iterparse(io.StringIO(text), ("start", "end")):
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            elements += event == "start"
            if depth > DEEPEST:
                raise UserError(f"elements lie more than {DEEPEST} deep")
            if elements > MOST_ELEMENTS:
                raise UserError(f"more than {MOST_ELEMENTS:,} elements")
    except ElementTree.ParseError as error:
        raise UserError(f"no XML ({error})") from None
    assert root is not None
    return root


def walk(element: ElementTree.Element, outer: Matrix, inherited: dict[str, str]) -> Iterator[Mark]:
    """The marks of an element and all within it."""
    name = local(element)
    if name in {"defs", "clipPath", "mask", "symbol", "pattern", "marker"}:
        return
    style = inherited | declared(element)
    style["opacity"] = str(
        number(inherited.get("opacity"), 1.0) * number(declared(element).get("opacity"), 1.0)
    )
    matrix = joined(outer, transform(element.get("transform", "")))
    if style.get("display") == "none":
        return
    if name in SHAPES:
        for cubics in SHAPES[name](element):
            if len(cubics):
                yield mark_of(cubics, matrix, style)
    for child in element:
        yield from walk(child, matrix, style)


def mark_of(cubics: Cubics, matrix: Matrix, style: dict[str, str]) -> Mark:
    with numpy.errstate(all="ignore"):
        placed = cubics @ matrix[:, :2].T + matrix[:, 2]
    if not numpy.isfinite(placed).all():
        raise UserError("a coordinate is not finite")
    scale = math.sqrt(abs(float(numpy.linalg.det(matrix[:, :2]))))
    opacity = number(style.get("opacity"), 1.0)
    return Mark(
        placed,
        colour(style.get("stroke", "none")),
        colour(style.get("fill", "black")),
        number(style.get("stroke-width"), 1.0) * scale,
        opacity * number(style.get("stroke-opacity"), 1.0),
        opacity * number(style.get("fill-opacity"), 1.0),
    )


def declared(element: ElementTree.Element) -> dict[str, str]:
    """An element's presentation attributes, those of its style last."""
    found = {key: value for key, value in element.attrib.items() if key in PRESENTATION}
    for declaration in element.get("style", "").split(";"):
        key, colon, value = declaration.partition(":")
        if colon and key.strip() in PRESENTATION:
            found[key.strip()] = value.strip()
    return found


PRESENTATION = {
    "stroke", "fill", "stroke-width", "stroke-opacity", "fill-opacity", "opacity", "display",
}  # fmt: skip


def colour(text: str) -> tuple[float, float, float] | None:
    """A colour by name, #hex or rgb(); None for none and for what is no plain colour, such as a gradient."""
    if text.strip() in {"none", "transparent"} or text.strip().startswith("url("):
        return None
    if text.strip() in {"currentColor", "inherit"}:
        return 0.0, 0.0, 0.0
    try:
        red, green, blue = ImageColor.getrgb(text.strip())[:3]
    except ValueError:
        raise UserError(f"'{text[:40]}' is no colour") from None
    return red / 255, green / 255, blue / 255


def transform(text: str) -> Matrix:
    """A transform attribute as a matrix."""
    matrix = numpy.array([[1.0, 0, 0], [0, 1, 0]])
    for name, inside in re.findall(r"(\w+)\s*\(([^)]*)\)", text):
        a = numbers(inside)
        if name == "matrix" and len(a) == 6:
            step = numpy.array([[a[0], a[2], a[4]], [a[1], a[3], a[5]]])
        elif name == "translate" and a:
            step = numpy.array([[1, 0, a[0]], [0, 1, a[1] if len(a) > 1 else 0]])
        elif name == "scale" and a:
            step = numpy.array([[a[0], 0, 0], [0, a[-1], 0]])
        elif name == "rotate" and len(a) in {1, 3}:
            c, s = math.cos(math.radians(a[0])), math.sin(math.radians(a[0]))
            x, y = a[1:] if len(a) == 3 else (0.0, 0.0)
            step = numpy.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y]])
        else:
            raise UserError(f"transform '{name}({inside[:40]})' is not known")
        matrix = joined(matrix, step)
    return matrix


def joined(outer: Matrix, inner: Matrix) -> Matrix:
    """The matrix that applies `inner` first."""
    return numpy.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def numbers(text: str) -> list[float]:
    return [float(part) for part in re.findall(NUMBER, text)]


def number(text: str | None, default: float) -> float:
    found = numbers(text or "")
    if not found:
        return default
    return found[0] / 100 if (text or "").strip().endswith("%") else found[0]


def local(element: ElementTree.Element) -> str:
    """An element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def straight(points: Cubics, *, closed: bool) -> Iterator[Cubics]:
    if len(points) > 1:
        yield polyline(torch.from_numpy(points), closed=closed).numpy()


def attributes(element: ElementTree.Element, *names: str) -> list[float]:
    return [number(element.get(name), 0.0) for name in names]


def line_element(element: ElementTree.Element) -> Iterator[Cubics]:
    ends = numpy.array(attributes(element, "x1", "y1", "x2", "y2")).reshape(2, 2)
    return straight(ends, closed=False)


def polyline_element(element: ElementTree.Element) -> Iterator[Cubics]:
    listed = numbers(element.get("points", ""))
    points = numpy.array(listed[: len(listed) // 2 * 2]).reshape(-1, 2)
    return straight(points, closed=local(element) == "polygon")


def rectangle_element(element: ElementTree.Element) -> Iterator[Cubics]:
    x, y, width, height = attributes(element, "x", "y", "width", "height")
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    return straight(numpy.array(corners), closed=True)


def ellipse_element(element: ElementTree.Element) -> Iterator[Cubics]:
    x, y, r, rx, ry = attributes(element, "cx", "cy", "r", "rx", "ry")
    control = torch.tensor([[x, y], [x + (rx or r), y], [x, y + (ry or r)]], dtype=torch.float64)
    yield ellipse(control).numpy()


def path_element(element: ElementTree.Element) -> Iterator[Cubics]:
    """Each subpath as a chain of cubics."""
    pen = Pen()
    for letter, inside in re.findall(
        r"([A-Za-z])([^A-Za-z]*(?:[eE][-+]?\d+[^A-Za-z]*)*)", element.get("d", "")
    ):
        pen.follow(letter, arc_numbers(inside) if letter in "Aa" else numbers(inside))
    yield from pen.finished()


class Pen:
    """Follows path data."""

    def __init__(self) -> None:
        self.place = self.start = numpy.zeros(2)
        self.handle: tuple[str, NDArray[numpy.float64]] | None = None  # of the curve before
        self.chains: list[list[NDArray[numpy.float64]]] = [[]]

    def follow(self, letter: str, given: list[float]) -> None:
        """One command with all its coordinates."""
        kind = letter.upper()
        if kind not in TAKES:
            raise UserError(f"path command '{letter}' is not known")
        if kind == "Z":
            self.line(self.start)
            self.chains.append([])
            return
        step = TAKES[kind]
        if not given or len(given) % step:
            raise UserError(f"path command '{letter}' has {len(given)} numbers, expected {step}s")
        for k in range(0, len(given), step):
            here = numpy.array(given[k : k + step])
            base = self.place if letter.islower() else numpy.zeros(2)
            self.go("L" if kind == "M" and k else kind, here, base)

    def go(self, kind: str, given: NDArray[numpy.float64], base: NDArray[numpy.float64]) -> None:
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

    def line(self, target: NDArray[numpy.float64]) -> None:
        way = target - self.place
        self.add(self.place + way / 3, self.place + way * 2 / 3, target)
        self.handle = None

    def curve(self, kind: str, points: list[NDArray[numpy.float64]]) -> None:
        """C and S are cubics, Q and T quadratics; S and T begin with the mirrored handle of the curve before."""
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

    def add(self, *points: NDArray[numpy.float64]) -> None:
        self.chains[-1].append(numpy.stack([self.place, *points]))
        self.place = points[-1]

    def finished(self) -> Iterator[Cubics]:
        yield from (numpy.stack(chain) for chain in self.chains if chain)


def arc_numbers(text: str) -> list[float]:
    """The numbers of arcs: two of each seven are flags, which may stand without a space behind them.

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


def arc(
    start: NDArray[numpy.float64], told: NDArray[numpy.float64], end: NDArray[numpy.float64]
) -> Iterator[NDArray[numpy.float64]]:
    """An elliptic arc as cubics `[3, 2]` (both handles and the end), each of a quarter turn at most.

    Args:
        told: both radii, the first one's angle in degrees, and the flags for the large arc and for growing angles.

    The centre is found as SVG's own notes say (Appendix B.2): in the circle that the ellipse is a picture of.
    """
    radius, (large, growing) = numpy.abs(told[:2]), told[3:] != 0
    if (radius == 0).any() or (start == end).all():
        way = end - start
        yield numpy.stack([start + way / 3, start + way * 2 / 3, end])
        return
    c, s = math.cos(math.radians(told[2])), math.sin(math.radians(told[2]))
    turn = numpy.array([[c, -s], [s, c]])
    one, other = (turn.T @ point / radius for point in (start, end))
    half = (other - one) / 2
    length = float(numpy.hypot(*half))
    if length > 1:  # radii too small to reach the end are enlarged until they do
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


TAKES = {"A": 7, "M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "Z": 0}
SHAPES: dict[str, Callable[[ElementTree.Element], Iterator[Cubics]]] = {
    "path": path_element,
    "line": line_element,
    "polyline": polyline_element,
    "polygon": polyline_element,
    "rect": rectangle_element,
    "circle": ellipse_element,
    "ellipse": ellipse_element,
}


def as_strokes(picture: Picture, canvas: tuple[int, int]) -> Strokes:
    """Every cubic of every mark as a stroke, the picture fitted into a canvas of (height, width) pixels.

    Filled marks without an outline are taken by their outline; paper-sized rectangles are left out.
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


def draw(picture: Picture, scale: float = 1.0) -> NDArray[numpy.uint8]:
    """The picture `[H, W, 3]` as Agg draws it, `scale` pixels to a unit; blend modes are not followed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    width, height = round(picture.width * scale), round(picture.height * scale)
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)  # a point is a pixel
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.set_axis_off()
    codes = [Outline.CURVE4] * 3
    for mark in picture.marks:
        points = numpy.concatenate([mark.cubics[0, :1], mark.cubics[:, 1:].reshape(-1, 2)])
        outline = Outline(points, [Outline.MOVETO, *codes * len(mark.cubics)])
        for paint, filled in ((mark.fill, True), (mark.stroke, False)):
            if paint is not None:
                patch = PathPatch(
                    outline,
                    fill=filled,
                    facecolor=paint if filled else "none",
                    edgecolor="none" if filled else paint,
                    alpha=mark.fill_opacity if filled else mark.stroke_opacity,
                    linewidth=0 if filled else mark.width * scale,
                    capstyle="round",
                    joinstyle="round",
                    snap=False,
                )
                axes.add_patch(patch)
    canvas.draw()
    return numpy.asarray(canvas.buffer_rgba())[:, :, :3].copy()
