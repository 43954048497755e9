"""The rasteriser's kernel in plain torch, for every device: chunks of groups, recomputed in the backward pass.

A chunk holds all groups (a stroke in a tile) of some tiles, so that pixels are composed inside it and memory does not
grow with strokes times pixels. Derivatives are those of raster.py's formulas; for the nearest point a + t (b - a) of
a piece, with q the way from it to the pixel, d(q^2)/da = -2 (1 - t) q and d(q^2)/db = -2 t q, clamped or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.sketching.raster.job import Job
from plugins.sketching.raster.tiles import Work

CHUNK = 2**17  # group-pixels computed at a time
SHARPNESS = 4  # of smooth_max
HALF_PEN = math.sqrt(math.pi) / 2  # half a flat pen's width, in s
Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None]


def forward(job: Job, work: Work) -> Tensor:
    """Each tile's paint and kept paper, `[tiles, channels, pixels]`."""
    tiles = job.ends.new_zeros(job.layout.tiles, job.channels, job.layout.pixels)
    tiles[:, -job.amplitude.shape[1] :] = 1
    for chunk in chunks(job, work):
        near = nearest(job, work, chunk)
        width = job.width[chunk.stroke, None]
        ink = line_ink(near, width) if soft(job, near) else profile(job, near, width)[0]
        alpha = job.amplitude[chunk.stroke, :, None] * ink[:, None]
        tiles[chunk.low : chunk.high] = compose(job, chunk, alpha)
    return tiles


def backward(job: Job, work: Work, tiles: Tensor, gradient: Tensor) -> Gradients:
    """The gradients of ends, width, amplitude and colour, given that of `tiles`."""
    ends, width = torch.zeros_like(job.ends), torch.zeros_like(job.width)
    amplitude = torch.zeros_like(job.amplitude)
    colour = None if job.colour is None else torch.zeros_like(job.colour)
    for chunk in chunks(job, work):
        near = nearest(job, work, chunk)
        ink, by_square, by_width = profile(job, near, job.width[chunk.stroke, None])
        largest = job.amplitude[chunk.stroke]
        alpha = largest[:, :, None] * ink[:, None]
        above = gradient[chunk.low : chunk.high]
        by_alpha, by_colour = decompose(job, chunk, alpha, tiles[chunk.low : chunk.high], above)
        amplitude.index_add_(0, chunk.stroke, (by_alpha * ink[:, None]).sum(-1))
        by_ink = (by_alpha * largest[:, :, None]).sum(1)
        width.index_add_(0, chunk.stroke, (by_ink * by_width).sum(-1))
        if colour is not None and by_colour is not None:
            colour.index_add_(0, chunk.stroke, by_colour)
        move_ends(ends.view(-1, 4), work, chunk, near, by_ink * by_square)
    return ends, width, amplitude, colour


@dataclass(frozen=True)
class Chunk:
    """All groups of the tiles from `low` up to `high`."""

    low: int
    high: int
    first: Tensor  # [g], where each group's pieces begin
    sizes: Tensor  # [g], how many pieces each has
    most: int  # pieces of the largest group
    stroke: Tensor  # [g]
    tile: Tensor  # [g], counted from `low`


