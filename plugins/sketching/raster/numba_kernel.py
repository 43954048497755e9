"""The rasteriser's kernel for the CPU, compiled by numba on first use: what torch_kernel.py vectorises, as plain loops.

Each thread takes whole tiles and writes only to its own entries (a tile's pixels, a group, a group's piece), so results
do not depend on the number of threads. The formulas are those of render.py, the array layouts those of tiles.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy
import torch
from numba import njit
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from plugins.sketching.raster.request import RenderRequest
from plugins.sketching.raster.tiles import Layout, Work, grouped
from plugins.sketching.raster.torch_kernel import (
    HALF_PEN,
    INNER,
    OUTER,
    SHARPNESS,
    SOFT,
    Gradients,
)

SOFT_OR, MAX, SMOOTH_MAX, OVER = 0, 1, 2, 3
CODES = {"soft_or": SOFT_OR, "max": MAX, "smooth_max": SMOOTH_MAX, "over": OVER}
# Squared distance in squared widths beyond which ink is less than render.CUT and is left out.
NEGLIGIBLE = math.log(1e5)
# Pieces in tiles from which threads pay off: about 0.3 ms of work.
WORTH_A_THREAD = 3000
ROOT_PI = math.sqrt(math.pi)
ZERO, ONE, SIXTEENTH = numpy.float32(0), numpy.float32(1), numpy.float32(1 / 16)
CLOSE = numpy.float32(NEGLIGIBLE)
# Coefficients of (exp(-u) - 1) / u, so that the bell is exactly 1 at distance 0.
C1, C2, C3, C4, C5, C6 = (
    Chebyshev.interpolate(lambda u: numpy.expm1(-u) / u, 5, (0, NEGLIGIBLE / 16))
    .convert(kind=Polynomial)
    .coef.astype(numpy.float32)
)


def forward(request: RenderRequest, work: Work) -> Tensor:
    """Each tile's paint and remaining paper, `[tiles, channels, pixels]`."""
    tiles = request.ends.new_empty(request.layout.tiles, request.channels, request.layout.pixels)
    if is_soft_line(request):
        in_threads(
            _soft_forward, work, *soft_line_arrays(request, work), tiles[:, 0].fill_(1).numpy()
        )
    else:
        in_threads(_forward, work, *arrays(request, work), tiles.numpy())
    return tiles


def backward(request: RenderRequest, work: Work, tiles: Tensor, gradient: Tensor) -> Gradients:
    """The gradients of ends, width, amplitude and colour, given that of `tiles`."""
    inks, paints = (
        request.amplitude.shape[1],
        0 if request.colour is None else request.colour.shape[1],
    )
    by_piece = request.ends.new_zeros(len(work.pieces), 4)
    by_group = request.ends.new_zeros(len(work.stroke), 1 + inks + paints)
    results = by_piece.numpy(), by_group.numpy()
    given = tiles.numpy(), gradient.numpy()
    if is_soft_line(request):
        layers = (part[:, 0] for part in given)
        in_threads(_soft_backward, work, *soft_line_arrays(request, work), *layers, *results)
    else:
        in_threads(_backward, work, *arrays(request, work), *given, *results)
    ends = torch.zeros_like(request.ends)
    strokes = request.ends.new_zeros(len(request.width), by_group.shape[1])
    _add_rows(by_piece.numpy(), work.pieces.numpy(), ends.view(-1, 4).numpy())
    _add_rows(by_group.numpy(), work.stroke.numpy(), strokes.numpy())
    colour = None if request.colour is None else strokes[:, 1 + inks :]
    return ends, strokes[:, 0], strokes[:, 1 : 1 + inks], colour


