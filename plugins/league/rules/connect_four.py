"""Connect Four: stones fall into seven columns of six; four in a line win.

A column is a byte, the lowest cell first; the bits above the highest cell stay empty: they keep lines from running on
into the next column, and take the carry where a full column's bits are counted up (as in Pons 2015, Tromp 1995).
"""

from __future__ import annotations

from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.league.rules.boards import BoardRules

ROWS, COLUMNS = 6, 7
STRIDE = 8
# All cells of a column by its lowest.
WHOLE = (1 << ROWS) - 1
# From a cell to the next one of a line: upwards, to the right, and both diagonals.
DIRECTIONS = (1, STRIDE, STRIDE + 1, STRIDE - 1)


class ConnectFour(BoardRules):
    """Drop stones into seven columns; four in a row, a column or a diagonal win."""

    longest = ROWS * COLUMNS
    bits: ClassVar = tuple(
        tuple(STRIDE * column + row for column in range(COLUMNS)) for row in reversed(range(ROWS))
    )
    observation_space = Box(0, 1, (2, ROWS, COLUMNS), numpy.uint8)
    action_space = Discrete(COLUMNS)

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        super().__init__(boards, device)
        lowest = [1 << STRIDE * column for column in range(COLUMNS)]
        self.lowest = torch.tensor(lowest, device=self.device)
        self.highest = self.lowest << ROWS - 1
        # A column's eight cells as eight bytes of a whole number.
        spread = [
            sum(1 << 8 * row for row in range(8) if column >> row & 1)
            for column in range(1 << ROWS)
        ]
        self.spread = torch.tensor(spread, device=self.device)
        self.steps = torch.tensor(DIRECTIONS, device=self.device).unsqueeze(1)

    def free(self, occupied: Tensor) -> Tensor:
        return (occupied.unsqueeze(1) & self.highest) == 0

    def placed(self, occupied: Tensor, action: Tensor) -> Tensor:
        """One more in the lowest cell carries to the first free one."""
        lowest = self.lowest.index_select(0, action)
        return (occupied + lowest) & (lowest * WHOLE)

    def has_won(self, stones: Tensor) -> Tensor:
        pairs = stones & stones >> self.steps
        return (pairs & pairs >> 2 * self.steps).any(0)

    def planes(self, stones: Tensor) -> Tensor:
        """As in the base class, the lowest row first; by looking up columns, which is faster than cell by cell."""
        columns = stones.view(torch.uint8).flatten().int()
        cells = self.spread.index_select(0, columns).view(torch.uint8)
        return cells.view(2, -1, 8, 8)[..., :COLUMNS, :ROWS].transpose(-1, -2)

    def labels(self) -> list[str]:
        return [" ".join(str(column + 1) for column in range(COLUMNS))]

    def action_word(self, action: int) -> str:
        return str(action + 1)
