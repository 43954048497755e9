"""Which pieces reach which tiles: the canvas is cut into small tiles, and strokes are rendered only where visible.

A piece (a straight segment of a stroke) with reach r touches a tile only if the tile's centre lies within
r + half a diagonal of it. Curves are binned piece by piece, so a long curve costs its length and not its bounding box.
A filled shape is binned whole over its bounding box, because its inside depends on all of its edges.
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


def everywhere(layout: Layout, strokes: int, pieces: int, device: torch.device) -> Work:
    """Every stroke in its canvas's only tile, for canvases too small to be worth cutting.

    Args:
        layout: one tile to a canvas.
        strokes: strokes per canvas.
        pieces: pieces per stroke.
    """
    groups = layout.count * strokes
    stroke = torch.arange(groups, device=device)
    return Work(
        pieces=torch.arange(groups * pieces, device=device),
        first=torch.arange(groups + 1, device=device) * pieces,
        stroke=stroke,
        tile=stroke // max(strokes, 1),
        tile_first=torch.arange(layout.count + 1, device=device) * strokes,
    )


@torch.no_grad()
def bin_pieces(ends: Tensor, reach: Tensor, layout: Layout, *, whole: bool) -> Work:
    """Find the tiles that each stroke reaches.

    Args:
        ends: `[strokes, pieces, 4]`, both ends of each piece, all canvases' strokes in order.
        reach: `[strokes]`, how far from its line a stroke is visible, in pixels.
        whole: bin a stroke's bounding box with all of its pieces (filled shapes).
    """
    thing, tile = touches(ends, reach, layout, whole=whole)
    # Stable: within a tile, strokes keep their order.
    tile, order = torch.sort(tile, stable=True)
    return grouped(thing[order], tile, layout, ends.shape[0], ends.shape[1], whole=whole)


def touches(ends: Tensor, reach: Tensor, layout: Layout, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Which thing (a piece, or a whole stroke) touches which tile: two lists of equal length."""
    strokes, pieces, _ = ends.shape
    x, y = ends[..., 0::2], ends[..., 1::2]  # [strokes, pieces, 2]
    over = (1, 2) if whole else (2,)
    boxes = torch.stack([x.amin(over), y.amin(over), x.amax(over), y.amax(over)], -1)
    boxes = boxes.reshape(-1, 4)
    each = 1 if whole else pieces
    pad = reach.repeat_interleave(each)
    sides = ends.new_tensor([layout.tile_width, layout.tile_height])
    last = torch.tensor([layout.columns - 1, layout.rows - 1], device=ends.device)
    low = ((boxes[:, :2] - pad[:, None]) / sides).floor().clamp(0, 2**30).long()
    high = ((boxes[:, 2:] + pad[:, None]) / sides).floor().clamp(-1, 2**30).long()
    across, down = (torch.minimum(high, last) - low + 1).clamp(min=0).unbind(1)
    counts = across * down
    thing = torch.repeat_interleave(counts)  # [candidates]
    place = torch.arange(len(thing), device=ends.device) - (counts.cumsum(0) - counts)[thing]
    column = low[thing, 0] + place % across[thing]
    row = low[thing, 1] + place // across[thing]
    if not whole:
        near = reaches(ends.reshape(-1, 4)[thing], pad[thing], column, row, layout)
        thing, column, row = thing[near], column[near], row[near]
    canvas = thing // (strokes // layout.count * each)
    return thing, (canvas * layout.rows + row) * layout.columns + column


def reaches(ends: Tensor, reach: Tensor, column: Tensor, row: Tensor, layout: Layout) -> Tensor:
    """Whether a piece is near enough to a tile's centre to reach one of its pixels' centres."""
    height, width = layout.tile_height, layout.tile_width
    ax, ay, bx, by = ends.unbind(1)
    dx, dy = bx - ax, by - ay
    u, v = (column + 0.5) * width - ax, (row + 0.5) * height - ay
    t = ((u * dx + v * dy) / (dx * dx + dy * dy).clamp(min=1e-12)).clamp(0, 1)
    half_diagonal = math.hypot(height - 1, width - 1) / 2
    return (u - t * dx) ** 2 + (v - t * dy) ** 2 <= (reach + half_diagonal) ** 2


def grouped(
    thing: Tensor, tile: Tensor, layout: Layout, strokes: int, pieces: int, *, whole: bool
) -> Work:
    """The work of touches that are sorted by tile."""
    stroke = thing if whole else thing // pieces
    key, sizes = torch.unique_consecutive(tile * strokes + stroke, return_counts=True)
    if whole:
        thing = (thing[:, None] * pieces + torch.arange(pieces, device=thing.device)).flatten()
        sizes = sizes * pieces
    tiles = key // strokes
    return Work(
        pieces=thing,
        first=torch.nn.functional.pad(sizes.cumsum(0), (1, 0)),
        stroke=key % strokes,
        tile=tiles,
        tile_first=torch.searchsorted(tiles, torch.arange(layout.tiles + 1, device=tile.device)),
    )
