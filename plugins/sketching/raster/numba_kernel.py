"""The rasteriser's kernel for the CPU, compiled by numba on first use: what torch_kernel.py vectorises, as plain loops.

Each thread takes whole tiles and writes only to its own entries (a tile's pixels, a group, a group's piece), so results
do not depend on the number of threads. The formulas are those of render.py, the array layouts those of tiles.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from plugins.sketching.raster.binning import (
    Lists,
    Windings,
    bin_pieces,
)
from plugins.sketching.raster.compiled import (
    add_rows,
    compiled,
    corner_of,
    endpoint_gradients,
    grid_array,
    in_threads,
    inlined,
    make_workspace,
)
from plugins.sketching.raster.composing import SHARPNESS
from plugins.sketching.raster.numba_fills import edge_gradients, nearest_of, take_edges
from plugins.sketching.raster.request import PEN_WIDTH, REACH, RenderRequest
from plugins.sketching.raster.soft_lines import Drawn, SoftLines
from plugins.sketching.raster.torch_kernel import (
    HALF_PEN,
    INNER,
    OUTER,
    SOFT,
    Gradients,
)

__all__ = ["Drawn", "SoftLines", "backward", "forward", "plan"]

SOFT_OR, MAX, SMOOTH_MAX, OVER = 0, 1, 2, 3
CODES = {"soft_or": SOFT_OR, "max": MAX, "smooth_max": SMOOTH_MAX, "over": OVER}
# Squared distance in squared widths beyond which ink is left out.
NEGLIGIBLE = REACH**2
ROOT_PI = math.sqrt(math.pi)
# The squared distance of a pixel that sees no edge.
FAR = 1e30


@dataclass(frozen=True)
class Plan:
    """What is rendered where: the lists of a `tiles.Work` as arrays, and the winding numbers of fills."""

    lists: Lists
    windings: Windings


def plan(request: RenderRequest) -> Plan:
    """Which strokes are rendered in which tiles."""
    reach = request.width * (REACH if request.profile == "gaussian" else PEN_WIDTH / 2)
    if request.profile == "flat":
        reach = reach + OUTER
    if request.fills:
        # Of a flat fill only the pixels of its edge are partly covered.
        edge = torch.full_like(reach, 1.0) if request.profile == "flat" else reach
        reach = torch.where(request.kind > 0, edge, reach)
    parts = (request.ends, request.first_piece, request.kind, reach)
    ends, first_piece, kind, near = (part.numpy() for part in parts)
    return Plan(*bin_pieces(ends, first_piece, kind, near, request.layout))


def forward(request: RenderRequest, plan: Plan) -> Tensor:
    """Each tile's paint and remaining paper, `[tiles, channels, pixels]`."""
    tiles = request.ends.new_empty(request.layout.tiles, request.channels, request.layout.pixels)
    in_threads(_forward, plan.lists, *arrays(request, plan), tiles.numpy())
    return tiles


def backward(request: RenderRequest, plan: Plan, tiles: Tensor, gradient: Tensor) -> Gradients:
    """The gradients of ends, width, amplitude and colour, given that of `tiles`."""
    inks, paints = (
        request.amplitude.shape[1],
        0 if request.colour is None else request.colour.shape[1],
    )
    pieces, _, stroke, _ = plan.lists
    by_piece = request.ends.new_zeros(len(pieces), 4)
    by_group = request.ends.new_zeros(len(stroke), 1 + inks + paints)
    results = by_piece.numpy(), by_group.numpy()
    given = tiles.numpy(), gradient.numpy()
    in_threads(_backward, plan.lists, *arrays(request, plan), *given, *results)
    ends = torch.zeros_like(request.ends)
    strokes = request.ends.new_zeros(len(request.width), by_group.shape[1])
    add_rows(by_piece.numpy(), pieces, ends.numpy())
    add_rows(by_group.numpy(), stroke, strokes.numpy())
    colour = None if request.colour is None else strokes[:, 1 + inks :]
    return ends, strokes[:, 0], strokes[:, 1 : 1 + inks], colour


