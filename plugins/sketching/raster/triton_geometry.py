"""Which piece of a stroke each pixel is nearest to, and whether it lies inside of a fill, for Triton's kernels.

What torch_kernel.py computes for all groups of a chunk is computed here for one stroke and the pixels of one program.
"""

from __future__ import annotations

import triton
import triton.language as tl

from plugins.sketching.raster.request import EVENODD, NONZERO
from plugins.sketching.raster.torch_kernel import FAR, ON_EDGE, SMALLEST

# What a kernel reads of its module has to be known as it is compiled.
BY_NONZERO, BY_EVENODD = tl.constexpr(NONZERO), tl.constexpr(EVENODD)
NOWHERE, LEAST = tl.constexpr(FAR), tl.constexpr(SMALLEST)
ON_EDGE_SQUARED = tl.constexpr(ON_EDGE**2)


@triton.jit
def seen(ends, piece, x, y):  # type: ignore[no-untyped-def]
    """Where on a piece each pixel's nearest point lies, the way from there, and on which side of it the pixel lies."""
    ax, ay = tl.load(ends + 4 * piece), tl.load(ends + 4 * piece + 1)
    dx, dy = tl.load(ends + 4 * piece + 2) - ax, tl.load(ends + 4 * piece + 3) - ay
    length = dx * dx + dy * dy
    inverse = tl.where(length > 1e-12, 1.0 / tl.maximum(length, 1e-12), 0.0)
    u, v = x - ax, y - ay
    t = tl.minimum(tl.maximum(u * (dx * inverse) + v * (dy * inverse), 0.0), 1.0)
    return t, u - t * dx, v - t * dy, dx * v - dy * u, dx, dy


@triton.jit
def winding(ends, begin, end, x, y):  # type: ignore[no-untyped-def]
    """The winding number of a stroke's pieces around each pixel."""
    total = tl.zeros(x.shape, tl.int32)
    for piece in range(begin, end):
        ax, ay = tl.load(ends + 4 * piece), tl.load(ends + 4 * piece + 1)
        dx, dy = tl.load(ends + 4 * piece + 2) - ax, tl.load(ends + 4 * piece + 3) - ay
        u, v = x - ax, y - ay
        left = dx * v - dy * u
        rises, falls = (v >= 0) & (v < dy), (v < 0) & (v >= dy)
        total += (rises & (left < 0)).to(tl.int32) - (falls & (left > 0)).to(tl.int32)
    return total


@triton.jit
def inside_of(wound, kind):  # type: ignore[no-untyped-def]
    """Whether pixels lie inside, from their winding numbers, by a stroke's rule."""
    return tl.where(kind == BY_EVENODD, wound % 2, wound) != 0


@triton.jit
def nearest(ends, begin, end, x, y, wound, kind, fills: tl.constexpr):  # type: ignore[no-untyped-def]
    """The squared distance of each pixel from a stroke, the nearest piece, and how it lies there.

    By the rule "nonzero" a piece between inside and inside, as where a shape crosses itself, is no edge.
    """
    best = tl.full(x.shape, NOWHERE, tl.float32)
    which = tl.zeros(x.shape, tl.int32)
    place = tl.zeros(x.shape, tl.float32)
    for piece in range(begin, end):
        t, qx, qy, turn, _, _ = seen(ends, piece, x, y)
        square = qx * qx + qy * qy
        if fills:
            ends_here = ((wound == 1) & (turn <= 0)) | ((wound == -1) & (turn >= 0))
            edge = (kind != BY_NONZERO) | (wound == 0) | ends_here
            square = tl.where(edge, square, NOWHERE)
        nearer = (square < best) | (piece == begin)
        which = tl.where(nearer, (piece - begin).to(tl.int32), which)
        place = tl.where(nearer, t, place)
        best = tl.where(nearer, square, best)
    return best, which, place


@triton.jit
def off_edge(square, qx, qy, turn, dx, dy):  # type: ignore[no-untyped-def]
    """The way from a fill's edge; from the edge itself along its normal, to the side on which a pixel is counted."""
    right = tl.where(dy > 0, turn < 0, (dy == 0) & (dx < 0) | (dy != 0) & (dx >= 0))
    right = tl.where(dy < 0, turn <= 0, right)
    away = tl.maximum(tl.sqrt(square), LEAST)
    scale = tl.where(right, away, -away) / tl.maximum(tl.sqrt(dx * dx + dy * dy), LEAST)
    on = square < ON_EDGE_SQUARED
    return tl.where(on, scale * dy, qx), tl.where(on, -scale * dx, qy)
