"""The rasteriser's kernel for the CPU, compiled by numba on first use: what torch_kernel.py vectorises, as plain loops.

Each thread takes whole tiles and writes only to its own entries (a tile's pixels, a group, a group's piece), so results
do not depend on the number of threads. The formulas are those of render.py, the array layouts those of tiles.py.
"""

from __future__ import annotations

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
    inner,
    make_workspace,
    nearest_pieces,
)
from plugins.sketching.raster.numba_composing import (
    CODES,
    OVER,
    SOFT_OR,
    clear,
    compose,
    finish,
    learn,
    nothing_known,
    over_gradients,
    transparent_gradients,
)
from plugins.sketching.raster.numba_fills import edge_gradients, nearest_edge, take_edges, wind
from plugins.sketching.raster.numba_ink import fill_ink, fill_slopes, line_ink, line_slopes
from plugins.sketching.raster.numba_pens import pen_gradients, tapered_ink, tapered_slopes
from plugins.sketching.raster.request import PEN_WIDTH, REACH, RenderRequest
from plugins.sketching.raster.soft_lines import ONE, Drawn, SoftLines
from plugins.sketching.raster.torch_kernel import OUTER, Gradients

__all__ = ["Drawn", "SoftLines", "backward", "forward", "plan"]


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
    """The gradients of ends, width, amplitude, colour and pens, given that of `tiles`."""
    inks, paints = (
        request.amplitude.shape[1],
        0 if request.colour is None else request.colour.shape[1],
    )
    pieces, _, stroke, _ = plan.lists
    columns = 4 if request.pens is None else 6
    by_piece = request.ends.new_zeros(len(pieces), columns)
    by_group = request.ends.new_zeros(len(stroke), 1 + inks + paints)
    results = by_piece.numpy(), by_group.numpy()
    given = tiles.numpy(), gradient.numpy()
    in_threads(_backward, plan.lists, *arrays(request, plan), *given, *results)
    ends = request.ends.new_zeros(len(request.ends), columns)
    strokes = request.ends.new_zeros(len(request.width), by_group.shape[1])
    add_rows(by_piece.numpy(), pieces, ends.numpy())
    add_rows(by_group.numpy(), stroke, strokes.numpy())
    colour = None if request.colour is None else strokes[:, 1 + inks :]
    pens = None if request.pens is None else ends[:, 4:]
    return ends[:, :4], strokes[:, 0], strokes[:, 1 : 1 + inks], colour, pens


def arrays(request: RenderRequest, plan: Plan) -> tuple[Any, Any, Any]:
    """What the kernel reads: the scene's arrays, its fills, and how it is rendered."""
    colour = (
        request.amplitude.new_empty(len(request.width), 0)
        if request.colour is None
        else request.colour
    )
    strokes = (request.ends, request.width, request.amplitude, colour)
    pens = request.ends.new_empty(0, 2) if request.pens is None else request.pens
    lists = *plan.lists, grid_array(request.layout), pens.numpy()
    scene = *(part.numpy() for part in strokes), *lists
    fills = (request.kind.numpy(), *plan.windings)
    return scene, fills, (CODES[request.composition], request.profile == "flat")


@compiled
def _forward(start: int, stop: int, scene: Any, fills: Any, style: Any, tiles: Any) -> None:
    """Render tiles, of each the last stroke first: it lies on top."""
    ends, _, amplitude, colour, _, _, stroke, tile_first, grid, _ = scene
    composition, paints = style[0], colour.shape[1]
    view = make_workspace(grid, ends)
    ink = numpy.empty_like(view[2])
    for tile in range(start, stop):
        low, high = tile_first[tile], tile_first[tile + 1]
        kept, paint = tiles[tile, paints:], tiles[tile, :paints]
        clear(kept, paint, composition, low == high)
        corner = corner_of(tile, grid, ends)
        for g in range(high - 1, low - 1, -1):
            i = stroke[g]
            _look(g, tile, scene, fills, style[1], corner, view, ink)
            compose(ink, amplitude[i], colour[i], composition, kept, paint)
        if low < high:
            finish(kept, composition)


