"""All that the rasteriser renders, by Triton: a program for each tile goes through all strokes of its canvas.

As in triton_lines.py, which is faster for soft lines of one ink, no lists of tiles are made, so that nothing has to be
known before the kernel starts: each tile looks at each stroke's box and leaves out those that do not reach it. The
backward pass looks at each stroke a second time; "max", "smooth_max" and "over" first gather what their gradients need
of all strokes. The formulas are those of render.py and torch_kernel.py. Needs Triton, which torch brings where it has
CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from plugins.sketching.raster.request import PEN_WIDTH, REACH, RenderRequest
from plugins.sketching.raster.torch_kernel import OUTER, Gradients
from plugins.sketching.raster.triton_geometry import inside_of, nearest, off_edge, seen, winding
from plugins.sketching.raster.triton_ink import fill_ink, line_ink, tapered_ink
from plugins.sketching.raster.triton_lines import SIDE, SoftLines

__all__ = ["SIDE", "SoftLines", "backward", "forward", "plan"]

# How inks are composed.
CODES = {"soft_or": 0, "max": 1, "smooth_max": 2, "over": 3}
SOFT_OR, MAX, SMOOTH_MAX, OVER = (tl.constexpr(code) for code in CODES.values())


@triton.jit
def _pixels(tile, rows, columns, tile_height, tile_width, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """The canvas and the corner of a tile, and the centres of its pixels."""
    within = tile % (rows * columns)
    top, left = within // columns * tile_height, within % columns * tile_width
    place = tl.arange(0, block)
    x = (left + place % tile_width).to(tl.float32) + 0.5
    y = (top + place // tile_width).to(tl.float32) + 0.5
    return tile // (rows * columns), left, top, place, x, y


@triton.jit
def _is_beside(box, left, top, tile_height, tile_width):  # type: ignore[no-untyped-def]
    """Whether a stroke's box lies outside a tile."""
    beside = (tl.load(box) > left + tile_width) | (tl.load(box + 2) < left)
    return beside | (tl.load(box + 1) > top + tile_height) | (tl.load(box + 3) < top)


@triton.jit
def _look(  # type: ignore[no-untyped-def]
    ends,
    pens,
    width,
    begin,
    end,
    kind,
    x,
    y,
    flat: tl.constexpr,
    fills: tl.constexpr,
    tapered: tl.constexpr,
):
    """What pixels see of a stroke: its ink with both derivatives, the nearest piece and the place on it."""
    wound = tl.zeros(x.shape, tl.int32)
    if fills:  # noqa: SIM102  (one is known as it is compiled, the other is not)
        if kind != 0:
            wound = winding(ends, begin, end, x, y)
    square, which, t = nearest(ends, begin, end, x, y, wound, kind, fills)
    if tapered:
        place = begin + which
        first = tl.load(pens + 2 * place)
        pen = first + t * (tl.load(pens + 2 * place + 1) - first)
        ink, by_square, by_width = tapered_ink(square, pen, flat)
    else:
        ink, by_square, by_width = line_ink(square, width, flat)
        if fills:
            a, b, c = fill_ink(square, inside_of(wound, kind), width, flat)
            ink = tl.where(kind != 0, a, ink)
            by_square = tl.where(kind != 0, b, by_square)
            by_width = tl.where(kind != 0, c, by_width)
    return ink, by_square, by_width, square, which, t


