"""Which pieces reach which tiles: the canvas is cut into small tiles, and strokes are rendered only where visible.

A piece (a straight segment of a stroke) with reach r touches a tile only if the tile's centre lies within
r + half a diagonal of it. Curves are binned piece by piece, so a long curve costs its length and not its bounding box.
A filled shape is binned whole over its bounding box, because its inside depends on all of its edges (binning.py does
better: there each tile knows the winding number at the left end of its rows, and holds only the pieces near it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Pixels; of 4, 8, 16 and 32 the fastest for strokes about 1 px wide.
SIDE = 8


@dataclass(frozen=True)
class Layout:
    """How `count` canvases of `height` x `width` pixels are cut into tiles of `tile_height` x `tile_width`."""

    count: int
    height: int
    width: int
    tile_height: int = SIDE
    tile_width: int = SIDE

    @property
    def rows(self) -> int:
        return -(-self.height // self.tile_height)

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile_width)

    @property
    def tiles(self) -> int:
        return self.count * self.rows * self.columns

    @property
    def pixels(self) -> int:
        """Pixels in a tile."""
        return self.tile_height * self.tile_width

    def assemble(self, tiles: Tensor) -> Tensor:
        """`[tiles, C, pixels]` -> `[count, C, height, width]`."""
        channels = tiles.shape[1]
        cut = tiles.reshape(
            self.count, self.rows, self.columns, channels, self.tile_height, self.tile_width
        )
        whole = cut.permute(0, 3, 1, 4, 2, 5).reshape(
            self.count, channels, self.rows * self.tile_height, self.columns * self.tile_width
        )
        if whole.shape[2:] == (self.height, self.width):
            return whole
        return whole[:, :, : self.height, : self.width]

    def cut(self, image: Tensor) -> Tensor:
        """`[count, C, height, width]` -> `[tiles, C, pixels]`, padded with zeros."""
        below = self.rows * self.tile_height - self.height
        right = self.columns * self.tile_width - self.width
        padded = torch.nn.functional.pad(image, (0, right, 0, below)) if below or right else image
        cut = padded.reshape(
            self.count, -1, self.rows, self.tile_height, self.columns, self.tile_width
        )
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(self.tiles, -1, self.pixels).contiguous()


@dataclass(frozen=True)
class Work:
    """What is rendered where. A group is one stroke in one tile; groups are sorted by tile, then by stroke.

    Attributes:
        pieces: `[E]`, the pieces of all groups, one group after another.
        first: `[G + 1]`, where each group's pieces begin in `pieces`.
        stroke: `[G]`, each group's stroke.
        tile: `[G]`, each group's tile.
        tile_first: `[tiles + 1]`, where each tile's groups begin.
    """

    pieces: Tensor
    first: Tensor
    stroke: Tensor
    tile: Tensor
    tile_first: Tensor


def everywhere(layout: Layout, first_piece: Tensor) -> Work:
    """Every stroke in its canvas's only tile, for canvases too small to be worth cutting.

    Args:
        layout: one tile to a canvas.
        first_piece: `[N + 1]`, where each stroke's pieces begin.
    """
    device, groups = first_piece.device, len(first_piece) - 1
    stroke = torch.arange(groups, device=device)
    each = groups // layout.count
    return Work(
        pieces=torch.arange(int(first_piece[-1]), device=device),
        first=first_piece,
        stroke=stroke,
        tile=stroke // max(each, 1),
        tile_first=torch.arange(layout.count + 1, device=device) * each,
    )


@torch.no_grad()
def bin_pieces(
    ends: Tensor, first_piece: Tensor, filled: Tensor, reach: Tensor, layout: Layout
) -> Work:
    """Find the tiles that each stroke reaches.

    Args:
        ends: `[E, 4]`, both ends of each piece, all canvases' strokes in order.
        first_piece: `[N + 1]`, where each stroke's pieces begin.
        filled: `[N]` bool, fills: all of their pieces are in all tiles of their bounding box.
        reach: `[N]`, how far from its line a stroke is visible, in pixels.
    """
    owner = torch.repeat_interleave(first_piece.diff())
    low = torch.minimum(ends[:, :2], ends[:, 2:])
    high = torch.maximum(ends[:, :2], ends[:, 2:])
    if bool(filled.any()):
        low, high = (
            torch.where(filled[owner, None], of_stroke(side, owner, len(filled), name), side)
            for side, name in ((low, "amin"), (high, "amax"))
        )
    pad = reach[owner, None]
    piece, column, row = boxes_of_tiles(low - pad, high + pad, layout)
    near = filled[owner[piece]] | reaches(ends[piece], pad[piece, 0], column, row, layout)
    piece, column, row = piece[near], column[near], row[near]
    canvas = owner[piece] // (len(filled) // layout.count)
    tile = (canvas * layout.rows + row) * layout.columns + column
    # Stable: within a tile, strokes and pieces keep their order.
    tile, order = torch.sort(tile, stable=True)
    return grouped(piece[order], tile, owner, layout)


def of_stroke(side: Tensor, owner: Tensor, strokes: int, name: str) -> Tensor:
    """The least or largest x and y `[E, 2]` of each piece's whole stroke."""
    empty, place = side.new_zeros(strokes, 2), owner[:, None].expand_as(side)
    return empty.scatter_reduce_(0, place, side, name, include_self=False)[owner]


def boxes_of_tiles(low: Tensor, high: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """All tiles of boxes from `low [E, 2]` to `high`: which box, column and row, three lists of equal length."""
    sides = low.new_tensor([layout.tile_width, layout.tile_height])
    last = torch.tensor([layout.columns - 1, layout.rows - 1], device=low.device)
    begin = (low / sides).floor().clamp(0, 2**30).long()
    end = (high / sides).floor().clamp(-1, 2**30).long()
    across, down = (torch.minimum(end, last) - begin + 1).clamp(min=0).unbind(1)
    counts = across * down
    box = torch.repeat_interleave(counts)
    place = torch.arange(len(box), device=low.device) - (counts.cumsum(0) - counts)[box]
    return box, begin[box, 0] + place % across[box], begin[box, 1] + place // across[box]


def reaches(ends: Tensor, reach: Tensor, column: Tensor, row: Tensor, layout: Layout) -> Tensor:
    """Whether a piece is near enough to a tile's centre to reach one of its pixels' centres."""
    height, width = layout.tile_height, layout.tile_width
    ax, ay, bx, by = ends.unbind(1)
    dx, dy = bx - ax, by - ay
    u, v = (column + 0.5) * width - ax, (row + 0.5) * height - ay
    t = ((u * dx + v * dy) / (dx * dx + dy * dy).clamp(min=1e-12)).clamp(0, 1)
    half_diagonal = math.hypot(height - 1, width - 1) / 2
    return (u - t * dx) ** 2 + (v - t * dy) ** 2 <= (reach + half_diagonal) ** 2


def grouped(piece: Tensor, tile: Tensor, owner: Tensor, layout: Layout) -> Work:
    """The work of pieces in tiles that are sorted by tile; `owner [E]` is each piece's stroke."""
    strokes = int(owner[-1]) + 1 if len(owner) else 1
    key, sizes = torch.unique_consecutive(tile * strokes + owner[piece], return_counts=True)
    tiles = key // strokes
    return Work(
        pieces=piece,
        first=torch.nn.functional.pad(sizes.cumsum(0), (1, 0)),
        stroke=key % strokes,
        tile=tiles,
        tile_first=torch.searchsorted(tiles, torch.arange(layout.tiles + 1, device=tile.device)),
    )
