"""Reading SVG: the shapes of a file as chains of cubics with their paint.

A file is not trusted: no DOCTYPE or ENTITY, limits on bytes, depth, elements and curves, and nothing is fetched.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy

from framework.errors import UserError
from plugins.sketching.svg.shapes import SHAPES, local_name
from plugins.sketching.svg.values import Cubics, Matrix, colour, compose, number, numbers, transform

MAX_BYTES = 20_000_000
MAX_ELEMENTS = 200_000
MAX_CURVES = 500_000
MAX_DEPTH = 64


@dataclass(frozen=True)
class Mark:
    """A shape: its cubics in pixels of the picture, and its paint; None: no stroke, or no fill.

    Attributes:
        width: of the pen, in pixels.
    """

    cubics: Cubics
    stroke: tuple[float, float, float] | None
    fill: tuple[float, float, float] | None
    width: float
    stroke_opacity: float
    fill_opacity: float


@dataclass(frozen=True)
class Picture:
    """The shapes of an SVG; sizes in its own units."""

    width: float
    height: float
    marks: list[Mark]


def read(path: Path) -> Picture:
    """The shapes of an SVG file; text, images, gradients and clips are ignored.

    Raises:
        UserError: missing, not SVG, a document type or entity, or beyond the limits.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such SVG")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    try:
        return parse(path.read_bytes())
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def parse(data: bytes) -> Picture:
    """`read`, from a file's bytes."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("no UTF-8 text") from None
    refused = re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE)
    if refused:
        raise UserError(f"{refused[1].upper()} is refused")
    root = tree(text)
    if local_name(root) != "svg":
        raise UserError(f"the root is <{local_name(root)}>, expected <svg>")
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
        if curves > MAX_CURVES:
            raise UserError(f"more than {MAX_CURVES:,} curves")
        marks.append(mark)
    return Picture(box[2], box[3], marks)


def tree(text: str) -> ElementTree.Element:
    """The parsed document, its depth and size checked during parsing."""
    depth = elements = 0
    root: ElementTree.Element | None = None
    try:
        for event, element in ElementTree.iterparse(io.StringIO(text), ("start", "end")):
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            elements += event == "start"
            if depth > MAX_DEPTH:
                raise UserError(f"elements lie more than {MAX_DEPTH} deep")
            if elements > MAX_ELEMENTS:
                raise UserError(f"more than {MAX_ELEMENTS:,} elements")
    except ElementTree.ParseError as error:
        raise UserError(f"no XML ({error})") from None
    assert root is not None
    return root


def walk(element: ElementTree.Element, outer: Matrix, inherited: dict[str, str]) -> Iterator[Mark]:
    """The marks of an element and its descendants."""
    name = local_name(element)
    if name in {"defs", "clipPath", "mask", "symbol", "pattern", "marker"}:
        return
    style = inherited | declared(element)
    style["opacity"] = str(
        number(inherited.get("opacity"), 1.0) * number(declared(element).get("opacity"), 1.0)
    )
    matrix = compose(outer, transform(element.get("transform", "")))
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
    """An element's presentation attributes; those of its `style` take precedence."""
    found = {key: value for key, value in element.attrib.items() if key in PRESENTATION}
    for declaration in element.get("style", "").split(";"):
        key, colon, value = declaration.partition(":")
        if colon and key.strip() in PRESENTATION:
            found[key.strip()] = value.strip()
    return found


PRESENTATION = {
    "stroke", "fill", "stroke-width", "stroke-opacity", "fill-opacity", "opacity", "display",
}  # fmt: skip