def arrays(request: RenderRequest, plan: Plan) -> tuple[Any, Any, Any]:
    """What the kernel reads: the scene's arrays, its fills, and how it is rendered."""
    colour = (
        request.amplitude.new_empty(len(request.width), 0)
        if request.colour is None
        else request.colour
    )
    strokes = (request.ends, request.width, request.amplitude, colour)
    scene = (*(part.numpy() for part in strokes), *plan.lists, grid_array(request.layout))
    fills = (request.kind.numpy(), *plan.windings)
    return scene, fills, (CODES[request.composition], request.profile == "flat")


@inlined
def _ink(square: Any, side: Any, s: Any, flat: bool, filled: bool) -> Any:
    """The ink for an amplitude of 1."""
    if not flat and not filled:
        return math.exp(-square / (s * s)) if square < NEGLIGIBLE * s * s else 0.0
    distance = math.sqrt(square)
    if filled:
        signed = distance if side == 0 else -distance
        if distance > 4 * s and distance > 1:
            return 0.0 if side == 0 else 1.0
        if flat:
            return _covered(-signed)
        return math.erfc(signed / s) / 2
    half = HALF_PEN * s
    return max(_covered(half + distance) + _covered(half - distance) - 1, 0.0)


@inlined
def _slopes(square: Any, side: Any, s: Any, flat: bool, filled: bool, ink: Any) -> Any:
    """The ink's derivatives by squared distance and by width."""
    if not flat and not filled:
        return -ink / (s * s), 2 * square * ink / (s * s * s)
    distance = math.sqrt(square)
    slope = 0.5 / max(distance, 1e-6)
    if filled:
        sign = 1.0 if side == 0 else -1.0
        if flat:
            return -sign * slope * _steepness(distance), 0.0
        signed = sign * distance / s
        bell = math.exp(-signed * signed) / (ROOT_PI * s)
        return -sign * bell * slope, signed * bell
    half = HALF_PEN * s
    by_far, by_close = _steepness(half + distance), _steepness(abs(half - distance))
    return (by_far - by_close) * slope, (by_far + by_close) * HALF_PEN


@inlined
def _covered(inside: Any) -> Any:
    """`torch_kernel.covered`: how much of a pixel lies within an edge."""
    away = abs(inside)
    rest = max(OUTER - away, 0.0)
    flank = 0.5 - away if away < INNER else rest * rest / (2 * SOFT)
    return 1 - flank if inside > 0 else flank


@inlined
def _steepness(away: Any) -> Any:
    """The derivative of `_covered`."""
    return 1.0 if away < INNER else max(OUTER - away, 0.0) / SOFT


@compiled
def _forward(start: int, stop: int, scene: Any, fills: Any, style: Any, tiles: Any) -> None:
    workspace = make_workspace(scene[8], scene[0])
    for tile in range(start, stop):
        _forward_tile(tile, scene, fills, style, workspace, tiles)


@inlined
def _forward_tile(
    tile: int, scene: Any, fills: Any, style: Any, workspace: Any, tiles: Any
) -> None:
    """Render a tile's groups, the last stroke first: it lies on top."""
    ends, width, amplitude, colour, _pieces, _first, stroke, tile_first, grid = scene
    composition, flat = style
    low, high = tile_first[tile], tile_first[tile + 1]
    inks, paints, pixels = amplitude.shape[1], colour.shape[1], tiles.shape[2]
    kept, paint = tiles[tile, paints:], tiles[tile, :paints]
    _clear(kept, paint, 1 if composition != SMOOTH_MAX or low == high else 0)
    if low == high:
        return
    square, side, corner = workspace[2], workspace[4], corner_of(tile, grid, ends)
    for g in range(high - 1, low - 1, -1):
        i = stroke[g]
        filled = fills[0][i] != 0
        nearest_of(g, i, tile, scene, fills, corner, workspace)
        for p in range(pixels):
            ink = _ink(square[p], side[p], width[i], flat, filled)
            if ink == 0:
                continue
            for d in range(paints):
                paint[d, p] += kept[0, p] * amplitude[i, 0] * ink * colour[i, d]
            for c in range(inks):
                kept[c, p] = _compose(kept[c, p], amplitude[i, c] * ink, composition)
    if composition == SMOOTH_MAX:
        for c in range(inks):
            for p in range(pixels):
                kept[c, p] = math.exp(-(kept[c, p] ** (1 / SHARPNESS)))