@triton.jit
def _depth(alpha):  # type: ignore[no-untyped-def]
    """-log(1 - alpha), exact for faint ink, too (Kahan): what rounding does to 1 - alpha is undone."""
    rest = 1.0 - alpha
    lost = tl.where(rest == 1.0, 1.0, 1.0 - rest)
    return tl.where(rest == 1.0, alpha, -tl.log(rest) * alpha / lost)


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    ends,
    pens,
    first_piece,
    kinds,
    widths,
    amplitudes,
    colours,
    boxes,
    tiles,
    strokes,
    rows,
    columns,
    tile_height,
    tile_width,
    pixels,
    inks: tl.constexpr,
    paints: tl.constexpr,
    ink_rows: tl.constexpr,
    paint_rows: tl.constexpr,
    composition: tl.constexpr,
    flat: tl.constexpr,
    fills: tl.constexpr,
    tapered: tl.constexpr,
    block: tl.constexpr,
):
    tile = tl.program_id(0)
    canvas, left, top, place, x, y = _pixels(tile, rows, columns, tile_height, tile_width, block)
    channel, colour = tl.arange(0, ink_rows), tl.arange(0, paint_rows)
    # The paper that remains; of "smooth_max" the sum of powers.
    blank = 0.0 if composition == SMOOTH_MAX else 1.0
    kept = tl.full((ink_rows, block), blank, tl.float32)
    paint = tl.zeros((paint_rows, block), tl.float32)
    for number in range(strokes):
        stroke = canvas * strokes + number
        if not _is_beside(boxes + 4 * stroke, left, top, tile_height, tile_width):
            begin, end = tl.load(first_piece + stroke), tl.load(first_piece + stroke + 1)
            kind, width = tl.load(kinds + stroke), tl.load(widths + stroke)
            ink, _, _, _, _, _ = _look(
                ends, pens, width, begin, end, kind, x, y, flat, fills, tapered
            )
            largest = amplitudes + inks * stroke + channel
            alpha = tl.load(largest, mask=channel < inks, other=0.0)[:, None] * ink[None, :]
            if composition == MAX:
                kept = tl.minimum(kept, 1.0 - alpha)
            elif composition == SMOOTH_MAX:
                depth = _depth(alpha)
                kept += depth * depth * depth * depth
            else:
                kept *= 1.0 - alpha
            if composition == OVER:
                tint = colours + paints * stroke + colour
                shade = tl.load(tint, mask=colour < paints, other=0.0)[:, None]
                paint += alpha * (shade - paint)
    if composition == SMOOTH_MAX:
        kept = tl.exp(-tl.sqrt(tl.sqrt(kept)))
    here, base = place < pixels, tiles + tile.to(tl.int64) * (paints + inks) * pixels
    if composition == OVER:
        cells = base + colour[:, None] * pixels + place[None, :]
        tl.store(cells, paint, mask=(colour < paints)[:, None] & here[None, :])
    cells = base + (paints + channel[:, None]) * pixels + place[None, :]
    tl.store(cells, kept, mask=(channel < inks)[:, None] & here[None, :])


