"""The ink of a stroke at each pixel for an amplitude of 1, and its derivatives, for Triton's kernels.

All return the ink, its derivative by the squared distance, and that by the width; the formulas are torch_kernel.py's.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from plugins.sketching.raster.request import PIXEL
from plugins.sketching.raster.torch_kernel import HALF_PEN, INNER, OUTER, SMALLEST, SOFT

# On the right of tensors alone: on their left Triton's interpreter does not know them.
BLUR = tl.constexpr(PIXEL**2)
HALF_WIDE = tl.constexpr(HALF_PEN)
ROOT_PI = tl.constexpr(math.sqrt(math.pi))
STEEP, SEEN, BOX = tl.constexpr(INNER), tl.constexpr(OUTER), tl.constexpr(SOFT)
LEAST = tl.constexpr(SMALLEST)


@triton.jit
def covered(inside):  # type: ignore[no-untyped-def]
    """How much of a pixel lies within an edge that is `inside` pixels beyond its centre, and the derivative."""
    away = tl.abs(inside)
    rest = tl.maximum(-away + SEEN, 0.0)
    flank = tl.where(away < STEEP, 0.5 - away, rest * rest / (2 * BOX))
    ink = tl.where(inside > 0, 1 - flank, flank)
    return ink, tl.where(away < STEEP, 1.0, rest / BOX)


@triton.jit
def line_ink(square, width, flat: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a line, a Gaussian one or a flat pen."""
    if flat:
        distance = tl.sqrt(square)
        slope = 0.5 / tl.maximum(distance, LEAST)
        far, by_far = covered(width * HALF_WIDE + distance)
        close, by_close = covered(width * HALF_WIDE - distance)
        ink = far + close - 1
        by_square, by_width = (by_far - by_close) * slope, (by_far + by_close) * HALF_WIDE
    else:
        ink = tl.exp(-square / (width * width))
        by_square = -ink / (width * width)
        by_width = by_square * square * (-2.0 / width)
    return ink, by_square, by_width


@triton.jit
def tapered_ink(square, pen, flat: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a line that is `pen` wide at the nearest point: a pixel's blur is part of it."""
    if flat:
        ink, by_square, by_pen = line_ink(square, pen, flat)
    else:
        blurred = pen * pen + BLUR
        ink = tl.exp(-square / blurred) * pen / tl.sqrt(blurred)
        by_square = -ink / blurred
        by_pen = ink / blurred * (2 * square * pen / blurred + BLUR / pen)
    return ink, by_square, by_pen


@triton.jit
def fill_ink(square, inside, width, flat: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a fill: half of it on the edge, all of it inside."""
    side = tl.where(inside, -1.0, 1.0)
    distance = tl.sqrt(square)
    slope = 0.5 / tl.maximum(distance, LEAST)
    if flat:
        ink, by_edge = covered(-side * distance)
        by_square, by_width = -side * slope * by_edge, tl.zeros(square.shape, tl.float32)
    else:
        signed = side * distance / width
        bell = tl.exp(-signed * signed) / (width * ROOT_PI)
        ink = 0.5 - 0.5 * tl.erf(signed)
        by_square, by_width = -side * bell * slope, signed * bell
    return ink, by_square, by_width
