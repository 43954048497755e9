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
        self.columns = self.lowest * WHOLE
        # One in each column's byte; and the numbers of the rows, the highest first.
        self.ones = torch.tensor(sum(lowest))
        self.rows = torch.arange(ROWS, device=self.device).flip(0).view(ROWS, 1, 1)
        self.highest = self.rows[0, 0, 0].cpu()
        self.steps = torch.tensor(DIRECTIONS, device=self.device).unsqueeze(1)
        self.two_steps = 2 * self.steps

    def free(self, occupied: Tensor) -> Tensor:
        """The columns' highest cells, turned over: each is a byte of 0 or 1, which is a boolean."""
        top = ~(occupied >> self.highest) & self.ones
        return top.view(torch.bool).view(-1, STRIDE)[:, :COLUMNS]

    def placed(self, occupied: Tensor, action: Tensor) -> Tensor:
        """One more in the lowest cell carries to the first free one."""
        return (occupied + self.lowest.index_select(0, action)) & self.columns.index_select(
            0, action
        )

    def has_won(self, stones: Tensor) -> Tensor:
        pairs = stones & stones >> self.steps
        # The largest is 0 where all are: none is negative.
        return (pairs & pairs >> self.two_steps).amax(0).bool()

    def planes(self, stones: Tensor) -> Tensor:
        """As in the base class; a row's cells are a bit of each column's byte."""
        rows = (stones >> self.rows) & self.ones
        return rows.view(torch.uint8).view(ROWS, 2, -1, STRIDE)[..., :COLUMNS].permute(1, 2, 0, 3)

    def labels(self) -> list[str]:
        return [" ".join(str(column + 1) for column in range(COLUMNS))]

    def action_word(self, action: int) -> str:
        return str(action + 1)