def bin_pieces(ends: Tensor, reach: Tensor, layout: Layout, *, whole: bool) -> Work:
    """`tiles.bin_pieces` by a counting sort: strokes are visited in order, so no comparison is needed."""
    given = ends.numpy(), reach.detach().numpy(), grid_array(layout), whole
    nowhere = numpy.empty(0, numpy.int64)
    found = _touches(*given, nowhere, nowhere)
    things, tiles = numpy.empty(found, numpy.int64), numpy.empty(found, numpy.int64)
    _touches(*given, things, tiles)
    counts = _sort(things, tiles, layout.tiles)
    if whole:
        thing, tile = (torch.from_numpy(part) for part in (things, tiles))
        return grouped(thing, tile, layout, ends.shape[0], ends.shape[1], whole=True)
    return Work(*(torch.from_numpy(part) for part in _group(things, counts, ends.shape[1])))


def grid_array(layout: Layout) -> Any:
    """A layout as an array: canvases, rows and columns of tiles, a tile's height and width."""
    tile = layout.tile_height, layout.tile_width
    return numpy.array([layout.count, layout.rows, layout.columns, *tile])


def in_threads(draw: Callable[..., None], work: Work, *inputs: Any) -> None:
    """Call `draw(start, stop, *inputs)` for one range of tiles per torch thread, the ranges of about equal work.

    The compiled code releases the GIL, so plain threads are enough.
    """
    threads, tiles = torch.get_num_threads(), len(work.tile_first) - 1
    if threads == 1 or len(work.pieces) < WORTH_A_THREAD:
        draw(0, tiles, *inputs)
        return
    shares = torch.linspace(0, len(work.stroke), threads + 1)[1:-1].long()
    cuts = [0, *torch.searchsorted(work.tile_first, shares).tolist(), tiles]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(draw, start, stop, *inputs) for start, stop in pairwise(cuts)]:
            done.result()


def is_soft_line(request: RenderRequest) -> bool:
    """Whether a request is for Gaussian lines of one transparent ink in float32, as most are while training."""
    plain = request.colour is None and request.amplitude.shape[1] == 1 and not request.filled
    single = request.ends.dtype == torch.float32
    return plain and single and request.composition == "soft_or" and request.profile == "gaussian"


def soft_line_arrays(request: RenderRequest, work: Work) -> tuple[Any, ...]:
    """The arrays that the kernels of such requests read."""
    strokes = (request.ends.reshape(-1, 4), request.width, request.amplitude[:, 0])
    lists = (work.pieces, work.first, work.stroke, work.tile_first)
    return *(part.numpy() for part in (*strokes, *lists)), grid_array(request.layout)


def arrays(request: RenderRequest, work: Work) -> tuple[Any, Any]:
    """What the kernels of all other requests read: the scene's arrays, and how it is rendered."""
    colour = (
        request.amplitude.new_empty(len(request.width), 0)
        if request.colour is None
        else request.colour
    )
    strokes = (request.ends.reshape(-1, 4), request.width, request.amplitude, colour)
    lists = (work.pieces, work.first, work.stroke, work.tile_first)
    scene = (*(part.numpy() for part in (*strokes, *lists)), grid_array(request.layout))
    return scene, (CODES[request.composition], request.profile == "flat", request.filled)


compiled = njit(
    cache=True, fastmath={"contract", "arcp", "nsz", "reassoc"}, nogil=True, error_model="numpy"
)


@compiled
def _add_rows(rows: Any, places: Any, sums: Any) -> None:
    for i in range(len(rows)):
        for c in range(rows.shape[1]):
            sums[places[i], c] += rows[i, c]


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


@compiled
def _nearest(
    ends: Any, pieces: Any, begin: int, end: int, corner: Any, workspace: Any, filled: bool
) -> None:
    """Write each pixel's squared distance, nearest piece (index into `pieces`) and winding number to the workspace."""
    xs, ys, square, nearest, side, found = workspace
    zero = ends.dtype.type(0)
    _measure(_segment(ends, pieces[begin], corner), xs, ys, square)
    if end > begin + 1:
        nearest[:] = begin
    for k in range(begin + 1, end):
        _measure(_segment(ends, pieces[k], corner), xs, ys, found)
        for p in range(len(square)):
            nearer = found[p] < square[p]
            square[p] = found[p] if nearer else square[p]
            nearest[p] = numpy.int32(k) if nearer else nearest[p]
    if not filled:
        return
    side[:] = 0
    for k in range(begin, end):
        ax, ay, dx, dy, _, _ = _segment(ends, pieces[k], corner)
        for p in range(len(square)):
            u, v = xs[p] - ax, ys[p] - ay
            turn = dx * v - dy * u
            rises, falls = (v >= zero) & (v < dy), (v < zero) & (v >= dy)
            side[p] += numpy.int32(rises & (turn < zero)) - numpy.int32(falls & (turn > zero))


