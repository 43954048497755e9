"""Lines whose width varies along them, in numba's kernel: linear between the ends of each piece.

A pixel sees the pen as wide as it is at the stroke's nearest point; where that point moves along the line, the width
seen changes, too. The formulas are those of torch_kernel.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from plugins.sketching.raster.compiled import inlined, inner, segment_of
from plugins.sketching.raster.numba_ink import HALF_WIDE, TWO, flat_ink, flat_slopes, soft_ink
from plugins.sketching.raster.request import PIXEL
from plugins.sketching.raster.soft_lines import ONE, ZERO

BLUR = numpy.float32(PIXEL**2)


@inlined
def share(p: int, segment: Any, view: Any) -> Any:
    """Where on a piece a pixel's nearest point lies, 0 to 1."""
    ax, ay, _, _, ix, iy = segment
    t = (view[0][p] - ax) * ix + (view[1][p] - ay) * iy
    t = t if t > ZERO else ZERO
    return t if t < ONE else ONE


@inner
def pens_seen(
    ends: Any, pens: Any, pieces: Any, begin: int, end: int, corner: Any, view: Any
) -> None:
    """Write how wide the pen is at each pixel's nearest point to a workspace's `found`."""
    nearest, seen, alone = view[3], view[5], end == begin + 1
    for k in range(begin, end):
        segment = segment_of(ends, pieces[k], corner)
        first, lean = pens[pieces[k], 0], pens[pieces[k], 1] - pens[pieces[k], 0]
        for p in range(len(seen)):
            pen = first + share(p, segment, view) * lean
            seen[p] = pen if alone or nearest[p] == numpy.int32(k) else seen[p]


@inner
def tapered_ink(
    ends: Any,
    pens: Any,
    pieces: Any,
    begin: int,
    end: int,
    corner: Any,
    view: Any,
    flat: bool,
    ink: Any,
) -> None:
    """Write the ink of a line as wide as `pens [E, 2]` at its pieces' ends, for an opacity of 1."""
    square, pen = view[2], view[5]
    pens_seen(ends, pens, pieces, begin, end, corner, view)
    if flat:
        for p in range(len(ink)):
            ink[p] = flat_ink(math.sqrt(square[p]), HALF_WIDE * pen[p])
        return
    for p in range(len(ink)):
        blurred = pen[p] * pen[p] + BLUR
        ink[p] = soft_ink(square[p] / blurred) * pen[p] / math.sqrt(blurred)


@inner
def tapered_slopes(
    ends: Any,
    pens: Any,
    pieces: Any,
    begin: int,
    end: int,
    corner: Any,
    view: Any,
    flat: bool,
    ink: Any,
    by_ink: Any,
    by_pen: Any,
) -> None:
    """Turn the gradient of the ink into that of the squared distance, in place, and write that of the pen's width."""
    square, pen = view[2], view[5]
    pens_seen(ends, pens, pieces, begin, end, corner, view)
    if flat:
        for p in range(len(ink)):
            by_half, by_square = flat_slopes(math.sqrt(square[p]), HALF_WIDE * pen[p])
            seen = by_ink[p] if ink[p] > ZERO else ZERO
            by_pen[p] = seen * by_half * HALF_WIDE
            by_ink[p] = seen * by_square
        return
    for p in range(len(ink)):
        blurred = pen[p] * pen[p] + BLUR
        shaded = by_ink[p] * ink[p] / blurred
        # Where there is no ink a pixel may be farther than the square of its distance can tell.
        away = square[p] if ink[p] > ZERO else ZERO
        by_pen[p] = shaded * (TWO * away * pen[p] / blurred + BLUR / pen[p])
        by_ink[p] = -shaded


@inner
def pen_gradients(
    ends: Any,
    pens: Any,
    pieces: Any,
    begin: int,
    end: int,
    corner: Any,
    view: Any,
    by_pen: Any,
    by_piece: Any,
) -> None:
    """Write the gradients of widths at pieces' ends, and add those of ends along which the nearest points move."""
    nearest, alone = view[3], end == begin + 1
    for k in range(begin, end):
        segment = segment_of(ends, pieces[k], corner)
        ax, ay, dx, dy, _, _ = segment
        total, at_last = ZERO, ZERO
        moved, moved_t, x_sum, y_sum = ZERO, ZERO, ZERO, ZERO
        for p in range(len(by_pen)):
            mine = by_pen[p] if alone or nearest[p] == numpy.int32(k) else ZERO
            t = share(p, segment, view)
            total += mine
            at_last += mine * t
            free = mine if (t > ZERO) & (t < ONE) else ZERO
            moved += free
            moved_t += free * t
            x_sum += free * (view[0][p] - ax - t * dx)
            y_sum += free * (view[1][p] - ay - t * dy)
        by_piece[k, 4], by_piece[k, 5] = total - at_last, at_last
        length = dx * dx + dy * dy
        if length <= ZERO:
            continue
        lean = (pens[pieces[k], 1] - pens[pieces[k], 0]) / length
        by_piece[k, 0] -= lean * ((moved - moved_t) * dx + x_sum)
        by_piece[k, 1] -= lean * ((moved - moved_t) * dy + y_sum)
        by_piece[k, 2] += lean * (x_sum - moved_t * dx)
        by_piece[k, 3] += lean * (y_sum - moved_t * dy)