@triton.jit
def _backward(  # type: ignore[no-untyped-def]  # noqa: C901  (a branch for each composition)
    ends,
    pens,
    first_piece,
    kinds,
    widths,
    amplitudes,
    colours,
    boxes,
    tiles,
    gradient,
    by_ends,
    by_pens,
    by_widths,
    by_amplitudes,
    by_colours,
    strokes,
    rows,
    columns,
    tile_height,
    tile_width,
    pixels,
    inks: tl.constexpr,
    paints: tl.constexpr,
    ink_rows: tl.constexpr,
    paint_rows: tl.constexpr,
    composition: tl.constexpr,
    flat: tl.constexpr,
    fills: tl.constexpr,
    tapered: tl.constexpr,
    block: tl.constexpr,
):
    tile = tl.program_id(0)
    canvas, left, top, place, x, y = _pixels(tile, rows, columns, tile_height, tile_width, block)
    channel, colour = tl.arange(0, ink_rows), tl.arange(0, paint_rows)
    here, base = place < pixels, tile.to(tl.int64) * (paints + inks) * pixels
    cells = base + (paints + channel[:, None]) * pixels + place[None, :]
    there = (channel < inks)[:, None] & here[None, :]
    kept = tl.load(tiles + cells, mask=there, other=0.0)
    above = tl.load(gradient + cells, mask=there, other=0.0)
    cells = base + colour[:, None] * pixels + place[None, :]
    there = (colour < paints)[:, None] & here[None, :]
    paint_above = tl.load(gradient + cells, mask=there, other=0.0)
    # What the gradients need of all strokes: the largest ink and its stroke, the norm of all depths, or their sum.
    largest = tl.zeros((ink_rows, block), tl.float32)
    winner = tl.full((ink_rows, block), -1, tl.int32)
    total = tl.zeros((ink_rows, block), tl.float64)
    if composition != SOFT_OR:
        for number in range(strokes):
            stroke = canvas * strokes + number
            if not _is_beside(boxes + 4 * stroke, left, top, tile_height, tile_width):
                begin, end = tl.load(first_piece + stroke), tl.load(first_piece + stroke + 1)
                kind, width = tl.load(kinds + stroke), tl.load(widths + stroke)
                ink, _, _, _, _, _ = _look(
                    ends, pens, width, begin, end, kind, x, y, flat, fills, tapered
                )
                own = inks * stroke + channel
                amplitude = tl.load(amplitudes + own, mask=channel < inks, other=0.0)[:, None]
                alpha = amplitude * ink[None, :]
                if composition == MAX:
                    # A stroke's ink may be the largest where it is transparent yet.
                    wins = (alpha >= largest) & (ink > 0)[None, :]
                    winner = tl.where(wins, number, winner)
                    largest = tl.where(wins, alpha, largest)
                elif composition == SMOOTH_MAX:
                    depth = _depth(alpha)
                    largest += depth * depth * depth * depth
                else:
                    total += _depth(alpha).to(tl.float64)
    if composition == SMOOTH_MAX:
        largest = tl.sqrt(tl.sqrt(largest))
    # Of "over": the gradient's inner product with all below a stroke, and the depth of all up to it.
    under, depth_so_far = above, tl.zeros((ink_rows, block), tl.float64)
    for number in range(strokes):
        stroke = canvas * strokes + number
        if not _is_beside(boxes + 4 * stroke, left, top, tile_height, tile_width):
            begin, end = tl.load(first_piece + stroke), tl.load(first_piece + stroke + 1)
            kind, width = tl.load(kinds + stroke), tl.load(widths + stroke)
            ink, by_square, by_width, square, which, t = _look(
                ends, pens, width, begin, end, kind, x, y, flat, fills, tapered
            )
            own = inks * stroke + channel
            amplitude = tl.load(amplitudes + own, mask=channel < inks, other=0.0)[:, None]
            alpha = amplitude * ink[None, :]
            if composition == SOFT_OR:
                by_alpha = -above * kept / (1.0 - alpha)
            elif composition == MAX:
                by_alpha = tl.where(winner == number, -above, 0.0)
            elif composition == SMOOTH_MAX:
                depth = _depth(alpha)
                # Of nothing else than this ink, the norm is its depth; powers may underflow.
                norm = tl.where(largest > 0, largest, 1.0)
                share = tl.where(largest > 0, tl.minimum(depth / norm, 1.0), 1.0)
                by_alpha = -above * tl.exp(depth - largest) * share * share * share
            else:
                depth_so_far += _depth(alpha).to(tl.float64)
                front = tl.exp(depth_so_far - total).to(tl.float32)
                tint = colours + paints * stroke + colour
                shade = tl.load(tint, mask=colour < paints, other=0.0)[:, None]
                worth = tl.sum(paint_above * shade, 0)[None, :]
                by_alpha = front * (worth - under)
                under += alpha * (worth - under)
                by_colour = tl.sum(paint_above * alpha * front, 1)
                tint = by_colours + paints * stroke + colour
                tl.atomic_add(tint, by_colour, mask=colour < paints)
            by_amplitude = tl.sum(by_alpha * ink[None, :], 1)
            tl.atomic_add(by_amplitudes + own, by_amplitude, mask=channel < inks)
            by_ink = tl.sum(by_alpha * amplitude, 0)
            by_square *= by_ink
            by_width *= by_ink
            if not tapered:
                tl.atomic_add(by_widths + stroke, tl.sum(by_width, 0))
            for piece in range(begin, end):
                hit = which == (piece - begin).to(tl.int32)
                mine = tl.where(hit, by_square, 0.0)
                moved = tl.where(hit, by_width, 0.0)
                if tl.max(tl.abs(mine) + tl.abs(moved), 0) > 0.0:
                    t, qx, qy, turn, dx, dy = seen(ends, piece, x, y)
                    if fills:  # noqa: SIM102  (as above)
                        if kind != 0:
                            qx, qy = off_edge(square, qx, qy, turn, dx, dy)
                    by_x, by_y = -2.0 * mine * qx, -2.0 * mine * qy
                    ax, ay = by_x * (1.0 - t), by_y * (1.0 - t)
                    bx, by = by_x * t, by_y * t
                    if tapered:
                        tl.atomic_add(by_pens + 2 * piece, tl.sum(moved * (1.0 - t), 0))
                        tl.atomic_add(by_pens + 2 * piece + 1, tl.sum(moved * t, 0))
                        # The nearest point moves along the piece.
                        lean = tl.load(pens + 2 * piece + 1) - tl.load(pens + 2 * piece)
                        length = tl.maximum(dx * dx + dy * dy, 1e-12)
                        free = tl.where((t > 0) & (t < 1), moved * lean / length, 0.0)
                        ax -= free * ((1.0 - t) * dx + qx)
                        ay -= free * ((1.0 - t) * dy + qy)
                        bx += free * (qx - t * dx)
                        by += free * (qy - t * dy)
                    tl.atomic_add(by_ends + 4 * piece, tl.sum(ax, 0))
                    tl.atomic_add(by_ends + 4 * piece + 1, tl.sum(ay, 0))
                    tl.atomic_add(by_ends + 4 * piece + 2, tl.sum(bx, 0))
                    tl.atomic_add(by_ends + 4 * piece + 3, tl.sum(by, 0))


