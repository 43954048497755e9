"""Fills in numba's kernel: on which side of its outline a pixel lies, how far from it, and what an edge's ends get.

The distance of a pixel whose centre an edge passes through has no slope, but the fill's ink has: it rises along the
edge's normal, towards the side on which the winding number counts the pixel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from plugins.sketching.raster.binning import crossing, first_row, last_row
from plugins.sketching.raster.compiled import inlined, inner, segment_of
from plugins.sketching.raster.torch_kernel import FAR, ON_EDGE, SMALLEST


@inner
def wind(g: int, i: int, tile: int, scene: Any, fills: Any, side: Any) -> None:
    """Write the winding numbers of a fill around a tile's pixels, from those at the left ends of its rows."""
    ends, pieces, first, grid = scene[0], scene[4], scene[5], scene[8]
    _, boxes, offsets, windings = fills
    place = tile % (grid[1] * grid[2])
    across = boxes[i, 1] - boxes[i, 0] + 1
    start = offsets[i] + (place // grid[2] - boxes[i, 2]) * grid[3] * across
    start += place % grid[2] - boxes[i, 0]
    for p in range(len(side)):
        side[p] = windings[start + p // grid[4] * across]
    top, left = place // grid[2] * grid[3], place % grid[2] * grid[4]
    for k in range(first[g], first[g + 1]):
        piece = ends[pieces[k]]
        turn = numpy.int32(1) if piece[3] > piece[1] else numpy.int32(-1)
        for row in range(max(first_row(piece), top), min(last_row(piece), top + grid[3] - 1) + 1):
            column = crossing(piece, row) - left
            if column > 0:
                for c in range(column, grid[4]):
                    side[(row - top) * grid[4] + c] += turn


@inner
def nearest_edge(
    ends: Any, pieces: Any, begin: int, end: int, corner: Any, workspace: Any, evenodd: bool
) -> None:
    """`nearest_pieces` of a fill: pieces that separate inside from inside are no edges (torch_kernel.is_edge)."""
    xs, ys, square, nearest, side, _ = workspace
    one, zero = ends.dtype.type(1), ends.dtype.type(0)
    square[:] = FAR
    if evenodd:
        for p in range(len(side)):
            side[p] &= 1
    for k in range(begin, end):
        ax, ay, dx, dy, ix, iy = segment_of(ends, pieces[k], corner)
        for p in range(len(square)):
            u, v = xs[p] - ax, ys[p] - ay
            t = u * ix + v * iy
            t = t if t > zero else zero
            t = t if t < one else one
            x, y = u - t * dx, v - t * dy
            away = x * x + y * y
            turn = dx * v - dy * u
            edge = evenodd | (side[p] == 0) | ((side[p] == 1) & (turn <= zero))
            edge |= (side[p] == -1) & (turn >= zero)
            nearer = edge & (away < square[p])
            square[p] = away if nearer else square[p]
            nearest[p] = numpy.int32(k) if nearer else nearest[p]


@inlined
def take_edges(square: Any, by_square: Any, on_edge: Any) -> None:
    """Move the gradients of pixels on an edge from `by_square` to `on_edge`."""
    near = ON_EDGE * ON_EDGE
    for p in range(len(square)):
        on_edge[p] = by_square[p] if square[p] < near else 0
        by_square[p] = 0 if square[p] < near else by_square[p]


@inlined
def edge_gradients(
    ends: Any, pieces: Any, corner: Any, columns: int, workspace: Any, on_edge: Any, by_ends: Any
) -> None:
    """Add the gradients of the ends of edges on which pixels lie; `columns` is a tile's width."""
    xs, ys, square, nearest, _, _ = workspace
    for p in range(len(on_edge)):
        if on_edge[p] == 0:
            continue
        k = nearest[p]
        piece = ends[pieces[k]]
        ax, ay, dx, dy, ix, iy = segment_of(ends, pieces[k], corner)
        length = math.hypot(dx, dy)
        if length == 0:
            continue
        # Towards larger x; of a level edge, towards larger y.
        sign = 1.0 if dy > 0 or (dy == 0 and dx < 0) else -1.0
        row, column = int(corner[1]) + p // columns, int(corner[0]) + p % columns
        if first_row(piece) <= row <= last_row(piece) and column < crossing(piece, row):
            sign = -sign
        t = min(max((xs[p] - ax) * ix + (ys[p] - ay) * iy, 0.0), 1.0)
        by_distance = sign * 2 * on_edge[p] * max(math.sqrt(square[p]), SMALLEST) / length
        by_ends[k, 0] -= (1 - t) * by_distance * dy
        by_ends[k, 1] += (1 - t) * by_distance * dx
        by_ends[k, 2] -= t * by_distance * dy
        by_ends[k, 3] += t * by_distance * dx
