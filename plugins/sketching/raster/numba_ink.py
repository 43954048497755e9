"""The ink of a tile's pixels for an amplitude of 1, and its derivatives, in loops that the compiler vectorises.

The formulas are those of torch_kernel.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from plugins.sketching.raster.compiled import inlined, inner
from plugins.sketching.raster.soft_lines import CLOSE, ONE, ZERO, bell
from plugins.sketching.raster.torch_kernel import HALF_PEN, INNER, OUTER, SMALLEST, SOFT

HALF, TWO = numpy.float32(0.5), numpy.float32(2)
# Widths from an edge from which a fill's ink is 0 or 1.
FAR_OFF = numpy.float32(4)
HALF_WIDE, ROOT_PI = numpy.float32(HALF_PEN), numpy.float32(math.sqrt(math.pi))
STEEP, SEEN, SIDE = numpy.float32(INNER), numpy.float32(OUTER), numpy.float32(SOFT)
LEAST = numpy.float32(SMALLEST)
# Abramowitz & Stegun 1964, 7.1.28: erfc(x) = (1 + A1 x + ... + A6 x^6)^-16 to 3e-7.
A1, A2, A3, A4, A5, A6 = (
    numpy.float32(a)
    for a in (0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)
)


@inlined
def half_erfc(x: Any) -> Any:
    """erfc(x) / 2 for x >= 0."""
    root = ONE + x * (A1 + x * (A2 + x * (A3 + x * (A4 + x * (A5 + x * A6)))))
    root *= root
    root *= root
    root *= root
    return HALF / (root * root)


@inlined
def covered(inside: Any) -> Any:
    """`torch_kernel.covered`: how much of a pixel lies within an edge."""
    away = abs(inside)
    rest = SEEN - away if away < SEEN else ZERO
    flank = HALF - away if away < STEEP else rest * rest / (SIDE + SIDE)
    return ONE - flank if inside > ZERO else flank


@inlined
def steepness(away: Any) -> Any:
    """The derivative of `covered`."""
    rest = SEEN - away if away < SEEN else ZERO
    return ONE if away < STEEP else rest / SIDE


@inlined
def flat_ink(distance: Any, half: Any) -> Any:
    """The ink of a flat line of half a width at a distance from its middle."""
    seen = covered(half + distance) + covered(half - distance) - ONE
    return seen if seen > ZERO else ZERO


@inlined
def flat_slopes(distance: Any, half: Any) -> Any:
    """The derivatives of `flat_ink` by half the width and by the squared distance."""
    far, close = steepness(half + distance), steepness(abs(half - distance))
    return far + close, (far - close) * HALF / (distance if distance > LEAST else LEAST)


@inlined
def soft_ink(scaled: Any) -> Any:
    """The ink of a Gaussian line at a squared distance, in squared widths."""
    near = scaled if scaled < CLOSE else CLOSE
    return bell(near) if scaled < CLOSE else ZERO


@inner
def line_ink(square: Any, width: Any, flat: bool, ink: Any) -> None:
    """Write the ink of a line `width` wide at squared distances `square [pixels]`."""
    if flat:
        half = HALF_WIDE * width
        for p in range(len(ink)):
            ink[p] = flat_ink(math.sqrt(square[p]), half)
        return
    inverse = ONE / (width * width)
    for p in range(len(ink)):
        ink[p] = soft_ink(square[p] * inverse)


@inner
def fill_ink(square: Any, side: Any, width: Any, flat: bool, ink: Any) -> None:
    """Write the ink of a fill; `side` is 0 outside."""
    if flat:
        for p in range(len(ink)):
            distance = math.sqrt(square[p])
            ink[p] = covered(-distance if side[p] == 0 else distance)
        return
    inverse = ONE / width
    for p in range(len(ink)):
        away = math.sqrt(square[p]) * inverse
        rest = half_erfc(away if away < FAR_OFF else FAR_OFF)
        rest = rest if away < FAR_OFF else ZERO
        ink[p] = rest if side[p] == 0 else ONE - rest


@inner
def line_slopes(square: Any, ink: Any, width: Any, flat: bool, by_ink: Any) -> Any:
    """Turn the gradient of the ink into that of the squared distance, in place; returns that of the width."""
    by_width = ZERO
    if flat:
        half = HALF_WIDE * width
        for p in range(len(by_ink)):
            by_half, by_square = flat_slopes(math.sqrt(square[p]), half)
            seen = by_ink[p] if ink[p] > ZERO else ZERO
            by_width += seen * by_half
            by_ink[p] = seen * by_square
        return by_width * HALF_WIDE
    inverse = ONE / (width * width)
    for p in range(len(by_ink)):
        by_square = -by_ink[p] * ink[p] * inverse
        by_width += by_square * square[p] if ink[p] > ZERO else ZERO
        by_ink[p] = by_square
    return -TWO * by_width / width


@inner
def fill_slopes(square: Any, side: Any, width: Any, flat: bool, by_ink: Any) -> Any:
    """`line_slopes` of a fill."""
    by_width, inverse = ZERO, ONE / width
    for p in range(len(by_ink)):
        distance = math.sqrt(square[p])
        if flat:
            steep = steepness(distance)
        else:
            away = distance * inverse
            scaled = away * away
            near = scaled if scaled < CLOSE else CLOSE
            rest = scaled - near if away < FAR_OFF else ZERO
            steep = bell(near) * bell(rest) if away < FAR_OFF else ZERO
            steep *= inverse / ROOT_PI
        steep = by_ink[p] * (-steep if side[p] == 0 else steep)
        by_width -= ZERO if flat or steep == ZERO else steep * distance * inverse
        by_ink[p] = steep * HALF / (distance if distance > LEAST else LEAST)
    return by_width
