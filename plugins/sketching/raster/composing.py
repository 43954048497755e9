"""How the torch kernel composes the inks of a pixel, and the gradient of that; the formulas are render.py's."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.sketching.raster.chunks import Chunk
from plugins.sketching.raster.request import RenderRequest

# The exponent of smooth_max.
SHARPNESS = 4


def compose(request: RenderRequest, chunk: Chunk, alpha: Tensor) -> Tensor:
    """The tiles of a chunk, `[tiles, channels, pixels]`, from its groups' inks `[g, A, pixels]`."""
    shape = (chunk.high - chunk.low, *alpha.shape[1:])
    if request.composition == "max":
        return 1 - largest_ink(alpha, chunk, shape)
    if request.composition == "soft_or":
        # log1p would be more exact for faint ink, but by less than a picture can show.
        shade = (1 - alpha).log_()
        return alpha.new_zeros(shape).index_add_(0, chunk.tile, shade).exp_()
    depth = -torch.log1p(-alpha)
    if request.composition == "smooth_max":
        return torch.exp(-smooth_largest(depth, chunk, shape))
    kept = torch.exp(-alpha.new_zeros(shape).index_add_(0, chunk.tile, depth))
    assert request.colour is not None
    weight = alpha * visible(depth, chunk).to(alpha)
    paint = request.colour[chunk.stroke, :, None] * weight
    tiles = alpha.new_zeros(shape[0], paint.shape[1], shape[2])
    return torch.cat([tiles.index_add_(0, chunk.tile, paint), kept], 1)


def decompose(
    request: RenderRequest, chunk: Chunk, alpha: Tensor, tiles: Tensor, above: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The gradient of `compose`: by the inks `[g, A, pixels]`, and by the strokes' colours `[g, C]`."""
    if request.composition == "soft_or":
        return (above * tiles)[chunk.tile].div_(alpha - 1), None
    own = above[chunk.tile]  # [g, channels, pixels]
    if request.composition == "max":
        largest = largest_ink(alpha, chunk, tuple(tiles.shape))
        wins = (alpha == largest[chunk.tile]).to(alpha)
        ties = torch.zeros_like(largest).index_add_(0, chunk.tile, wins)
        return -own * wins / ties[chunk.tile].clamp(min=1), None
    depth = -torch.log1p(-alpha)
    if request.composition == "smooth_max":
        largest = smooth_largest(depth, chunk, tuple(tiles.shape))[chunk.tile]
        # Of nothing else than this ink, the norm is its depth; powers may underflow.
        share = torch.where(largest > 0, depth / largest, 1.0).clamp(max=1)
        return -own * torch.exp(depth - largest) * share ** (SHARPNESS - 1), None
    assert request.colour is not None
    # In float64.
    front = visible(depth, chunk)
    paints = request.colour.shape[1]
    own, rest = own[:, :paints].double(), own[:, paints:].double()
    colour = request.colour[chunk.stroke, :, None].double()
    worth = (own * colour).sum(1, keepdim=True)  # [g, 1, pixels]
    kept = tiles[chunk.tile, paints:].double()
    under = sum_of_earlier(worth * alpha * front, chunk) + rest * kept
    by_alpha = worth * front - under / (1 - alpha.double())
    return by_alpha.to(alpha), (own * alpha * front).sum(-1).to(alpha)


def largest_ink(alpha: Tensor, chunk: Chunk, shape: tuple[int, ...]) -> Tensor:
    """The largest ink of each pixel."""
    tile = chunk.tile[:, None, None].expand_as(alpha)
    return alpha.new_zeros(shape).scatter_reduce_(0, tile, alpha, "amax")


def smooth_largest(depth: Tensor, chunk: Chunk, shape: tuple[int, ...]) -> Tensor:
    """The 4-norm of each pixel's depths."""
    powers = depth.new_zeros(shape).index_add_(0, chunk.tile, depth**SHARPNESS)
    return powers ** (1 / SHARPNESS)


def visible(depth: Tensor, chunk: Chunk) -> Tensor:
    """The fraction of each group's paint that later strokes of its tile leave visible, in float64."""
    return torch.exp(-(tile_sums(depth, chunk) - running_sums(depth, chunk)))


def sum_of_earlier(value: Tensor, chunk: Chunk) -> Tensor:
    """The sum of `value` over earlier strokes of the tile."""
    return running_sums(value, chunk) - value


def running_sums(value: Tensor, chunk: Chunk) -> Tensor:
    """Inclusive running sums over the groups of each tile, in float64."""
    total = value.double().cumsum(0)
    # The first group of each group's tile.
    starts = torch.searchsorted(chunk.tile, chunk.tile)
    return total - torch.where((starts > 0)[:, None, None], total[(starts - 1).clamp(min=0)], 0.0)


def tile_sums(value: Tensor, chunk: Chunk) -> Tensor:
    """The sum over each group's whole tile, in float64."""
    sums = value.new_zeros(
        chunk.high - chunk.low, *value.shape[1:], dtype=torch.float64
    ).index_add_(0, chunk.tile, value.double())
    return sums[chunk.tile]
