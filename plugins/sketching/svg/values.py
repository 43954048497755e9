"""Numbers, transforms and colours, as SVG's attributes write them."""

from __future__ import annotations

import math
import re

import numpy
from numpy.typing import NDArray
from PIL import ImageColor

from framework.errors import UserError

# `[2, 3]`.
Matrix = NDArray[numpy.float64]
# `[m, 4, 2]`.
Cubics = NDArray[numpy.float64]
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


def numbers(text: str) -> list[float]:
    """All numbers of a text."""
    return [float(part) for part in re.findall(NUMBER, text)]


def number(text: str | None, default: float) -> float:
    """The first number of a text, a percentage as a fraction."""
    found = numbers(text or "")
    if not found:
        return default
    return found[0] / 100 if (text or "").strip().endswith("%") else found[0]


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
        matrix = compose(matrix, step)
    return matrix


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The matrix that applies `inner` first."""
    return numpy.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])