@compiled
def _segment(ends: Any, piece: int, corner: Any) -> Any:
    """A piece's start seen from a tile's corner, its vector (x, y), and that over its squared length (0 for a dot)."""
    ax, ay, bx, by = ends[piece]
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    one, zero = ends.dtype.type(1), ends.dtype.type(0)
    inverse = one / length if length > 1e-12 else zero
    return ax - corner[0], ay - corner[1], dx, dy, dx * inverse, dy * inverse


@compiled
def _measure(segment: Any, xs: Any, ys: Any, square: Any) -> None:
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


@compiled
def _bell(square: Any) -> Any:
    """exp(-square) in float32 for 0..NEGLIGIBLE, to 3e-6 of itself and never above 1, by multiplications only.

    A polynomial of square / 16, squared four times: unlike a library's exp, the compiler vectorises it.
    """
    u = square * SIXTEENTH
    root = ONE + u * (C1 + u * (C2 + u * (C3 + u * (C4 + u * (C5 + u * C6)))))
    root *= root
    root *= root
    root *= root
    return root * root


@compiled
def _soft_forward(
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
    tiles: Any,
) -> None:
    """`_forward` of Gaussian lines of one ink; `tiles [tiles, pixels]` hold ones, kept where there is no ink."""
    workspace = _workspace(grid, ends)
    for tile in range(start, stop):
        if tile_first[tile] == tile_first[tile + 1]:
            continue
        corner = _corner(tile, grid, ends)
        for g in range(tile_first[tile], tile_first[tile + 1]):
            i = stroke[g]
            _nearest(ends, pieces, first[g], first[g + 1], corner, workspace, False)
            _soft_ink(workspace[2], width[i], amplitude[i], tiles[tile])


@compiled
def _soft_backward(
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
    tiles: Any,
    gradient: Any,
    by_piece: Any,
    by_group: Any,
) -> None:
    """`_backward` of Gaussian lines of one ink."""
    workspace = _workspace(grid, ends)
    square, by_square = workspace[2], numpy.empty_like(workspace[2])
    for tile in range(start, stop):
        if tile_first[tile] == tile_first[tile + 1]:
            continue
        corner, kept, above = _corner(tile, grid, ends), tiles[tile], gradient[tile]
        for g in range(tile_first[tile], tile_first[tile + 1]):
            i = stroke[g]
            _nearest(ends, pieces, first[g], first[g + 1], corner, workspace, False)
            found = _soft_gradient(square, width[i], amplitude[i], kept, above, by_square)
            by_group[g, 0], by_group[g, 1] = found
            _endpoint_gradients(
                ends, pieces, first[g], first[g + 1], corner, workspace, by_square, by_piece
            )


@compiled
def _soft_ink(square: Any, s: Any, amplitude: Any, kept: Any) -> None:
    """Compose one Gaussian ink into a tile by soft-or, in float32: most drawings need nothing else."""
    inverse = ONE / (s * s)
    for p in range(len(square)):
        scaled = square[p] * inverse
        near = scaled if scaled < CLOSE else CLOSE
        ink = _bell(near) if scaled < CLOSE else ZERO
        kept[p] *= ONE - amplitude * ink


