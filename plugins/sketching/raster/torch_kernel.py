"""The rasteriser's kernel in plain torch, for every device: chunks of groups, recomputed in the backward pass.

A chunk holds all groups (a stroke in a tile) of some tiles, so pixels are composed within it and memory does not grow
with strokes times pixels. Derivatives are those of render.py's formulas; for the nearest point a + t (b - a) of a
piece, with q the vector from it to the pixel, d(q^2)/da = -2 (1 - t) q and d(q^2)/db = -2 t q, clamped or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from plugins.sketching.raster.chunks import Chunk, chunks
from plugins.sketching.raster.composing import compose, decompose
from plugins.sketching.raster.request import (
    EVENODD,
    NONZERO,
    PEN_WIDTH,
    PIXEL,
    REACH,
    RenderRequest,
)
from plugins.sketching.raster.tiles import Work, bin_pieces, everywhere
from plugins.sketching.raster.torch_lines import Drawn, SoftLines

__all__ = ["Drawn", "SoftLines", "backward", "forward", "plan"]

# Half a flat pen's width, in s.
HALF_PEN = math.sqrt(math.pi) / 2
# The squared distance of a pixel that sees no edge.
FAR = 1e30
# Of a flat edge: the side of its second box, and half of the widths over which it is steepest, and seen at all.
SOFT = math.sqrt(0.5)
INNER, OUTER = (1 - SOFT) / 2, (1 + SOFT) / 2
# Pixels: a centre nearer to a fill's edge than this lies on it, and the least distance that is divided by.
ON_EDGE, SMALLEST = 1e-4, 1e-6
Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]


def plan(request: RenderRequest) -> Work:
    """Which strokes are rendered in which tiles."""
    layout = request.layout
    if layout.rows == layout.columns == 1:
        return everywhere(layout, request.first_piece)
    reach = request.width * (REACH if request.profile == "gaussian" else PEN_WIDTH / 2)
    if request.profile == "flat":
        reach = reach + OUTER
    return bin_pieces(request.ends, request.first_piece, request.kind > 0, reach, layout)


def forward(request: RenderRequest, work: Work) -> Tensor:
    """Each tile's paint and remaining paper, `[tiles, channels, pixels]`."""
    tiles = request.ends.new_zeros(request.layout.tiles, request.channels, request.layout.pixels)
    tiles[:, -request.amplitude.shape[1] :] = 1
    for chunk in chunks(request, work):
        near = nearest(request, work, chunk)
        width = request.width[chunk.stroke, None]
        soft = request.profile == "gaussian" and not request.fills and request.pens is None
        ink = line_ink(near, width) if soft else profile(request, near, width)[0]
        alpha = request.amplitude[chunk.stroke, :, None] * ink[:, None]
        tiles[chunk.low : chunk.high] = compose(request, chunk, alpha)
    return tiles


def backward(request: RenderRequest, work: Work, tiles: Tensor, gradient: Tensor) -> Gradients:
    """The gradients of ends, width, amplitude, colour and pens, given that of `tiles`."""
    ends, width = torch.zeros_like(request.ends), torch.zeros_like(request.width)
    amplitude = torch.zeros_like(request.amplitude)
    colour = None if request.colour is None else torch.zeros_like(request.colour)
    pens = None if request.pens is None else torch.zeros_like(request.pens)
    for chunk in chunks(request, work):
        near = nearest(request, work, chunk)
        ink, by_square, by_width = profile(request, near, request.width[chunk.stroke, None])
        largest = request.amplitude[chunk.stroke]
        alpha = largest[:, :, None] * ink[:, None]
        above = gradient[chunk.low : chunk.high]
        by_alpha, by_colour = decompose(request, chunk, alpha, tiles[chunk.low : chunk.high], above)
        amplitude.index_add_(0, chunk.stroke, (by_alpha * ink[:, None]).sum(-1))
        by_ink = (by_alpha * largest[:, :, None]).sum(1)
        by_width = by_ink * by_width
        if pens is None:
            width.index_add_(0, chunk.stroke, by_width.sum(-1))
        else:
            add_pen_gradients(request, work, chunk, near, by_width, ends, pens)
        if colour is not None and by_colour is not None:
            colour.index_add_(0, chunk.stroke, by_colour)
        add_endpoint_gradients(ends, work, chunk, near, by_ink * by_square)
    return ends, width, amplitude, colour, pens


