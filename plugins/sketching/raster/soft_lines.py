"""Gaussian lines of one transparent ink in float32, what training mostly renders: all of a pixel in one loop.

A tile's pixels stay in the processor's cache while all of its strokes are composed, nothing is written but the picture,
and points, widths and opacities have their gradients without a graph of small operations. The formulas are render.py's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray
from torch import Tensor

from plugins.sketching.raster.binning import bin_lines
from plugins.sketching.raster.compiled import (
    add_rows,
    compiled,
    corner_of,
    endpoint_gradients,
    grid_array,
    in_threads,
    inlined,
    make_workspace,
    nearest_pieces,
    segment_of,
)
from plugins.sketching.raster.request import DARKEST, MIN_WIDTH, PIXEL, REACH, choose_layout
from plugins.sketching.raster.soft_function import differentiable

Array = NDArray[numpy.float32]
# Squared distance in squared widths beyond which ink is left out.
NEGLIGIBLE = REACH**2
# Pixels; the fastest tile for strokes of one piece.
LINE_SIDE = 16
ZERO, ONE, SIXTEENTH = numpy.float32(0), numpy.float32(1), numpy.float32(1 / 16)
CLOSE = numpy.float32(NEGLIGIBLE)
# Coefficients of (exp(-u) - 1) / u, so that the bell is exactly 1 at distance 0.
C1, C2, C3, C4, C5, C6 = (
    Chebyshev.interpolate(lambda u: numpy.expm1(-u) / u, 5, (0, NEGLIGIBLE / 16))
    .convert(kind=Polynomial)
    .coef.astype(numpy.float32)
)


@dataclass(frozen=True)
class Drawn:
    """A picture, and what its gradients are computed from.

    Attributes:
        ink: `[*batch, height, width]`.
        lines: what the kernel reads: pieces, blurred widths, amplitudes, tiles' lists, layout.
        kept: the paper that remains, `[canvases, height, width]`.
        slopes: of `scene_of`.
        shapes: of points and of width.
    """

    ink: Tensor
    lines: tuple[Any, ...]
    kept: Array
    slopes: tuple[Array, Array, Array]
    shapes: tuple[torch.Size, torch.Size]

    @classmethod
    def of(cls, points: Tensor, width: Tensor, opacity: Tensor, canvas: tuple[int, int]) -> Drawn:
        *batch, strokes, vertices, _ = points.shape
        layout = choose_layout(math.prod(batch), canvas, LINE_SIDE if vertices <= 2 else None)
        scene, slopes = scene_of(points, width, opacity)
        lists = bin_lines(scene[0], scene[1] * numpy.float32(REACH), layout, strokes)
        shape = (layout.count, *canvas)
        kept, ink = numpy.empty(shape, numpy.float32), torch.empty(shape)
        grid, single = grid_array(layout), max(vertices - 1, 1) == 1
        ends = scene[0].reshape(-1, 4)
        lines = (ends, *scene[1:], *lists, grid, numpy.array(canvas), single)
        in_threads(_forward, lists, *lines, kept, ink.numpy())
        shapes = points.shape, width.shape
        return cls(ink.reshape(*batch, *canvas), lines, kept, slopes, shapes)

    def gradients(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of points, width and opacity, given that of the ink."""
        shape, strokes = self.shapes
        lists = self.lines[3:7]
        pieces, _, stroke, _ = lists
        by_piece = numpy.empty((len(pieces), 4), numpy.float32)
        by_group = numpy.empty((len(stroke), 2), numpy.float32)
        above = gradient.reshape(self.kept.shape).contiguous().numpy()
        in_threads(_backward, lists, *self.lines, self.kept, above, by_piece, by_group)
        ends = numpy.zeros_like(self.lines[0])
        sums = numpy.zeros((len(self.lines[1]), 2), numpy.float32)
        add_rows(by_piece, pieces, ends)
        add_rows(by_group, stroke, sums)
        reach_by_width, amplitude_by_width, amplitude_by_opacity = self.slopes
        width = sums[:, 0] * reach_by_width + sums[:, 1] * amplitude_by_width
        opacity = sums[:, 1] * amplitude_by_opacity
        return (
            torch.from_numpy(points_gradient(ends, shape[-2])).reshape(shape),
            torch.from_numpy(width).reshape(strokes),
            torch.from_numpy(opacity).reshape(strokes),
        )