def chunks(job: Job, work: Work) -> Iterator[Chunk]:
    """Cut the work at tiles' boundaries into chunks of about `CHUNK` group-pixels."""
    limit = max(1, CHUNK // (job.layout.pixels * job.amplitude.shape[1]))
    starts = work.tile_first.cpu()
    low, tiles = 0, job.layout.tiles
    while low < tiles:
        high = int(torch.searchsorted(starts, starts[low] + limit, right=True)) - 1
        high = min(max(high, low + 1), tiles)
        groups = slice(int(starts[low]), int(starts[high]))
        if groups.start < groups.stop:
            first = work.first[groups.start : groups.stop + 1]
            sizes = first.diff()
            yield Chunk(
                low,
                high,
                first[:-1],
                sizes,
                int(sizes.max()),
                work.stroke[groups],
                work.tile[groups] - low,
            )
        low = high


@dataclass
class Nearest:
    """For each group and pixel, `[g, pixels]`: the way (x, y) from the nearest point of the stroke and its square.

    `t` says where on its piece that point is, `rank` which of the group's pieces it is; `side` is +1 outside a filled
    shape and -1 inside.
    """

    square: Tensor
    x: Tensor
    y: Tensor
    t: Tensor
    rank: Tensor | None
    side: Tensor | None


def nearest(job: Job, work: Work, chunk: Chunk) -> Nearest:
    """Go through the groups' first pieces, second pieces, and so on, keeping the nearest."""
    layout = job.layout
    place = (chunk.low + chunk.tile) % (layout.rows * layout.columns)
    like = {"dtype": job.ends.dtype, "device": job.ends.device}
    x = torch.arange(layout.tile_width, **like) + 0.5  # type: ignore[call-overload]
    y = torch.arange(layout.tile_height, **like) + 0.5  # type: ignore[call-overload]
    x = (place % layout.columns * layout.tile_width)[:, None] + x
    y = (place // layout.columns * layout.tile_height)[:, None] + y
    ends = job.ends.view(-1, 4)
    best: Nearest | None = None
    winding = None
    for rank in range(chunk.most):
        has = (chunk.sizes > rank).nonzero()[:, 0] if rank else None
        mine = slice(None) if has is None else has
        piece = ends[work.pieces[chunk.first[mine] + rank]]
        found, crossed = measure(piece, x[mine], y[mine], job.filled)
        if best is None:
            best, winding = found, crossed
            continue
        if winding is not None and crossed is not None:
            winding = winding + crossed  # filled groups all have the same number of pieces
        keep_nearer(best, found, mine, rank)
    assert best is not None
    if winding is not None:
        best.side = torch.where(winding == 0, 1.0, -1.0).to(best.square)
    return best


def measure(piece: Tensor, x: Tensor, y: Tensor, filled: bool) -> tuple[Nearest, Tensor | None]:
    """The distance of one piece `[g, 4]` from pixels at `x [g, W]`, `y [g, H]`, and its part of the winding number."""
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
        None,
    )
    if not filled:
        return found, None
    left = dx * v - dy * u
    rises, falls = (v >= 0) & (v < dy), (v < 0) & (v >= dy)
    crossed = (rises & (left < 0)).int() - (falls & (left > 0)).int()
    return found, crossed.flatten(1)


def keep_nearer(best: Nearest, found: Nearest, mine: slice | Tensor, rank: int) -> None:
    """Where `found` is nearer than `best[mine]`, put it there."""
    if best.rank is None:
        best.rank = torch.zeros(best.square.shape, dtype=torch.int16, device=best.square.device)
    nearer = found.square < best.square[mine]
    for name in ("square", "x", "y", "t"):
        mixed = getattr(best, name)
        mixed[mine] = torch.where(nearer, getattr(found, name), mixed[mine])
    best.rank[mine] = torch.where(nearer, rank, best.rank[mine]).to(torch.int16)


def soft(job: Job, near: Nearest) -> bool:
    """Whether the profile is a line's exp(-d^2 / s^2)."""
    return job.profile == "gaussian" and near.side is None


def line_ink(near: Nearest, width: Tensor) -> Tensor:
    """The ink of such lines."""
    return (near.square * (-1 / (width * width))).exp_()


def profile(job: Job, near: Nearest, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The ink at each pixel for an amplitude of 1, and its derivatives by squared distance and by width."""
    square = near.square
    if soft(job, near):
        ink = line_ink(near, width)
        by_square = ink * (-1 / (width * width))
        return ink, by_square, (by_square * square).mul_(-2 / width)
    distance = square.sqrt()
    slope = 0.5 / distance.clamp(min=1e-6)  # of the distance by its square
    if job.profile == "gaussian":
        assert near.side is not None
        signed = near.side * distance / width
        bell = torch.exp(-signed * signed) / (math.sqrt(math.pi) * width)
        return torch.erfc(signed) / 2, -near.side * bell * slope, signed * bell
    if near.side is not None:
        edge = 0.5 - near.side * distance
        partly = (edge > 0) & (edge < 1)
        return edge.clamp(0, 1), -near.side * slope * partly, torch.zeros_like(edge)
    half = HALF_PEN * width
    far, close = distance + 0.5, distance - 0.5
    ink = torch.minimum(far, half) - torch.maximum(close, -half).minimum(half)
    by_distance = (far < half).to(ink) - (close.abs() < half).to(ink)
    by_half = (far > half).to(ink) + (close < -half).to(ink) - (close > half).to(ink)
    return ink.clamp(0, 1), by_distance * slope, by_half * HALF_PEN


def compose(job: Job, chunk: Chunk, alpha: Tensor) -> Tensor:
    """The tiles of a chunk, `[tiles, channels, pixels]`, from its groups' inks `[g, A, pixels]`."""
    shape = (chunk.high - chunk.low, *alpha.shape[1:])
    if job.composition == "max":
        return 1 - most(alpha, chunk, shape)
    if (
        job.composition == "soft_or"
    ):  # log1p would be more exact for faint ink than a picture can show
        shade = (1 - alpha).log_()
        return alpha.new_zeros(shape).index_add_(0, chunk.tile, shade).exp_()
    depth = -torch.log1p(-alpha)
    if job.composition == "smooth_max":
        return torch.exp(-smooth_largest(depth, chunk, shape))
    kept = torch.exp(-alpha.new_zeros(shape).index_add_(0, chunk.tile, depth))
    assert job.colour is not None
    weight = alpha * seen(depth, chunk).to(alpha)
    paint = job.colour[chunk.stroke, :, None] * weight
    tiles = alpha.new_zeros(shape[0], paint.shape[1], shape[2])
    return torch.cat([tiles.index_add_(0, chunk.tile, paint), kept], 1)


def decompose(
    job: Job, chunk: Chunk, alpha: Tensor, tiles: Tensor, above: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The gradient of `compose`: by the inks `[g, A, pixels]`, and by the strokes' colours `[g, C]`."""
    if job.composition == "soft_or":
        return (above * tiles)[chunk.tile].div_(alpha - 1), None
    own = above[chunk.tile]  # [g, channels, pixels]
    if job.composition == "max":
        largest = most(alpha, chunk, tuple(tiles.shape))
        wins = (alpha == largest[chunk.tile]).to(alpha)
        ties = torch.zeros_like(largest).index_add_(0, chunk.tile, wins)
        return -own * wins / ties[chunk.tile].clamp(min=1), None
    depth = -torch.log1p(-alpha)
    if job.composition == "smooth_max":
        largest = smooth_largest(depth, chunk, tuple(tiles.shape))[chunk.tile]
        share = torch.where(largest > 0, depth / largest, 0.0).clamp(max=1)  # powers may underflow
        return -own * torch.exp(depth - largest) * share ** (SHARPNESS - 1), None
    assert job.colour is not None
    front = seen(depth, chunk)  # float64
    paints = job.colour.shape[1]
    own, rest = own[:, :paints].double(), own[:, paints:].double()
    colour = job.colour[chunk.stroke, :, None].double()
    worth = (own * colour).sum(1, keepdim=True)  # [g, 1, pixels]
    kept = tiles[chunk.tile, paints:].double()
    under = behind(worth * alpha * front, chunk) + rest * kept
    by_alpha = worth * front - under / (1 - alpha.double())
    return by_alpha.to(alpha), (own * alpha * front).sum(-1).to(alpha)


def most(alpha: Tensor, chunk: Chunk, shape: tuple[int, ...]) -> Tensor:
    """The largest ink of each pixel."""
    tile = chunk.tile[:, None, None].expand_as(alpha)
    return alpha.new_zeros(shape).scatter_reduce_(0, tile, alpha, "amax")


def smooth_largest(depth: Tensor, chunk: Chunk, shape: tuple[int, ...]) -> Tensor:
    """The 4-norm of each pixel's depths."""
    powers = depth.new_zeros(shape).index_add_(0, chunk.tile, depth**SHARPNESS)
    return powers ** (1 / SHARPNESS)


def seen(depth: Tensor, chunk: Chunk) -> Tensor:
    """The share of each group's paint that later strokes of its tile leave visible, in float64."""
    return torch.exp(-(tile_sums(depth, chunk) - running(depth, chunk)))


def behind(value: Tensor, chunk: Chunk) -> Tensor:
    """The sum of `value` over earlier strokes of the tile."""
    return running(value, chunk) - value


def running(value: Tensor, chunk: Chunk) -> Tensor:
    """Sums up to and with each group, begun anew in each tile, in float64."""
    total = value.double().cumsum(0)
    starts = torch.searchsorted(chunk.tile, chunk.tile)  # the first group of each group's tile
    return total - torch.where((starts > 0)[:, None, None], total[(starts - 1).clamp(min=0)], 0.0)


def tile_sums(value: Tensor, chunk: Chunk) -> Tensor:
    """The sum over each group's whole tile, in float64."""
    sums = value.new_zeros(
        chunk.high - chunk.low, *value.shape[1:], dtype=torch.float64
    ).index_add_(0, chunk.tile, value.double())
    return sums[chunk.tile]


def move_ends(ends: Tensor, work: Work, chunk: Chunk, near: Nearest, by_square: Tensor) -> None:
    """Add the gradient of the pieces' ends, given that of the squared distances."""
    pull = -2 * by_square
    pull_x, pull_y = pull * near.x, pull * near.y
    end_x, end_y = pull_x * near.t, pull_y * near.t
    parts = pull_x.sub_(end_x), pull_y.sub_(end_y), end_x, end_y
    if near.rank is None:
        moved = torch.stack([part.sum(-1) for part in parts], 1)
        ends.index_add_(0, work.pieces[chunk.first], moved)
        return
    whole = torch.stack(parts, 1)  # [g, 4, pixels]
    for rank in range(chunk.most):
        has = (chunk.sizes > rank).nonzero()[:, 0]
        mine = (near.rank[has] == rank).to(whole)
        moved = (whole[has] * mine[:, None]).sum(-1)
        ends.index_add_(0, work.pieces[chunk.first[has] + rank], moved)
