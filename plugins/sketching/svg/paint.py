"""Colours and gradients as SVG writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

import numpy
from PIL import ImageColor

from framework.errors import UserError
from framework.extras import import_extra
from plugins.sketching.svg.cascade import INHERITED, Cascade, fraction
from plugins.sketching.svg.document import local_name
from plugins.sketching.svg.geometry import Matrix, compose, length, transform
from plugins.sketching.svg.picture import Array, Gradient

GRADIENTS = ("linearGradient", "radialGradient")
SPREADS = ("pad", "repeat", "reflect")
# How many gradients may refer to one another.
MAX_LINKS = 16


def rgba(text: str) -> tuple[float, float, float, float]:
    """A CSS colour as red, green, blue and opacity in 0..1.

    Raises:
        UserError: it is none.
    """
    plain = text.strip()
    if plain.lower() == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    try:
        if plain.startswith("#") or plain.isalpha():
            bytes_ = [*ImageColor.getrgb(plain), 255]
            return bytes_[0] / 255, bytes_[1] / 255, bytes_[2] / 255, bytes_[3] / 255
    except ValueError:
        raise UserError(f"'{plain[:40]}' is no colour") from None
    tinycss2 = import_extra(
        "tinycss2.color4", "sketching", f"the colour '{plain[:40]}' needs tinycss2"
    )
    try:
        found = tinycss2.parse_color(plain)
        found = found.to("srgb") if found is not None and not isinstance(found, str) else None
    except (ValueError, NotImplementedError):
        found = None
    if found is None:
        raise UserError(f"'{plain[:40]}' is no colour")
    red, green, blue = (min(max(float(c or 0), 0.0), 1.0) for c in found.coordinates)
    return red, green, blue, float(found.alpha)


def href(element: Element) -> str:
    """The identifier within the same document that an element refers to, or ""."""
    return next((link[1:] for link in links(element) if link.startswith("#")), "")


def links(element: Element) -> Iterator[str]:
    """What an element refers to, wherever it is."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == "href" and value.strip():
            yield value.strip()


def referred(text: str) -> str:
    """The identifier in `url(#identifier)`."""
    inside = text.partition("(")[2].partition(")")[0].strip().strip("'\"")
    return inside[1:] if inside.startswith("#") else ""


class Gradients:
    """The gradients of a document, by identifier."""

    def __init__(self, cascade: Cascade, elements: Mapping[str, Element]) -> None:
        self.cascade, self.elements = cascade, elements

    def gradient(
        self, name: str, matrix: Matrix, box: Array, viewport: tuple[float, float]
    ) -> Gradient | None:
        """The gradient of a shape; None: it has no stops, and paints nothing.

        Args:
            matrix: from the shape's coordinates to pixels of the picture.
            box: `[2, 2]`, the shape's least and largest x and y in its own coordinates.

        Raises:
            UserError: it cannot be read.
        """
        chain = list(self.linked(name))
        said = {k: v for element in reversed(chain) for k, v in element.attrib.items()}
        stops = next(
            (list(self.stops(e)) for e in chain if any(local_name(c) == "stop" for c in e)), []
        )
        if not stops:
            return None
        in_box = said.get("gradientUnits") != "userSpaceOnUse"
        wide, high = (1.0, 1.0) if in_box else viewport
        if in_box:
            extent = box[1] - box[0]
            if not (extent > 0).all():
                return None
            matrix = compose(
                matrix, numpy.array([[extent[0], 0, box[0, 0]], [0, extent[1], box[0, 1]]])
            )
        matrix = compose(matrix, transform(said.get("gradientTransform", "")))

        def side(key: str, default: str, whole: float) -> float:
            return length(said.get(key, default), 0.0, whole, 16.0)

        line = None
        diagonal = float(numpy.hypot(wide, high) / numpy.sqrt(2))
        cx, cy = side("cx", "50%", wide), side("cy", "50%", high)
        circle = (
            cx,
            cy,
            side("r", "50%", diagonal),
            side("fx", str(cx), wide),
            side("fy", str(cy), high),
        )
        if local_name(chain[0]) == "linearGradient":
            line = (
                side("x1", "0%", wide),
                side("y1", "0%", high),
                side("x2", "100%", wide),
                side("y2", "0%", high),
            )
        square = numpy.vstack([matrix, [0, 0, 1]])
        if abs(float(numpy.linalg.det(square))) < 1e-12:
            return None
        offsets = numpy.maximum.accumulate([offset for offset, _ in stops])
        colours = numpy.array([colour for _, colour in stops])
        inverse = numpy.linalg.inv(square)[:2]
        return Gradient(inverse, line, circle, offsets, colours, said.get("spreadMethod", "pad"))

    def linked(self, name: str) -> Iterator[Element]:
        """A gradient, and those whose attributes and stops it takes over."""
        for _ in range(MAX_LINKS):
            element = self.elements.get(name)
            if element is None or local_name(element) not in GRADIENTS:
                return
            yield element
            name = href(element)

    def gaps(self, name: str) -> Iterator[tuple[Element, str]]:
        """What a gradient lacks, and which of those it takes over from lacks it."""
        chain = list(self.linked(name))
        if not chain:
            return
        link = next(links(chain[-1]), "")
        target = self.elements.get(link[1:])
        if link and (target is None or local_name(target) not in GRADIENTS):
            yield chain[-1], f"only its href: '{link[:40]}' is no gradient in the file"
        elif not any(local_name(child) == "stop" for element in chain for child in element):
            yield chain[0], "it has no stops"
        for element in chain:
            spread = element.get("spreadMethod", "pad")
            if spread not in SPREADS:
                yield element, f"only its spreadMethod '{spread[:40]}'"

    def stops(self, gradient: Element) -> Iterator[tuple[float, tuple[float, ...]]]:
        outer = self.cascade.style(gradient, INHERITED)
        for stop in gradient:
            if local_name(stop) == "stop":
                style = self.cascade.style(stop, outer)
                red, green, blue, opacity = rgba(style["stop-color"])
                opacity *= fraction(style["stop-opacity"], "stop-opacity")
                yield fraction(stop.get("offset", "0"), "offset"), (red, green, blue, opacity)
