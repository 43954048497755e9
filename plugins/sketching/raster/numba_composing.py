"""How numba's kernel composes the inks of a tile's pixels, and the gradient of that; the formulas are render.py's.

Of a tile `kept [A, pixels]` is the paper that remains and `paint [C, pixels]` what lies on it. The colours of "over"
are laid from the last stroke to the first, and differentiated in the strokes' order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from plugins.sketching.raster.compiled import inlined, inner
from plugins.sketching.raster.composing import SHARPNESS
from plugins.sketching.raster.soft_lines import ONE, ZERO

SOFT_OR, MAX, SMOOTH_MAX, OVER = 0, 1, 2, 3
CODES = {"soft_or": SOFT_OR, "max": MAX, "smooth_max": SMOOTH_MAX, "over": OVER}
EMPTY = numpy.float32(-1)
ROOT, CUBE = numpy.float32(1 / SHARPNESS), numpy.float32(SHARPNESS - 1)
POWER = numpy.float32(SHARPNESS)
TINY = numpy.float32(1e-30)


@inlined
def clear(kept: Any, paint: Any, composition: int, empty: bool) -> None:
    """What `compose` begins with: white paper; of "smooth_max" no depth, where any ink follows."""
    blank = ZERO if composition == SMOOTH_MAX and not empty else ONE
    for p in range(kept.shape[1]):
        for c in range(len(kept)):
            kept[c, p] = blank
        for d in range(len(paint)):
            paint[d, p] = ZERO


@inner
def compose(ink: Any, amplitude: Any, colour: Any, composition: int, kept: Any, paint: Any) -> None:
    """Lay one stroke's ink; for "smooth_max" `kept` is the sum of powers of depths until `finish`."""
    if composition == OVER:
        largest = amplitude[0]
        for d in range(len(paint)):
            shade = largest * colour[d]
            for p in range(len(ink)):
                paint[d, p] += kept[0, p] * ink[p] * shade
    for c in range(len(amplitude)):
        largest = amplitude[c]
        if composition == MAX:
            for p in range(len(ink)):
                rest = ONE - largest * ink[p]
                kept[c, p] = rest if rest < kept[c, p] else kept[c, p]
        elif composition == SMOOTH_MAX:
            for p in range(len(ink)):
                kept[c, p] += depth_of(largest * ink[p]) ** POWER
        else:
            for p in range(len(ink)):
                kept[c, p] *= ONE - largest * ink[p]


@inlined
def depth_of(alpha: Any) -> Any:
    return -math.log1p(-alpha)


@inlined
def finish(kept: Any, composition: int) -> None:
    if composition == SMOOTH_MAX:
        for c in range(len(kept)):
            for p in range(kept.shape[1]):
                kept[c, p] = math.exp(-(kept[c, p] ** ROOT))


@inlined
def nothing_known(groups: int, inks: int, pixels: int, composition: int) -> Any:
    """What `learn` begins with: no ink, of no group; or all paint of the last stroke visible.

    By loops: numba takes seconds to compile the assignment of arrays, for the texts of its errors.
    """
    rows = groups if composition == OVER else 2
    known = numpy.empty((rows, inks, pixels), numpy.float32)
    for c in range(inks):
        for p in range(pixels):
            known[rows - 1, c, p] = ONE if composition == OVER else EMPTY
            if composition != OVER:
                known[0, c, p] = ZERO
    return known


@inner
def learn(row: int, ink: Any, amplitude: Any, composition: int, known: Any) -> None:
    """Write what the gradients need of a tile's other groups; `row` is a group's place, the last one's first.

    "max": `[2, A, pixels]`, the largest ink and its group. "smooth_max": `[2, A, pixels]`, the sum of powers first.
    "over": `[groups, 1, pixels]`, the fraction of each group's paint that later strokes leave visible.
    """
    for c in range(len(amplitude)):
        largest = amplitude[c]
        if composition == OVER:
            if row > 0:
                for p in range(len(ink)):
                    known[row - 1, 0, p] = known[row, 0, p] * (ONE - largest * ink[p])
        elif composition == SMOOTH_MAX:
            for p in range(len(ink)):
                known[0, c, p] += depth_of(largest * ink[p]) ** POWER
        elif composition == MAX:
            for p in range(len(ink)):
                alpha = largest * ink[p]
                # The first one's ink is the largest, also where it is transparent yet.
                if alpha > known[0, c, p] or (known[1, c, p] < ZERO and ink[p] > ZERO):
                    known[0, c, p], known[1, c, p] = alpha, row


@inner
def over_gradients(
    ink: Any,
    amplitude: Any,
    colour: Any,
    front: Any,
    gradient: Any,
    under: Any,
    by_ink: Any,
    by_group: Any,
) -> None:
    """Write the gradient of an opaque ink, and add those of its amplitude and colour to `by_group [1 + 1 + C]`.

    Args:
        front: `[pixels]`, the fraction of its paint that later strokes leave visible.
        gradient: `[C + 1, pixels]`, of paint and remaining paper.
        under: `[pixels]`, the gradient's inner product with all below; changed to that with this stroke, too.
    """
    largest = amplitude[0]
    for p in range(len(ink)):
        by_ink[p] = ZERO
    for d in range(len(colour)):
        total, shade = ZERO, colour[d]
        for p in range(len(ink)):
            by_ink[p] += gradient[d, p] * shade
            total += gradient[d, p] * ink[p] * front[p]
        by_group[2 + d] += total * largest
    total = ZERO
    for p in range(len(ink)):
        worth, alpha = by_ink[p], largest * ink[p]
        by_alpha = front[p] * (worth - under[p])
        under[p] = alpha * worth + (ONE - alpha) * under[p]
        total += by_alpha * ink[p]
        by_ink[p] = by_alpha * largest
    by_group[1] += total


@inner
def transparent_gradients(
    row: int,
    ink: Any,
    amplitude: Any,
    composition: int,
    known: Any,
    tiles: Any,
    gradient: Any,
    by_ink: Any,
    by_group: Any,
) -> None:
    """Write the gradient of an ink, and add those of its amplitudes to `by_group [1 + A]`."""
    mine = numpy.float32(row)
    for p in range(len(ink)):
        by_ink[p] = ZERO
    for c in range(len(amplitude)):
        largest, total = amplitude[c], ZERO
        if composition == SOFT_OR:
            for p in range(len(ink)):
                by_alpha = -gradient[c, p] * tiles[c, p] / (ONE - largest * ink[p])
                total += by_alpha * ink[p]
                by_ink[p] += by_alpha * largest
        else:
            for p in range(len(ink)):
                by_alpha = -gradient[c, p] if known[1, c, p] == mine else ZERO
                if composition == SMOOTH_MAX:
                    depth, norm = depth_of(largest * ink[p]), known[0, c, p] ** ROOT
                    # Of nothing else than this ink, the norm is its depth.
                    share = depth / norm if norm > TINY else ONE
                    by_alpha = -gradient[c, p] * math.exp(depth - norm) * share**CUBE
                total += by_alpha * ink[p]
                by_ink[p] += by_alpha * largest
        by_group[1 + c] += total
