"""The board: cells, directions, and where everything stands when a match begins.

A board of `size` x `size` cells has a border one cell wide, so that every cell has four neighbours; cells are counted
row by row with the border. Reflecting the board at its centre turns cell c of P into P - 1 - c. Player 1 sees the board
so reflected: both players begin at the upper edge of what they see.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.league.rules.strategy.units import BASE, WORKER

SMALLEST, LARGEST = 8, 16
# Up, right, down, left, as rows and columns.
WAYS = ((-1, 0), (0, 1), (1, 0), (0, -1))
# Places near a corner where a side's ore may be, the base being in rows and columns 1 and 2.
HOME = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0))


@dataclass(frozen=True)
class Geometry:
    """Tables of a board.

    Attributes:
        size: cells of a row, without the border.
        cells: P, with the border.
        nowhere: the cell of empty slots, on the border; its neighbours are cells, too.
        inner: `[P]`, a cell's number without the border; size x size for the border.
        places: `[2 P]`, the same as each player sees the board.
        row, bit: `[P]`, a cell's row with the border, and 1 shifted by its column.
        steps: `[2, 4]`, what each player's four directions add to a cell.
        wall: `[P]`, 1 on the border.
    """

    size: int
    cells: int
    nowhere: int
    inner: Tensor
    places: Tensor
    row: Tensor
    bit: Tensor
    steps: Tensor
    wall: Tensor

    @classmethod
    def of(cls, size: int, device: torch.device) -> Geometry:
        width = size + 2
        cells = torch.arange(width**2, device=device)
        row, column = cells // width, cells % width
        inside = (row > 0) & (row <= size) & (column > 0) & (column <= size)
        steps = torch.tensor([down * width + across for down, across in WAYS], device=device)
        inner = torch.where(inside, (row - 1) * size + column - 1, size**2)
        return cls(
            size=size,
            cells=width**2,
            nowhere=width,
            inner=inner,
            places=torch.cat([inner, inner.flip(0)]),
            row=row,
            bit=(1 << column).int(),
            steps=torch.stack([steps, -steps]),
            wall=(~inside).byte(),
        )

    def origin(self, boards: int) -> Tensor:
        """Where each board's cells begin in those of all boards, one after the other, `[N, 1, 1]`."""
        first = torch.arange(0, boards * self.cells, self.cells, device=self.inner.device)
        return first.view(-1, 1, 1)

    def cell(self, row: Tensor, column: Tensor) -> Tensor:
        """The cell of a row and a column that count from 0 without the border."""
        return (row + 1) * (self.size + 2) + column + 1

    def within(self, cells: Tensor) -> Tensor:
        """Values of all cells `[..., P]` without the border's, `[..., size, size]`."""
        width = self.size + 2
        rows: Tensor = cells.unflatten(-1, (width, width))
        return rows[..., 1:-1, 1:-1]


@dataclass(frozen=True)
class Start:
    """What one side of the board begins with; the other's is the reflection.

    Attributes:
        kind: `[B, K]`, by slot: the base in slot 0, then the workers.
        cell: `[B, K]`.
        ore: `[B, P]`, of both sides.
    """

    kind: Tensor
    cell: Tensor
    ore: Tensor


def start(geometry: Geometry, count: int, slots: int, workers: int, ore: int) -> Start:
    """`count` random starts: the base near a corner, two places of ore beside it and one near the corner next to it.

    Args:
        ore: in each place.
    """
    device, size = geometry.inner.device, geometry.size
    # Base: row, column; rich corner: row, column; mirrored or not.
    base_row, base_column, far_row, far_column, mirrored = (
        torch.rand(5, count, device=device) < 0.5
    ).long()
    base_row, base_column = 1 + base_row, 1 + base_column
    # Two of the places near the corner, all pairs with equal chances.
    chosen = torch.rand(count, len(HOME), device=device).topk(2).indices
    home = torch.tensor(HOME, device=device)[chosen]
    rows = [home[:, 0, 0], home[:, 1, 0], far_row]
    columns = [home[:, 0, 1], home[:, 1, 1], size - 1 - far_column]
    # The base, workers below it and beside it.
    rows += [base_row, base_row + 1, base_row]
    columns += [base_column, base_column, base_column + 1]
    row, column = torch.stack(rows, 1), torch.stack(columns, 1)
    column = torch.where(mirrored.bool().unsqueeze(1), size - 1 - column, column)
    cells = geometry.cell(row, column)
    places = cells[:, :3]
    amounts = torch.zeros(count, geometry.cells, dtype=torch.uint8, device=device)
    both = torch.cat([places, geometry.cells - 1 - places], 1)
    amounts.scatter_(1, both, ore)
    kind = torch.zeros(count, slots, dtype=torch.int32, device=device)
    cell = torch.full((count, slots), geometry.nowhere, device=device)
    kind[:, 0], kind[:, 1 : 1 + workers] = BASE, WORKER
    cell[:, : 1 + workers] = cells[:, 3 : 4 + workers]
    return Start(kind, cell, amounts)