@dataclass
class Nearest:
    """For each group and pixel, `[g, pixels]`: the vector (x, y) from the stroke's nearest point, and its square.

    `t` is that point's position on its piece, `rank` the piece's index in its group; `side` is +1 outside a fill and -1
    inside, and `filled [g, 1]` says which groups are fills, where any stroke is one; `turn` says on which side of the
    nearest piece a pixel lies. Where widths vary along lines, `pen` is that at the nearest point, and `lean` how much
    it changes along the piece.
    """

    square: Tensor
    x: Tensor
    y: Tensor
    t: Tensor
    rank: Tensor | None
    side: Tensor | None = None
    filled: Tensor | None = None
    turn: Tensor | None = None
    pen: Tensor | None = None
    lean: Tensor | None = None


def nearest(request: RenderRequest, work: Work, chunk: Chunk) -> Nearest:
    """Visit the groups' first pieces, second pieces, and so on, keeping the nearest."""
    layout = request.layout
    place = (chunk.low + chunk.tile) % (layout.rows * layout.columns)
    like = {"dtype": request.ends.dtype, "device": request.ends.device}
    x = torch.arange(layout.tile_width, **like) + 0.5  # type: ignore[call-overload]
    y = torch.arange(layout.tile_height, **like) + 0.5  # type: ignore[call-overload]
    x = (place % layout.columns * layout.tile_width)[:, None] + x
    y = (place // layout.columns * layout.tile_height)[:, None] + y
    pieces = [
        (has, request.ends[work.pieces[chunk.first[has] + rank]], rank)
        for rank in range(chunk.max_pieces)
        for has in [(chunk.sizes > rank).nonzero()[:, 0] if rank else slice(None)]
    ]
    winding = wound(request, chunk, pieces, x, y) if request.fills else None
    best: Nearest | None = None
    for mine, piece, rank in pieces:
        found, turn = measure(piece, x[mine], y[mine])
        if winding is not None:
            kind = request.kind[chunk.stroke[mine], None]
            found.square = torch.where(is_edge(winding[mine], turn, kind), found.square, FAR)
            found.turn = turn
        if best is None:
            best = found
            continue
        keep_nearer(best, found, mine, rank)
    assert best is not None
    if winding is not None:
        kind = request.kind[chunk.stroke, None]
        inside = torch.where(kind == EVENODD, winding % 2, winding) != 0
        best.side = torch.where(inside, -1.0, 1.0).to(best.square)
        best.filled = kind > 0
        step_off_edges(request, work, chunk, best)
    if request.pens is not None:
        first, last = request.pens[piece_of(work, chunk, best)].unbind(-1)
        best.lean = last - first
        best.pen = first + best.t * best.lean
    return best


def piece_of(work: Work, chunk: Chunk, near: Nearest) -> Tensor:
    """The nearest piece of each group and pixel, `[g, pixels]`; `[g, 1]` where each group has one."""
    return work.pieces[chunk.first[:, None] + (0 if near.rank is None else near.rank.long())]


def step_off_edges(request: RenderRequest, work: Work, chunk: Chunk, best: Nearest) -> None:
    """Give pixels on a fill's edge a vector from it: along its normal, to the side on which they are counted."""
    assert best.filled is not None
    assert best.turn is not None
    group, pixel = ((best.square < ON_EDGE**2) & best.filled).nonzero(as_tuple=True)
    rank = 0 if best.rank is None else best.rank[group, pixel].long()
    ax, ay, bx, by = request.ends[work.pieces[chunk.first[group] + rank]].unbind(1)
    dx, dy, turn = bx - ax, by - ay, best.turn[group, pixel]
    right = torch.where(dy > 0, turn < 0, (dy == 0) == (dx < 0))
    right = torch.where(dy < 0, turn <= 0, right)
    away = best.square[group, pixel].sqrt().clamp(min=SMALLEST)
    scale = torch.where(right, away, -away) / torch.hypot(dx, dy).clamp(min=SMALLEST)
    best.x[group, pixel], best.y[group, pixel] = scale * dy, -scale * dx


def wound(
    request: RenderRequest,
    chunk: Chunk,
    pieces: list[tuple[Any, Tensor, int]],
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """The winding numbers of each group's pieces around its pixels, `[g, pixels]`."""
    total = torch.zeros(
        len(chunk.stroke), request.layout.pixels, dtype=torch.int32, device=request.ends.device
    )
    for mine, piece, _ in pieces:
        ax, ay, bx, by = piece[:, :, None, None].unbind(1)
        u, v = x[mine][:, None, :] - ax, y[mine][:, :, None] - ay
        left = (bx - ax) * v - (by - ay) * u
        rises, falls = (v >= 0) & (v < by - ay), (v < 0) & (v >= by - ay)
        total[mine] += ((rises & (left < 0)).int() - (falls & (left > 0)).int()).flatten(1)
    return total


def is_edge(winding: Tensor, turn: Tensor, kind: Tensor) -> Tensor:
    """Whether a fill ends at a piece, as seen from a pixel: behind it the winding number is one higher or lower.

    By the rule "nonzero" a piece between inside and inside, as where a shape crosses itself, is none.
    """
    ends_here = ((winding == 1) & (turn <= 0)) | ((winding == -1) & (turn >= 0))
    return (kind != NONZERO) | (winding == 0) | ends_here


def measure(piece: Tensor, x: Tensor, y: Tensor) -> tuple[Nearest, Tensor]:
    """The distance of one piece `[g, 4]` from pixels at `x [g, W]`, `y [g, H]`, and on which side of it they lie."""
    ax, ay, bx, by = piece[:, :, None, None].unbind(1)
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    inverse = torch.where(length > 1e-12, 1 / length.clamp(min=1e-12), 0.0)
    u, v = x[:, None, :] - ax, y[:, :, None] - ay
    t = (u * (dx * inverse) + v * (dy * inverse)).clamp_(0, 1)
    qx, qy = u - t * dx, v - t * dy
    found = Nearest(
        (qx * qx).addcmul_(qy, qy).flatten(1),
        qx.flatten(1),
        qy.flatten(1),
        t.flatten(1),
        None,
    )
    return found, (dx * v - dy * u).flatten(1)


def keep_nearer(best: Nearest, found: Nearest, mine: slice | Tensor, rank: int) -> None:
    """Where `found` is nearer than `best[mine]`, replace it."""
    if best.rank is None:
        best.rank = torch.zeros(best.square.shape, dtype=torch.int16, device=best.square.device)
    nearer = found.square < best.square[mine]
    for name in ("square", "x", "y", "t", "turn"):
        mixed = getattr(best, name)
        if mixed is None:
            continue
        mixed[mine] = torch.where(nearer, getattr(found, name), mixed[mine])
    best.rank[mine] = torch.where(nearer, rank, best.rank[mine]).to(torch.int16)


def line_ink(near: Nearest, width: Tensor) -> Tensor:
    """The ink of Gaussian lines."""
    return (near.square * (-1 / (width * width))).exp_()


def profile(request: RenderRequest, near: Nearest, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ink at each pixel for an amplitude of 1, and its derivatives by squared distance and by width."""
    if near.pen is not None:
        return tapered_profile(request, near, near.pen)
    line = line_profile if request.profile == "gaussian" else flat_line_profile
    if near.side is None or near.filled is None:
        return line(near, width)
    fill = fill_profile if request.profile == "gaussian" else flat_fill_profile
    both = zip(fill(near, near.side, width), line(near, width), strict=True)
    ink, by_square, by_width = (torch.where(near.filled, a, b) for a, b in both)
    return ink, by_square, by_width


def line_profile(near: Nearest, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ink = line_ink(near, width)
    by_square = ink * (-1 / (width * width))
    return ink, by_square, (by_square * near.square).mul_(-2 / width)


def tapered_profile(
    request: RenderRequest, near: Nearest, pen: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A line's profile where `pen [g, pixels]` is s at the nearest point: the pixel's blur is part of it."""
    if request.profile == "flat":
        return flat_line_profile(near, pen)
    blurred = pen * pen + PIXEL**2
    bell = torch.exp(-near.square / blurred)
    ink = bell * pen / blurred.sqrt()
    shaded = ink / blurred
    return ink, -shaded, shaded * (2 * near.square * pen / blurred + PIXEL**2 / pen)


def flat_line_profile(near: Nearest, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance, slope = distance_of(near)
    half = HALF_PEN * width
    (far, by_far), (close, by_close) = covered(half + distance), covered(half - distance)
    return far + close - 1, (by_far - by_close) * slope, (by_far + by_close) * HALF_PEN


def fill_profile(near: Nearest, side: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance, slope = distance_of(near)
    signed = side * distance / width
    bell = torch.exp(-signed * signed) / (math.sqrt(math.pi) * width)
    return torch.erfc(signed) / 2, -side * bell * slope, signed * bell


def flat_fill_profile(near: Nearest, side: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance, slope = distance_of(near)
    edge, by_edge = covered(-side * distance)
    return edge, -side * slope * by_edge, torch.zeros_like(edge)


def distance_of(near: Nearest) -> tuple[Tensor, Tensor]:
    """The distance, and its derivative by its square."""
    distance = near.square.sqrt()
    return distance, 0.5 / distance.clamp(min=SMALLEST)


def covered(inside: Tensor) -> tuple[Tensor, Tensor]:
    """How much of a pixel lies within an edge that is `inside` pixels beyond its centre, and the derivative.

    The pixel is a box of side 1 under one of side SOFT: between the extents that a square has along its side and along
    its diagonal. Both boxes' spectra vanish where rows of pixels repeat, at frequencies 1 and sqrt(2).
    """
    away = inside.abs()
    rest = (OUTER - away).clamp(min=0)
    flank = torch.where(away < INNER, 0.5 - away, rest * rest / (2 * SOFT))
    ink = torch.where(inside > 0, 1 - flank, flank)
    return ink, torch.where(away < INNER, 1.0, rest / SOFT)


def add_endpoint_gradients(
    ends: Tensor, work: Work, chunk: Chunk, near: Nearest, by_square: Tensor
) -> None:
    """Add the gradient of the pieces' ends, given that of the squared distances."""
    factor = -2 * by_square
    by_x, by_y = factor * near.x, factor * near.y
    end_x, end_y = by_x * near.t, by_y * near.t
    parts = by_x.sub_(end_x), by_y.sub_(end_y), end_x, end_y
    if near.rank is None:
        by_ends = torch.stack([part.sum(-1) for part in parts], 1)
        ends.index_add_(0, work.pieces[chunk.first], by_ends)
        return
    whole = torch.stack(parts, 1)  # [g, 4, pixels]
    for rank in range(chunk.max_pieces):
        has = (chunk.sizes > rank).nonzero()[:, 0]
        mine = (near.rank[has] == rank).to(whole)
        by_ends = (whole[has] * mine[:, None]).sum(-1)
        ends.index_add_(0, work.pieces[chunk.first[has] + rank], by_ends)


def add_pen_gradients(
    request: RenderRequest,
    work: Work,
    chunk: Chunk,
    near: Nearest,
    by_pen: Tensor,
    ends: Tensor,
    pens: Tensor,
) -> None:
    """Add the gradients of the widths at pieces' ends, and of the ends along which the nearest points move."""
    assert near.lean is not None
    piece, t = piece_of(work, chunk, near).expand_as(by_pen), near.t
    by_widths = torch.stack([by_pen * (1 - t), by_pen * t], -1)
    pens.index_add_(0, piece.flatten(), by_widths.flatten(0, 1))
    ax, ay, bx, by = request.ends[piece].unbind(-1)
    dx, dy = bx - ax, by - ay
    inside = (t > 0) & (t < 1)
    length = torch.where(inside, dx * dx + dy * dy, 1.0)
    by_place = torch.where(inside, by_pen * near.lean / length, 0.0)
    parts = (
        -by_place * ((1 - t) * dx + near.x),
        -by_place * ((1 - t) * dy + near.y),
        by_place * (near.x - t * dx),
        by_place * (near.y - t * dy),
    )
    ends.index_add_(0, piece.flatten(), torch.stack(parts, -1).flatten(0, 1))
