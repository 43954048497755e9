"""The torch kernel's work in portions that are whole tiles, so that memory does not grow with strokes times pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.sketching.raster.request import RenderRequest
from plugins.sketching.raster.tiles import Work

# Group-pixels computed at a time.
CHUNK = 2**17


@dataclass(frozen=True)
class Chunk:
    """All groups of the tiles from `low` up to, but not including, `high`.

    Attributes:
        first: `[g]`, where each group's pieces begin.
        sizes: `[g]`, the number of pieces of each.
        max_pieces: pieces of the largest group.
        stroke: `[g]`.
        tile: `[g]`, counted from `low`.
    """

    low: int
    high: int
    first: Tensor
    sizes: Tensor
    max_pieces: int
    stroke: Tensor
    tile: Tensor


def chunks(request: RenderRequest, work: Work) -> Iterator[Chunk]:
    """Cut the work at tile boundaries into chunks of about `CHUNK` group-pixels."""
    limit = max(1, CHUNK // (request.layout.pixels * request.amplitude.shape[1]))
    starts = work.tile_first.cpu()
    low, tiles = 0, request.layout.tiles
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