@inlined
def _clear(kept: Any, paint: Any, blank: int) -> None:
    for p in range(kept.shape[1]):
        for c in range(len(kept)):
            kept[c, p] = blank
        for d in range(len(paint)):
            paint[d, p] = 0


@inlined
def _compose(kept: Any, alpha: Any, composition: int) -> Any:
    """The paper that remains under one more ink; for "smooth_max" the sum of powers of depths."""
    if composition == MAX:
        return min(kept, 1 - alpha)
    if composition == SMOOTH_MAX:
        return kept + (-math.log1p(-alpha)) ** SHARPNESS
    return kept * (1 - alpha)


@compiled
def _backward(
    start: int,
    stop: int,
    scene: Any,
    fills: Any,
    style: Any,
    tiles: Any,
    gradient: Any,
    by_piece: Any,
    by_group: Any,
) -> None:
    workspace = make_workspace(scene[8], scene[0])
    for tile in range(start, stop):
        if scene[7][tile] < scene[7][tile + 1]:
            _backward_tile(
                tile, scene, fills, style, workspace, tiles, gradient, by_piece, by_group
            )


@inlined
def _backward_tile(
    tile: int,
    scene: Any,
    fills: Any,
    style: Any,
    workspace: Any,
    tiles: Any,
    gradient: Any,
    by_piece: Any,
    by_group: Any,
) -> None:
    """The gradients of a tile's groups and their pieces, summed over its pixels."""
    ends, width, amplitude, colour, pieces, first, stroke, tile_first, grid = scene
    composition, flat = style
    low, high, inks = tile_first[tile], tile_first[tile + 1], amplitude.shape[1]
    square, side, corner = workspace[2], workspace[4], corner_of(tile, grid, ends)
    by_square, on_edge = numpy.empty_like(square), numpy.empty_like(square)
    known = _unknown(high - low, inks, len(square), composition)
    _prepass(tile, scene, fills, style, workspace, known)
    # The gradient's inner product with everything below the current stroke.
    under = numpy.empty_like(square)
    for p in range(len(square)):
        under[p] = gradient[tile, colour.shape[1], p]
    for g in range(low, high):
        i = stroke[g]
        filled = fills[0][i] != 0
        nearest_of(g, i, tile, scene, fills, corner, workspace)
        for p in range(len(square)):
            ink = _ink(square[p], side[p], width[i], flat, filled)
            by_square[p] = 0
            if ink == 0:
                continue
            by_ink = 0.0
            if composition == OVER:
                alpha, front = amplitude[i, 0] * ink, known[g - low, 0, p]
                worth = 0.0
                for d in range(colour.shape[1]):
                    worth += gradient[tile, d, p] * colour[i, d]
                    by_group[g, 2 + d] += gradient[tile, d, p] * alpha * front
                by_alpha = front * (worth - under[p])
                under[p] = alpha * worth + (1 - alpha) * under[p]
                by_group[g, 1] += by_alpha * ink
                by_ink += by_alpha * amplitude[i, 0]
            else:
                for c in range(inks):
                    largest, owner = known[0, c, p], known[1, c, p]
                    alpha = amplitude[i, c] * ink
                    by_kept = _alpha_gradient(
                        alpha, tiles[tile, c, p], largest, owner == g, composition
                    )
                    by_alpha = by_kept * gradient[tile, c, p]
                    by_group[g, 1 + c] += by_alpha * ink
                    by_ink += by_alpha * amplitude[i, c]
            slope, by_width = _slopes(square[p], side[p], width[i], flat, filled, ink)
            by_group[g, 0] += by_ink * by_width
            by_square[p] = by_ink * slope
        if filled:
            take_edges(square, by_square, on_edge)
        endpoint_gradients(
            ends, pieces, first[g], first[g + 1], corner, workspace, by_square, by_piece
        )
        if filled:
            edge_gradients(ends, pieces, corner, grid[4], workspace, on_edge, by_piece)


