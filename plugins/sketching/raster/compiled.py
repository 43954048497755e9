"""What the kernels compiled by numba share: how they are compiled and run, and the distance of pixels from pieces."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy
import torch
from numba import njit

from framework.kernel_cache import cached_with_folder
from plugins.sketching.raster.tiles import Layout

# Pieces in tiles from which threads pay off: about 0.3 ms of work.
WORTH_A_THREAD = 3000

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
OPTIONS: dict[str, Any] = {
    "cache": True,
    # Nothing calls kernels from C.
    "no_cfunc_wrapper": True,
    "fastmath": {"contract", "arcp", "nsz", "reassoc"},
    "nogil": True,
    "error_model": "numpy",
}


def compiled(function: Kernel, **options: Any) -> Kernel:
    """A function that numba compiles on first use, and caches until any file of this folder changes."""
    kernel: Kernel = cached_with_folder(njit(**OPTIONS | options)(function), Path(__file__).parent)
    return kernel


def inner(function: Kernel) -> Kernel:
    """`compiled`, for compiled callers alone: without what reads Python's objects, which takes long to compile."""
    return compiled(function, no_cpython_wrapper=True)


def exact(function: Kernel) -> Kernel:
    """`compiled`, without liberties: the same number wherever it is computed."""
    return compiled(function, fastmath=False, no_cpython_wrapper=True)


# Part of its caller before types are inferred: LLVM optimises a function once alone, and once more, with all that it
# calls, within each caller and caller's caller. So what calls many and is called once is inlined; leaves are `inner`.
inlined: Callable[[Kernel], Kernel] = njit(inline="always", **OPTIONS)


def grid_array(layout: Layout) -> Any:
    """A layout as an array: canvases, rows and columns of tiles, a tile's height and width."""
    tile = layout.tile_height, layout.tile_width
    return numpy.array([layout.count, layout.rows, layout.columns, *tile])


def in_threads(draw: Callable[..., None], lists: tuple[Any, ...], *inputs: Any) -> None:
    """Call `draw(start, stop, *inputs)` for one range of tiles per torch thread, the ranges of about equal work.

    The compiled code releases the GIL, so plain threads are enough.

    Args:
        lists: a `Work`'s pieces, first, stroke and tile_first.
    """
    pieces, _, stroke, tile_first = lists
    threads, tiles = torch.get_num_threads(), len(tile_first) - 1
    if threads == 1 or len(pieces) < WORTH_A_THREAD:
        draw(0, tiles, *inputs)
        return
    shares = numpy.linspace(0, len(stroke), threads + 1)[1:-1]
    cuts = [0, *numpy.searchsorted(tile_first, shares).tolist(), tiles]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(draw, start, stop, *inputs) for start, stop in pairwise(cuts)]:
            done.result()


@compiled
def add_rows(rows: Any, places: Any, sums: Any) -> None:
    for i in range(len(rows)):
        for c in range(rows.shape[1]):
            sums[places[i], c] += rows[i, c]


@inner
def nearest_pieces(
    ends: Any, pieces: Any, begin: int, end: int, corner: Any, workspace: Any
) -> None:
    """Write each pixel's squared distance and nearest piece (an index into `pieces`) to the workspace."""
    xs, ys, square, nearest, _, found = workspace
    measure(segment_of(ends, pieces[begin], corner), xs, ys, square)
    if end > begin + 1:
        nearest[:] = begin
    for k in range(begin + 1, end):
        measure(segment_of(ends, pieces[k], corner), xs, ys, found)
        for p in range(len(square)):
            nearer = found[p] < square[p]
            square[p] = found[p] if nearer else square[p]
            nearest[p] = numpy.int32(k) if nearer else nearest[p]


@inner
def segment_of(ends: Any, piece: int, corner: Any) -> Any:
    """A piece's start seen from a tile's corner, its vector (x, y), and that over its squared length (0 for a dot)."""
    ax, ay, bx, by = ends[piece]
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    one, zero = ends.dtype.type(1), ends.dtype.type(0)
    inverse = one / length if length > 1e-12 else zero
    return ax - corner[0], ay - corner[1], dx, dy, dx * inverse, dy * inverse


@inlined
def measure(segment: Any, xs: Any, ys: Any, square: Any) -> None:
    """The squared distances of a tile's pixels from one piece."""
    ax, ay, dx, dy, ix, iy = segment
    one, zero = xs.dtype.type(1), xs.dtype.type(0)
    for p in range(len(square)):
        u, v = xs[p] - ax, ys[p] - ay
        t = u * ix + v * iy
        t = t if t > zero else zero
        t = t if t < one else one
        x, y = u - t * dx, v - t * dy
        square[p] = x * x + y * y


@inner
def make_workspace(grid: Any, ends: Any) -> Any:
    """The x and y of pixel centres in a tile, and buffers for `nearest_pieces` (`found` is scratch space)."""
    pixels = grid[3] * grid[4]
    xs, ys = numpy.empty(pixels, ends.dtype), numpy.empty(pixels, ends.dtype)
    for p in range(pixels):
        xs[p], ys[p] = p % grid[4] + 0.5, p // grid[4] + 0.5
    square, found = numpy.empty(pixels, ends.dtype), numpy.empty(pixels, ends.dtype)
    nearest, side = numpy.zeros(pixels, numpy.int32), numpy.zeros(pixels, numpy.int32)
    return xs, ys, square, nearest, side, found


@inlined
def corner_of(tile: int, grid: Any, ends: Any) -> Any:
    """The x and y of a tile's corner."""
    place = tile % (grid[1] * grid[2])
    number = ends.dtype.type
    return number(place % grid[2] * grid[4]), number(place // grid[2] * grid[3])


@inner
def endpoint_gradients(
    ends: Any,
    pieces: Any,
    begin: int,
    end: int,
    corner: Any,
    workspace: Any,
    by_square: Any,
    by_ends: Any,
) -> None:
    """Write the gradient of the pieces' ends to `by_ends [E, 4]`, given that of each pixel's squared distance."""
    xs, ys, _, nearest, _, of_piece = workspace
    one, zero = ends.dtype.type(1), ends.dtype.type(0)
    alone = end == begin + 1
    for k in range(begin, end):
        ax, ay, dx, dy, ix, iy = segment_of(ends, pieces[k], corner)
        for p in range(len(xs)):
            of_piece[p] = by_square[p] if alone or nearest[p] == numpy.int32(k) else zero
        x_sum, y_sum, bx_sum, by_sum = zero, zero, zero, zero
        for p in range(len(xs)):
            u, v = xs[p] - ax, ys[p] - ay
            t = u * ix + v * iy
            t = t if t > zero else zero
            t = t if t < one else one
            x, y = of_piece[p] * (u - t * dx), of_piece[p] * (v - t * dy)
            x_sum += x
            y_sum += y
            bx_sum += t * x
            by_sum += t * y
        by_ends[k, 0], by_ends[k, 1] = -2 * (x_sum - bx_sum), -2 * (y_sum - by_sum)
        by_ends[k, 2], by_ends[k, 3] = -2 * bx_sum, -2 * by_sum