@compiled
def _soft_gradient(
    square: Any, s: Any, amplitude: Any, kept: Any, gradient: Any, by_square: Any
) -> Any:
    """The gradient of `_soft_ink`: writes the one by squared distance, returns those by width and by amplitude."""
    inverse = ONE / (s * s)
    by_width, by_amplitude = ZERO, ZERO
    for p in range(len(square)):
        scaled = square[p] * inverse
        near = scaled if scaled < CLOSE else CLOSE
        ink = _bell(near) if scaled < CLOSE else ZERO
        by_alpha = -kept[p] * gradient[p] / (ONE - amplitude * ink) * ink
        by_amplitude += by_alpha
        by_square[p] = -by_alpha * amplitude * inverse
        by_width += by_alpha * square[p]
    return by_width * amplitude * inverse * (ONE + ONE) / s, by_amplitude


@compiled
def _ink(square: Any, side: Any, s: Any, flat: bool, filled: bool) -> Any:
    """The ink for an amplitude of 1."""
    if not flat and not filled:
        return math.exp(-square / (s * s)) if square < NEGLIGIBLE * s * s else 0.0
    distance = math.sqrt(square)
    if filled:
        signed = distance if side == 0 else -distance
        if flat:
            return _covered(-signed)
        return math.erfc(signed / s) / 2
    half = HALF_PEN * s
    return max(_covered(half + distance) + _covered(half - distance) - 1, 0.0)


@compiled
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


@compiled
def _covered(inside: Any) -> Any:
    """`torch_kernel.covered`: how much of a pixel lies within an edge."""
    away = abs(inside)
    rest = max(OUTER - away, 0.0)
    flank = 0.5 - away if away < INNER else rest * rest / (2 * SOFT)
    return 1 - flank if inside > 0 else flank


@compiled
def _steepness(away: Any) -> Any:
    """The derivative of `_covered`."""
    return 1.0 if away < INNER else max(OUTER - away, 0.0) / SOFT


@compiled
def _workspace(grid: Any, ends: Any) -> Any:
    """The x and y of pixel centres in a tile, and buffers for what `_nearest` computes (`found` is scratch space)."""
    pixels = grid[3] * grid[4]
    xs, ys = numpy.empty(pixels, ends.dtype), numpy.empty(pixels, ends.dtype)
    for p in range(pixels):
        xs[p], ys[p] = p % grid[4] + 0.5, p // grid[4] + 0.5
    square, found = numpy.empty(pixels, ends.dtype), numpy.empty(pixels, ends.dtype)
    nearest, side = numpy.zeros(pixels, numpy.int32), numpy.zeros(pixels, numpy.int32)
    return xs, ys, square, nearest, side, found


@compiled
def _corner(tile: int, grid: Any, ends: Any) -> Any:
    """The x and y of a tile's corner."""
    place = tile % (grid[1] * grid[2])
    number = ends.dtype.type
    return number(place % grid[2] * grid[4]), number(place // grid[2] * grid[3])


@compiled
def _forward(start: int, stop: int, scene: Any, style: Any, tiles: Any) -> None:
    workspace = _workspace(scene[8], scene[0])
    for tile in range(start, stop):
        _forward_tile(tile, scene, style, workspace, tiles)


@compiled
def _forward_tile(tile: int, scene: Any, style: Any, workspace: Any, tiles: Any) -> None:
    """Render a tile's groups, the last stroke first: it lies on top."""
    ends, width, amplitude, colour, pieces, first, stroke, tile_first, grid = scene
    composition, flat, filled = style
    low, high = tile_first[tile], tile_first[tile + 1]
    inks, paints, pixels = amplitude.shape[1], colour.shape[1], tiles.shape[2]
    kept, paint = tiles[tile, paints:], tiles[tile, :paints]
    kept[:] = 1 if composition != SMOOTH_MAX or low == high else 0
    paint[:] = 0
    if low == high:
        return
    square, side, corner = workspace[2], workspace[4], _corner(tile, grid, ends)
    for g in range(high - 1, low - 1, -1):
        i = stroke[g]
        _nearest(ends, pieces, first[g], first[g + 1], corner, workspace, filled)
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


@compiled
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
    style: Any,
    tiles: Any,
    gradient: Any,
    by_piece: Any,
    by_group: Any,
) -> None:
    workspace = _workspace(scene[8], scene[0])
    for tile in range(start, stop):
        if scene[7][tile] < scene[7][tile + 1]:
            _backward_tile(tile, scene, style, workspace, tiles, gradient, by_piece, by_group)


