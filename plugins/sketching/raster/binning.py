"""Which pieces reach which tiles, compiled by numba: a counting sort, and windings by scan lines.

What is inside a fill depends on all of its pieces, but a tile need not visit them all: it is told the winding number at
the left end of each of its rows, and counts on with the pieces near it. A tile that no piece is near is inside or
outside as a whole. So a fill costs its outline, and one number for each row of a tile, not all pieces in every tile.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from plugins.sketching.raster.compiled import compiled, exact, grid_array, inlined, inner
from plugins.sketching.raster.tiles import Layout

# Touches of tiles for each piece that there is room for at first: unwritten memory costs nothing.
ROOM = 16
# Pieces, first, stroke and tile_first, as in `tiles.Work`.
Lists = tuple[Any, Any, Any, Any]
# For each stroke the first and last column and row of tiles, `[N, 4]`, and where its numbers begin, `[N]`; and the
# winding numbers at the left end of each row of pixels in each of these tiles, row by row.
Windings = tuple[Any, Any, Any]


def bin_pieces(
    ends: Any, first_piece: Any, kind: Any, reach: Any, layout: Layout
) -> tuple[Lists, Windings]:
    """`tiles.bin_pieces` of arrays, with the winding numbers of fills."""
    grid = grid_array(layout)
    boxes, offsets = numpy.zeros((len(kind), 4), numpy.int64), numpy.zeros(len(kind) + 1, int)
    windings = numpy.zeros(0, numpy.int32)
    if kind.any():
        boxes, offsets = _boxes(ends, first_piece, kind, reach, grid)
        windings = numpy.zeros(offsets[-1], numpy.int32)
        _wind(ends, first_piece, kind, boxes, offsets, grid, windings)
    shapes = boxes, offsets, windings
    given = ends, first_piece, kind, reach, grid, *shapes
    touches = numpy.empty((3, ROOM * len(ends)), numpy.int64)
    found = _touches(*given, *touches)
    if found > touches.shape[1]:
        touches = numpy.empty((3, found), numpy.int64)
        _touches(*given, *touches)
    pieces, strokes, tiles = touches[:, :found]
    return _sorted(pieces, strokes, tiles, layout.tiles), shapes


def bin_lines(ends: Any, reach: Any, layout: Layout, strokes: int) -> Lists:
    """`bin_pieces` of lines `[N, P, 4]`, `strokes` on each canvas."""
    count, each = len(ends), ends.shape[1]
    first_piece = numpy.arange(count + 1) * each
    if layout.rows == layout.columns == 1:
        # Every stroke in its canvas's only tile.
        tile_first = numpy.arange(layout.count + 1) * strokes
        return numpy.arange(count * each), first_piece, numpy.arange(count), tile_first
    kind = numpy.zeros(count, numpy.int64)
    return bin_pieces(ends.reshape(-1, 4), first_piece, kind, reach, layout)[0]


@inlined
def _near_tile(piece: Any, inverse: Any, far: Any, column: Any, row: Any, grid: Any) -> Any:
    """Whether a piece is within `far` of a tile's centre; `inverse` is 1 over its squared length."""
    ax, ay, dx, dy = piece[0], piece[1], piece[2] - piece[0], piece[3] - piece[1]
    u, v = (column + 0.5) * grid[4] - ax, (row + 0.5) * grid[3] - ay
    t = min(max((u * dx + v * dy) * inverse, 0.0), 1.0)
    return (u - t * dx) ** 2 + (v - t * dy) ** 2 <= far * far


@inner
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
def _boxes(ends: Any, first_piece: Any, kind: Any, reach: Any, grid: Any) -> Any:
    """The tiles of each fill, and where its winding numbers begin; lines have none."""
    count = len(kind)
    boxes, offsets = numpy.zeros((count, 4), numpy.int64), numpy.zeros(count + 1, numpy.int64)
    for i in range(count):
        offsets[i + 1] = offsets[i]
        if kind[i] and first_piece[i] < first_piece[i + 1]:
            _box(ends[first_piece[i] : first_piece[i + 1]], reach[i], grid, boxes[i])
            across = max(boxes[i, 1] - boxes[i, 0] + 1, 0)
            offsets[i + 1] += across * max(boxes[i, 3] - boxes[i, 2] + 1, 0) * grid[3]
    return boxes, offsets


# Without liberties: a crossing is computed twice, and must come out in the same column of pixels.
@exact
def first_row(piece: Any) -> Any:
    """The first row of pixels whose centres a piece crosses; a huge one is cut off."""
    return math.ceil(min(max(min(piece[1], piece[3]), -1e9), 1e9) - 0.5)


@exact
def last_row(piece: Any) -> Any:
    return math.ceil(min(max(max(piece[1], piece[3]), -1e9), 1e9) - 0.5) - 1


@exact
def crossing(piece: Any, row: int) -> Any:
    """The first column of pixels whose centres lie to the right of where a piece crosses the centres of a row."""
    share = (row + 0.5 - piece[1]) / (piece[3] - piece[1])
    x = piece[0] + share * (piece[2] - piece[0])
    return math.ceil(min(max(x, -1e9), 1e9) - 0.5)