SoftLines = differentiable(Drawn)


def scene_of(
    points: Tensor, width: Tensor, opacity: Tensor
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """Pieces `[N, P, 4]`, blurred widths `[N]` and amplitudes `[N]`, and the derivatives of the last two.

    The derivatives are those of the blurred width by the width, and of the amplitude by width and by opacity.
    """
    vertices = points.shape[-2]
    flat = points.detach().numpy().reshape(-1, vertices, 2)
    if vertices == 2:
        ends = numpy.ascontiguousarray(flat).reshape(-1, 1, 4)
    elif vertices == 1:
        ends = numpy.concatenate([flat, flat], -1)
    else:
        ends = numpy.concatenate([flat[:, :-1], flat[:, 1:]], -1)
    given = width.detach().numpy().reshape(-1)
    shade = opacity.detach().numpy().reshape(-1)
    wide = numpy.maximum(given, numpy.float32(MIN_WIDTH))
    blurred = numpy.sqrt(wide * wide + numpy.float32(PIXEL**2))
    share = wide / blurred
    power = 2 if vertices == 1 else 1
    largest = share**power * numpy.float32(DARKEST)
    amplitude = shade * largest
    free = given >= numpy.float32(MIN_WIDTH)
    slope = amplitude * numpy.float32(power) * (1 / wide - wide / (blurred * blurred))
    return (ends, blurred, amplitude), (share * free, slope * free, largest)


def points_gradient(ends: Array, vertices: int) -> Array:
    """The gradient of the vertices `[N, V, 2]`, given that of the pieces' ends `[N * P, 4]`."""
    if vertices == 2:
        return ends
    pieces = ends.reshape(-1, max(vertices - 1, 1), 4)
    if vertices == 1:
        return pieces[..., :2] + pieces[..., 2:]
    found = numpy.zeros((len(pieces), vertices, 2), numpy.float32)
    found[:, :-1] += pieces[..., :2]
    found[:, 1:] += pieces[..., 2:]
    return found


@compiled
def bell(square: Any) -> Any:
    """exp(-square) in float32 for 0..NEGLIGIBLE, to 3e-6 of itself and never above 1, by multiplications only.

    A polynomial of square / 16, squared four times: unlike a library's exp, the compiler vectorises it.
    """
    u = square * SIXTEENTH
    root = ONE + u * (C1 + u * (C2 + u * (C3 + u * (C4 + u * (C5 + u * C6)))))
    root *= root
    root *= root
    root *= root
    return root * root


@inlined
def _place(tile: int, grid: Any, canvas: Any) -> Any:
    """A tile's canvas, first row and column, and how many rows and columns of it lie on the canvas."""
    each = grid[1] * grid[2]
    row, column = tile % each // grid[2] * grid[3], tile % grid[2] * grid[4]
    return (
        tile // each,
        row,
        column,
        min(grid[3], canvas[0] - row),
        min(grid[4], canvas[1] - column),
    )


@compiled
def _forward(
    start: int,
    stop: int,
    ends: Any,
    width: Any,
    amplitude: Any,
    pieces: Any,
    first: Any,
    stroke: Any,
    tile_first: Any,
    grid: Any,
    canvas: Any,
    single: bool,
    kept: Any,
    ink: Any,
) -> None:
    """Write the paper that remains and the ink, `[canvases, height, width]`."""
    workspace = make_workspace(grid, ends)
    xs, ys, square = workspace[0], workspace[1], workspace[2]
    left = numpy.empty_like(square)
    for tile in range(start, stop):
        c, row, column, rows, columns = _place(tile, grid, canvas)
        if tile_first[tile] == tile_first[tile + 1]:
            kept[c, row : row + rows, column : column + columns] = ONE
            ink[c, row : row + rows, column : column + columns] = ZERO
            continue
        corner = corner_of(tile, grid, ends)
        left[:] = ONE
        for g in range(tile_first[tile], tile_first[tile + 1]):
            i = stroke[g]
            inverse, largest = ONE / (width[i] * width[i]), amplitude[i]
            if single or first[g + 1] == first[g] + 1:
                ax, ay, dx, dy, ix, iy = segment_of(ends, pieces[first[g]], corner)
                for p in range(len(xs)):
                    u, v = xs[p] - ax, ys[p] - ay
                    t = u * ix + v * iy
                    t = t if t > ZERO else ZERO
                    t = t if t < ONE else ONE
                    x, y = u - t * dx, v - t * dy
                    scaled = (x * x + y * y) * inverse
                    near = scaled if scaled < CLOSE else CLOSE
                    shade = bell(near) if scaled < CLOSE else ZERO
                    left[p] *= ONE - largest * shade
                continue
            nearest_pieces(ends, pieces, first[g], first[g + 1], corner, workspace)
            for p in range(len(xs)):
                scaled = square[p] * inverse
                near = scaled if scaled < CLOSE else CLOSE
                shade = bell(near) if scaled < CLOSE else ZERO
                left[p] *= ONE - largest * shade
        for r in range(rows):
            for k in range(columns):
                remains = left[r * grid[4] + k]
                kept[c, row + r, column + k] = remains
                ink[c, row + r, column + k] = ONE - remains


@compiled
def _backward(
    start: int,
    stop: int,
    ends: Any,
    width: Any,
    amplitude: Any,
    pieces: Any,
    first: Any,
    stroke: Any,
    tile_first: Any,
    grid: Any,
    canvas: Any,
    single: bool,
    kept: Any,
    gradient: Any,
    by_piece: Any,
    by_group: Any,
) -> None:
    """Write each group's gradients by blurred width and amplitude, and those of its pieces' ends."""
    workspace = make_workspace(grid, ends)
    xs, ys, square = workspace[0], workspace[1], workspace[2]
    above, by_square = numpy.empty_like(square), numpy.empty_like(square)
    for tile in range(start, stop):
        if tile_first[tile] == tile_first[tile + 1]:
            continue
        c, row, column, rows, columns = _place(tile, grid, canvas)
        above[:] = ZERO
        for r in range(rows):
            for k in range(columns):
                place = row + r, column + k
                above[r * grid[4] + k] = (
                    gradient[c, place[0], place[1]] * kept[c, place[0], place[1]]
                )
        corner = corner_of(tile, grid, ends)
        for g in range(tile_first[tile], tile_first[tile + 1]):
            i = stroke[g]
            inverse, largest = ONE / (width[i] * width[i]), amplitude[i]
            by_width, by_amplitude = ZERO, ZERO
            if single or first[g + 1] == first[g] + 1:
                ax, ay, dx, dy, ix, iy = segment_of(ends, pieces[first[g]], corner)
                x_sum, y_sum, tx_sum, ty_sum = ZERO, ZERO, ZERO, ZERO
                for p in range(len(xs)):
                    u, v = xs[p] - ax, ys[p] - ay
                    t = u * ix + v * iy
                    t = t if t > ZERO else ZERO
                    t = t if t < ONE else ONE
                    x, y = u - t * dx, v - t * dy
                    away = x * x + y * y
                    scaled = away * inverse
                    near = scaled if scaled < CLOSE else CLOSE
                    shade = bell(near) if scaled < CLOSE else ZERO
                    by_alpha = above[p] / (ONE - largest * shade) * shade
                    by_amplitude += by_alpha
                    by_width += by_alpha * away
                    x, y = by_alpha * x, by_alpha * y
                    x_sum += x
                    y_sum += y
                    tx_sum += t * x
                    ty_sum += t * y
                factor = (ONE + ONE) * largest * inverse
                k = first[g]
                by_piece[k, 0], by_piece[k, 1] = (
                    factor * (x_sum - tx_sum),
                    factor * (y_sum - ty_sum),
                )
                by_piece[k, 2], by_piece[k, 3] = factor * tx_sum, factor * ty_sum
            else:
                nearest_pieces(ends, pieces, first[g], first[g + 1], corner, workspace)
                for p in range(len(xs)):
                    scaled = square[p] * inverse
                    near = scaled if scaled < CLOSE else CLOSE
                    shade = bell(near) if scaled < CLOSE else ZERO
                    by_alpha = above[p] / (ONE - largest * shade) * shade
                    by_amplitude += by_alpha
                    by_square[p] = -by_alpha * largest * inverse
                    by_width += by_alpha * square[p]
                endpoint_gradients(
                    ends, pieces, first[g], first[g + 1], corner, workspace, by_square, by_piece
                )
            by_group[g, 0] = by_width * largest * inverse * (ONE + ONE) / width[i]
            by_group[g, 1] = by_amplitude