@compiled
def _backward_tile(
    tile: int,
    scene: Any,
    style: Any,
    workspace: Any,
    tiles: Any,
    gradient: Any,
    by_piece: Any,
    by_group: Any,
) -> None:
    """The gradients of a tile's groups and their pieces, summed over its pixels."""
    ends, width, amplitude, colour, pieces, first, stroke, tile_first, grid = scene
    composition, flat, filled = style
    low, high, inks = tile_first[tile], tile_first[tile + 1], amplitude.shape[1]
    square, side, corner = workspace[2], workspace[4], _corner(tile, grid, ends)
    by_square = numpy.empty_like(square)
    known = numpy.zeros((2, inks, len(square)))
    if composition != SOFT_OR:
        known = _prepass(tile, scene, style)
    # The gradient's inner product with everything below the current stroke.
    under = gradient[tile, colour.shape[1]].copy()
    for g in range(low, high):
        i = stroke[g]
        _nearest(ends, pieces, first[g], first[g + 1], corner, workspace, filled)
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
        _endpoint_gradients(
            ends, pieces, first[g], first[g + 1], corner, workspace, by_square, by_piece
        )


@compiled
def _prepass(tile: int, scene: Any, style: Any) -> Any:
    """What a tile's backward pass needs in advance, by composition.

    "max": `[2, A, pixels]`, the largest ink and its group. "smooth_max": `[2, A, pixels]`, the norm in the first row.
    "over": `[groups, 1, pixels]`, the fraction of each group's paint that later strokes leave visible.
    """
    ends, width, amplitude, _, pieces, first, stroke, tile_first, grid = scene
    composition, flat, filled = style
    low, high = tile_first[tile], tile_first[tile + 1]
    workspace = _workspace(grid, ends)
    square, side, corner = workspace[2], workspace[4], _corner(tile, grid, ends)
    known = numpy.ones((high - low if composition == OVER else 2, amplitude.shape[1], len(square)))
    if composition != OVER:
        known[0], known[1] = 0, -1
    for g in range(high - 1, low - 1, -1):
        i = stroke[g]
        _nearest(ends, pieces, first[g], first[g + 1], corner, workspace, filled)
        for p in range(len(square)):
            ink = _ink(square[p], side[p], width[i], flat, filled)
            for c in range(amplitude.shape[1]):
                alpha = amplitude[i, c] * ink
                if composition == SMOOTH_MAX:
                    known[0, c, p] += (-math.log1p(-alpha)) ** SHARPNESS
                elif composition == OVER and g > low:
                    known[g - low - 1, 0, p] = known[g - low, 0, p] * (1 - alpha)
                elif composition == MAX and alpha > known[0, c, p]:
                    known[0, c, p], known[1, c, p] = alpha, g
    if composition == SMOOTH_MAX:
        known[0] = known[0] ** (1 / SHARPNESS)
    return known


@compiled
def _alpha_gradient(alpha: Any, kept: Any, largest: Any, is_largest: bool, composition: int) -> Any:
    """The derivative of the remaining paper with respect to one transparent ink's alpha."""
    if composition == SOFT_OR:
        return -kept / (1 - alpha)
    if composition == MAX:
        return -1.0 if is_largest else 0.0
    depth, norm = -math.log1p(-alpha), max(largest, 1e-30)
    return -math.exp(depth - norm) * (depth / norm) ** (SHARPNESS - 1)


@compiled
def _endpoint_gradients(
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
        ax, ay, dx, dy, ix, iy = _segment(ends, pieces[k], corner)
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
