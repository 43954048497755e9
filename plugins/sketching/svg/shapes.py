"""The basic shapes of SVG as chains of cubics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree import ElementTree

import numpy
import torch

from plugins.sketching.strokes.primitives import ellipse, polyline
from plugins.sketching.svg.path_data import subpaths
from plugins.sketching.svg.values import Cubics, number, numbers


def local_name(element: ElementTree.Element) -> str:
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
    return straight(points, closed=local_name(element) == "polygon")


def rectangle_element(element: ElementTree.Element) -> Iterator[Cubics]:
    x, y, width, height = attributes(element, "x", "y", "width", "height")
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    return straight(numpy.array(corners), closed=True)


def ellipse_element(element: ElementTree.Element) -> Iterator[Cubics]:
    x, y, r, rx, ry = attributes(element, "cx", "cy", "r", "rx", "ry")
    control = torch.tensor([[x, y], [x + (rx or r), y], [x, y + (ry or r)]], dtype=torch.float64)
    yield ellipse(control).numpy()


def path_element(element: ElementTree.Element) -> Iterator[Cubics]:
    return subpaths(element.get("d", ""))


SHAPES: dict[str, Callable[[ElementTree.Element], Iterator[Cubics]]] = {
    "path": path_element,
    "line": line_element,
    "polyline": polyline_element,
    "polygon": polyline_element,
    "rect": rectangle_element,
    "circle": ellipse_element,
    "ellipse": ellipse_element,
}