def plan(request: RenderRequest) -> Tensor:
    """Each stroke's box `[N, 4]`: left, top, right and bottom of where it is seen."""
    reach = request.width * (REACH if request.profile == "gaussian" else PEN_WIDTH / 2)
    if request.profile == "flat":
        reach = reach + OUTER
    ends, count = request.ends, len(request.width)
    numbers = torch.arange(len(ends), device=ends.device)
    owner = torch.searchsorted(request.first_piece, numbers, right=True) - 1
    owner, reach = owner.unsqueeze(1).expand(-1, 2), reach.unsqueeze(1)
    low = torch.minimum(ends[:, :2], ends[:, 2:])
    high = torch.maximum(ends[:, :2], ends[:, 2:])
    nowhere = ends.new_full((count, 2), torch.inf)
    low = nowhere.scatter_reduce(0, owner, low, "amin") - reach
    high = (-nowhere).scatter_reduce(0, owner, high, "amax") + reach
    return torch.cat([low, high], 1)


def forward(request: RenderRequest, boxes: Tensor) -> Tensor:
    """Each tile's paint and remaining paper, `[tiles, channels, pixels]`."""
    layout = request.layout
    tiles = request.ends.new_empty(layout.tiles, request.channels, layout.pixels)
    _forward[(layout.tiles,)](*scene(request, boxes), tiles, *sizes(request), **style(request))
    return tiles


def backward(request: RenderRequest, boxes: Tensor, tiles: Tensor, gradient: Tensor) -> Gradients:
    """The gradients of ends, width, amplitude, colour and pens, given that of `tiles`.

    They are summed by atomic additions: from run to run they differ in their last digits.
    """
    ends, width = torch.zeros_like(request.ends), torch.zeros_like(request.width)
    amplitude = torch.zeros_like(request.amplitude)
    colour = None if request.colour is None else torch.zeros_like(request.colour)
    pens = None if request.pens is None else torch.zeros_like(request.pens)
    results = (ends, or_other(pens, ends), width, amplitude, or_other(colour, amplitude))
    _backward[(request.layout.tiles,)](
        *scene(request, boxes), tiles, gradient, *results, *sizes(request), **style(request)
    )
    return ends, width, amplitude, colour, pens


def or_other(given: Tensor | None, other: Tensor) -> Tensor:
    """A tensor, or one in its place that no kernel looks at."""
    return other if given is None else given


def scene(request: RenderRequest, boxes: Tensor) -> tuple[Tensor, ...]:
    """What both kernels read."""
    return (
        request.ends,
        or_other(request.pens, request.ends),
        request.first_piece,
        request.kind,
        request.width,
        request.amplitude,
        or_other(request.colour, request.amplitude),
        boxes,
    )


def sizes(request: RenderRequest) -> tuple[int, ...]:
    """Strokes of a canvas, rows and columns of tiles, a tile's height, width and pixels."""
    layout = request.layout
    strokes = len(request.width) // layout.count
    grid = layout.rows, layout.columns, layout.tile_height, layout.tile_width
    return strokes, *grid, layout.pixels


def style(request: RenderRequest) -> dict[str, Any]:
    """What a kernel is compiled for."""
    inks = request.amplitude.shape[1]
    paints = 0 if request.colour is None else request.colour.shape[1]
    return {
        "inks": inks,
        "paints": paints,
        "ink_rows": triton.next_power_of_2(inks),
        "paint_rows": triton.next_power_of_2(max(paints, 1)),
        "composition": CODES[request.composition],
        "flat": request.profile == "flat",
        "fills": request.fills,
        "tapered": request.pens is not None,
        "block": triton.next_power_of_2(request.layout.pixels),
    }