@inner
def _look(
    g: int, tile: int, scene: Any, fills: Any, flat: bool, corner: Any, view: Any, ink: Any
) -> None:
    """Write what a group's pixels see of its stroke to `view`, and their ink for an amplitude of 1."""
    ends, width, _, _, pieces, first, stroke, _, _, pens = scene
    i, begin, end = stroke[g], first[g], first[g + 1]
    kind = fills[0][i]
    if begin == end:
        # The whole tile is inside.
        for p in range(len(ink)):
            ink[p] = ONE
        return
    if kind == 0:
        nearest_pieces(ends, pieces, begin, end, corner, view)
        if len(pens):
            tapered_ink(ends, pens, pieces, begin, end, corner, view, flat, ink)
        else:
            line_ink(view[2], width[i], flat, ink)
        return
    wind(g, i, tile, scene, fills, view[4])
    nearest_edge(ends, pieces, begin, end, corner, view, kind == 2)
    fill_ink(view[2], view[4], width[i], flat, ink)


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
    """Write the gradients of tiles' groups and of their pieces, summed over pixels."""
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
    ends, _, amplitude, colour, _, first, stroke, tile_first, grid, _ = scene
    composition, flat = style
    low, high, paints = tile_first[tile], tile_first[tile + 1], colour.shape[1]
    pixels, corner = len(workspace[0]), corner_of(tile, grid, ends)
    by_ink, spare = numpy.empty_like(workspace[2]), numpy.empty_like(workspace[2])
    known = nothing_known(high - low, amplitude.shape[1], pixels, composition)
    # What pixels see of each group, where a gradient depends on all of them; else of one at a time.
    rows = 1 if composition == SOFT_OR else high - low
    views, inks = _views(rows, pixels), numpy.empty((rows, pixels), numpy.float32)
    if composition != SOFT_OR:
        for g in range(high - 1, low - 1, -1):
            row = g - low
            _look(g, tile, scene, fills, flat, corner, _view(row, views, workspace), inks[row])
            learn(row, inks[row], amplitude[stroke[g]], composition, known)
    # The gradient's inner product with everything below the current stroke.
    under = numpy.empty_like(by_ink)
    for p in range(pixels):
        under[p] = gradient[tile, paints, p]
    for g in range(low, high):
        i, row = stroke[g], 0 if composition == SOFT_OR else g - low
        view, ink = _view(row, views, workspace), inks[row]
        if composition == SOFT_OR:
            _look(g, tile, scene, fills, flat, corner, view, ink)
        if composition == OVER:
            front, above = known[row, 0], gradient[tile]
            over_gradients(ink, amplitude[i], colour[i], front, above, under, by_ink, by_group[g])
        else:
            seen, above = tiles[tile], gradient[tile]
            transparent_gradients(
                row, ink, amplitude[i], composition, known, seen, above, by_ink, by_group[g]
            )
        if first[g] < first[g + 1]:
            _piece_gradients(
                g, scene, fills, flat, corner, view, ink, by_ink, spare, by_piece, by_group[g]
            )


@inlined
def _piece_gradients(
    g: int,
    scene: Any,
    fills: Any,
    flat: bool,
    corner: Any,
    view: Any,
    ink: Any,
    by_ink: Any,
    spare: Any,
    by_piece: Any,
    by_group: Any,
) -> None:
    """Write the gradients of a group's pieces and width, given that of its ink, which is lost."""
    ends, width, _, _, pieces, first, stroke, _, grid, pens = scene
    i, begin, end = stroke[g], first[g], first[g + 1]
    if fills[0][i] != 0:
        by_group[0] += fill_slopes(view[2], view[4], width[i], flat, by_ink)
        take_edges(view[2], by_ink, spare)
        endpoint_gradients(ends, pieces, begin, end, corner, view, by_ink, by_piece)
        edge_gradients(ends, pieces, corner, grid[4], view, spare, by_piece)
        return
    if len(pens):
        tapered_slopes(ends, pens, pieces, begin, end, corner, view, flat, ink, by_ink, spare)
    else:
        by_group[0] += line_slopes(view[2], ink, width[i], flat, by_ink)
    endpoint_gradients(ends, pieces, begin, end, corner, view, by_ink, by_piece)
    if len(pens):
        pen_gradients(ends, pens, pieces, begin, end, corner, view, spare, by_piece)


@inlined
def _views(rows: int, pixels: int) -> Any:
    """A workspace's squared distances, nearest pieces and sides, for each of several groups."""
    squares = numpy.empty((rows, pixels), numpy.float32)
    nearest = numpy.zeros((rows, pixels), numpy.int32)
    return squares, nearest, numpy.zeros((rows, pixels), numpy.int32)


@inlined
def _view(row: int, views: Any, workspace: Any) -> Any:
    """A workspace into which one group's pixels are written."""
    return workspace[0], workspace[1], views[0][row], views[1][row], views[2][row], workspace[5]
