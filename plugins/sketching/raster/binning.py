"""`tiles.bin_pieces` compiled by numba: a counting sort instead of comparisons."""

from __future__ import annotations

import math
from typing import Any

import numpy
import torch
from torch import Tensor

from plugins.sketching.raster.compiled import compiled, grid_array
from plugins.sketching.raster.tiles import Layout, Work, grouped


def bin_pieces(ends: Tensor, reach: Tensor, layout: Layout, *, whole: bool) -> Work:
    """`tiles.bin_pieces` by a counting sort: strokes are visited in order, so no comparison is needed."""
    things, tiles, counts = sorted_touches(ends.numpy(), reach.detach().numpy(), layout, whole)
    if whole:
        thing, tile = (torch.from_numpy(part) for part in (things, tiles))
        return grouped(thing, tile, layout, ends.shape[0], ends.shape[1], whole=True)
    return Work(*(torch.from_numpy(part) for part in _group(things, counts, ends.shape[1])))


def bin_lines(ends: Any, reach: Any, layout: Layout, strokes: int) -> tuple[Any, Any, Any, Any]:
    """The lists pieces, first, stroke and tile_first of the work of strokes `[N, P, 4]`, `strokes` on each canvas."""
    count, pieces = len(ends), ends.shape[1]
    if layout.rows == layout.columns == 1:
        # Every stroke in its canvas's only tile.
        first, tile_first = (
            numpy.arange(count + 1) * pieces,
            numpy.arange(layout.count + 1) * strokes,
        )
        return numpy.arange(count * pieces), first, numpy.arange(count), tile_first
    things, _, counts = sorted_touches(ends, reach, layout, False)
    found, first, stroke, _, tile_first = _group(things, counts, pieces)
    return found, first, stroke, tile_first


def sorted_touches(ends: Any, reach: Any, layout: Layout, whole: bool) -> tuple[Any, Any, Any]:
    """`tiles.touches` sorted by tile, and where each tile's begin."""
    given = ends, reach, grid_array(layout), whole
    nowhere = numpy.empty(0, numpy.int64)
    found = _touches(*given, nowhere, nowhere)
    things, tiles = numpy.empty(found, numpy.int64), numpy.empty(found, numpy.int64)
    _touches(*given, things, tiles)
    return things, tiles, _sort(things, tiles, layout.tiles)


@compiled
def _near_tile(piece: Any, reach: Any, column: Any, row: Any, grid: Any) -> Any:
    ax, ay, dx, dy = piece[0], piece[1], piece[2] - piece[0], piece[3] - piece[1]
    u, v = (column + 0.5) * grid[4] - ax, (row + 0.5) * grid[3] - ay
    t = (u * dx + v * dy) / max(dx * dx + dy * dy, 1e-12)
    t = min(max(t, 0.0), 1.0)
    far = reach + math.hypot(grid[3] - 1, grid[4] - 1) / 2
    return (u - t * dx) ** 2 + (v - t * dy) ** 2 <= far * far


@compiled
def _box(pieces: Any, reach: Any, grid: Any, box: Any) -> None:
    """The first and last column and row of tiles that `pieces [P, 4]` reach."""
    left = right = pieces[0, 0]
    top = bottom = pieces[0, 1]
    for p in range(len(pieces)):
        for e in range(2):
            x, y = pieces[p, 2 * e], pieces[p, 2 * e + 1]
            left, right = min(left, x), max(right, x)
            top, bottom = min(top, y), max(bottom, y)
    columns, rows = float(grid[2]), float(grid[1])
    box[0] = int(min(max(math.floor((left - reach) / grid[4]), 0.0), columns))
    box[1] = int(min(max(math.floor((right + reach) / grid[4]), -1.0), columns - 1))
    box[2] = int(min(max(math.floor((top - reach) / grid[3]), 0.0), rows))
    box[3] = int(min(max(math.floor((bottom + reach) / grid[3]), -1.0), rows - 1))


@compiled
def _touches(ends: Any, reach: Any, grid: Any, whole: bool, things: Any, tiles: Any) -> int:
    """`tiles.touches`: the number of touches; written to `things` and `tiles` as far as they have room."""
    each = ends.shape[0] // grid[0]
    pieces = 1 if whole else ends.shape[1]
    box = numpy.zeros(4, numpy.int64)
    found = 0
    for i in range(len(ends)):
        base = i // each * grid[1] * grid[2]
        for j in range(pieces):
            _box(ends[i] if whole else ends[i, j : j + 1], reach[i], grid, box)
            for row in range(box[2], box[3] + 1):
                for column in range(box[0], box[1] + 1):
                    if whole or _near_tile(ends[i, j], reach[i], column, row, grid):
                        if found < len(things):
                            things[found] = i * pieces + j
                            tiles[found] = base + row * grid[2] + column
                        found += 1
    return found


@compiled
def _sort(things: Any, tiles: Any, count: int) -> Any:
    """Counting sort of both lists by tile, stable within a tile; returns where each tile begins, `[count + 1]`."""
    places = numpy.zeros(count + 1, numpy.int64)
    for tile in tiles:
        places[tile + 1] += 1
    places = numpy.cumsum(places)
    begins = places.copy()
    given_things, given_tiles = things.copy(), tiles.copy()
    for k in range(len(tiles)):
        place = places[given_tiles[k]]
        things[place], tiles[place] = given_things[k], given_tiles[k]
        places[given_tiles[k]] += 1
    return begins


@compiled
def _group(things: Any, begins: Any, pieces: int) -> Any:
    """The fields of a `Work`, from pieces sorted by tile and where each tile begins."""
    first = numpy.empty(len(things) + 1, numpy.int64)
    stroke, tile = numpy.empty_like(things), numpy.empty_like(things)
    tile_first = numpy.empty_like(begins)
    groups = 0
    for t in range(len(begins) - 1):
        tile_first[t] = groups
        for k in range(begins[t], begins[t + 1]):
            i = things[k] // pieces
            if k == begins[t] or i != stroke[groups - 1]:
                first[groups], stroke[groups], tile[groups] = k, i, t
                groups += 1
    tile_first[-1] = groups
    first[groups] = len(things)
    return things, first[: groups + 1], stroke[:groups], tile[:groups], tile_first