@compiled
def _wind(
    ends: Any, first_piece: Any, kind: Any, boxes: Any, offsets: Any, grid: Any, windings: Any
) -> None:
    """Write the winding numbers at the left end of each row of pixels, in each tile of each fill."""
    for i in range(len(kind)):
        across = boxes[i, 1] - boxes[i, 0] + 1
        if offsets[i + 1] == offsets[i]:
            continue
        block = windings[offsets[i] : offsets[i + 1]].reshape(-1, across)
        top, left = boxes[i, 2] * grid[3], boxes[i, 0] * grid[4]
        for k in range(first_piece[i], first_piece[i + 1]):
            turn = 1 if ends[k, 3] > ends[k, 1] else -1
            for row in range(
                max(first_row(ends[k]), top), min(last_row(ends[k]), top + len(block) - 1) + 1
            ):
                column = max(-(-(crossing(ends[k], row) - left) // grid[4]), 0)
                if column < across:
                    block[row - top, column] += turn
        for row in range(len(block)):
            for column in range(1, across):
                block[row, column] += block[row, column - 1]


@compiled
def _touches(
    ends: Any,
    first_piece: Any,
    kind: Any,
    reach: Any,
    grid: Any,
    boxes: Any,
    offsets: Any,
    windings: Any,
    pieces: Any,
    strokes: Any,
    tiles: Any,
) -> int:
    """The number of touches, each a piece of a stroke in a tile; written as far as there is room.

    Of a fill, tiles that lie inside it as a whole are listed with the piece -1.
    """
    each = max(len(kind) // grid[0], 1)
    box = numpy.zeros(4, numpy.int64)
    half_diagonal = math.hypot(grid[3] - 1, grid[4] - 1) / 2
    found = 0
    for i in range(len(kind)):
        base = i // each * grid[1] * grid[2]
        # Of a fill, the tiles that a piece is near.
        edge = numpy.zeros(grid[1] * grid[2] if kind[i] else 0, numpy.bool_)
        for j in range(first_piece[i], first_piece[i + 1]):
            _box(ends[j : j + 1], reach[i], grid, box)
            dx, dy = ends[j, 2] - ends[j, 0], ends[j, 3] - ends[j, 1]
            inverse, far = 1 / max(dx * dx + dy * dy, 1e-12), reach[i] + half_diagonal
            for row in range(box[2], box[3] + 1):
                for column in range(box[0], box[1] + 1):
                    if not _near_tile(ends[j], inverse, far, column, row, grid):
                        continue
                    tile = row * grid[2] + column
                    if found < len(pieces):
                        pieces[found], strokes[found], tiles[found] = j, i, base + tile
                    found += 1
                    if kind[i]:
                        edge[tile] = True
        if kind[i]:
            block = windings[offsets[i] : offsets[i + 1]]
            found = _inner(
                i, kind[i], boxes[i], block, edge, base, grid, found, pieces, strokes, tiles
            )
    return found


@inlined
def _inner(
    i: int,
    kind: int,
    box: Any,
    block: Any,
    edge: Any,
    base: int,
    grid: Any,
    found: int,
    pieces: Any,
    strokes: Any,
    tiles: Any,
) -> int:
    """Add the tiles that lie inside a fill as a whole to the touches found so far."""
    across = box[1] - box[0] + 1
    for row in range(box[2], box[3] + 1):
        for column in range(box[0], box[1] + 1):
            tile = row * grid[2] + column
            wound = block[(row - box[2]) * grid[3] * across + column - box[0]]
            if edge[tile] or (wound & 1 if kind == 2 else wound) == 0:
                continue
            if found < len(pieces):
                pieces[found], strokes[found], tiles[found] = -1, i, base + tile
            found += 1
    return found


@compiled
def _sorted(pieces: Any, strokes: Any, tiles: Any, count: int) -> Any:
    """The lists of a `Work`, by a counting sort of touches by tile: within a tile they keep their order."""
    places = numpy.zeros(count + 1, numpy.int64)
    for tile in tiles:
        places[tile + 1] += 1
    places = numpy.cumsum(places)
    begins = places.copy()
    order = numpy.empty(len(tiles), numpy.int64)
    for k in range(len(tiles)):
        order[places[tiles[k]]] = k
        places[tiles[k]] += 1
    kept, first = numpy.empty_like(pieces), numpy.empty(len(pieces) + 1, numpy.int64)
    stroke, tile_first = numpy.empty_like(pieces), numpy.empty_like(begins)
    groups = listed = 0
    for t in range(count):
        tile_first[t] = groups
        for k in range(begins[t], begins[t + 1]):
            i = strokes[order[k]]
            if k == begins[t] or i != stroke[groups - 1]:
                first[groups], stroke[groups] = listed, i
                groups += 1
            if pieces[order[k]] >= 0:
                kept[listed] = pieces[order[k]]
                listed += 1
    tile_first[-1] = groups
    first[groups] = listed
    return kept[:listed], first[: groups + 1], stroke[:groups], tile_first