@compiled
def _prepass(tile: int, scene: Any, fills: Any, style: Any, workspace: Any, known: Any) -> None:
    """Write what a tile's backward pass needs in advance, by composition.

    "max": `[2, A, pixels]`, the largest ink and its group. "smooth_max": `[2, A, pixels]`, the norm in the first row.
    "over": `[groups, 1, pixels]`, the fraction of each group's paint that later strokes leave visible.
    """
    ends, width, amplitude, _, _pieces, _first, stroke, tile_first, grid = scene
    composition, flat = style
    if composition == SOFT_OR:
        return
    low, high = tile_first[tile], tile_first[tile + 1]
    square, side, corner = workspace[2], workspace[4], corner_of(tile, grid, ends)
    inks, pixels = amplitude.shape[1], len(square)
    for g in range(high - 1, low - 1, -1):
        i = stroke[g]
        filled = fills[0][i] != 0
        nearest_of(g, i, tile, scene, fills, corner, workspace)
        for p in range(pixels):
            ink = _ink(square[p], side[p], width[i], flat, filled)
            for c in range(inks):
                alpha = amplitude[i, c] * ink
                if composition == SMOOTH_MAX:
                    known[0, c, p] += (-math.log1p(-alpha)) ** SHARPNESS
                elif composition == OVER and g > low:
                    known[g - low - 1, 0, p] = known[g - low, 0, p] * (1 - alpha)
                elif composition == MAX and _is_more(alpha, ink, known[0, c, p], known[1, c, p]):
                    known[0, c, p], known[1, c, p] = alpha, g
    if composition == SMOOTH_MAX:
        _root(known[0])


@inlined
def _is_more(alpha: Any, ink: Any, largest: Any, owner: Any) -> Any:
    """Whether a stroke's ink is a pixel's largest; the first one's is, also where it is transparent yet."""
    return alpha > largest or (owner < 0 and ink > 0)


@inlined
def _root(powers: Any) -> None:
    for c in range(len(powers)):
        for p in range(powers.shape[1]):
            powers[c, p] = powers[c, p] ** (1 / SHARPNESS)


@inlined
def _unknown(groups: int, inks: int, pixels: int, composition: int) -> Any:
    """What `_prepass` begins with: no ink, of no group; or all paint of the last stroke visible.

    By loops: numba takes seconds to compile the assignment of arrays, for the texts of its errors.
    """
    rows = groups if composition == OVER else 2
    known = numpy.empty((rows, inks, pixels))
    for c in range(inks):
        for p in range(pixels):
            known[rows - 1, c, p] = 1 if composition == OVER else -1
            if composition != OVER:
                known[0, c, p] = 0
    return known


@inlined
def _alpha_gradient(alpha: Any, kept: Any, largest: Any, is_largest: bool, composition: int) -> Any:
    """The derivative of the remaining paper with respect to one transparent ink's alpha."""
    if composition == SOFT_OR:
        return -kept / (1 - alpha)
    if composition == MAX:
        return -1.0 if is_largest else 0.0
    depth = -math.log1p(-alpha)
    # Of nothing else than this ink, the norm is its depth.
    share = depth / largest if largest > 1e-30 else 1.0
    return -math.exp(depth - largest) * share ** (SHARPNESS - 1)
