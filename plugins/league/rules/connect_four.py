"""Connect Four: stones fall into seven columns of six; four in a line win.

A column has seven bits, the lowest cell first and one above the highest that stays empty: it keeps lines from running
on into the next column, and takes the carry where a full column's bits are counted up (Pons 2015, Tromp 1995).
"""

from __future__ import annotations

from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.league.rules.boards import BoardRules

ROWS, COLUMNS = 6, 7
STRIDE = ROWS + 1
# From a cell to the next one of a line: upwards, to the right, and both diagonals.
DIRECTIONS = (1, STRIDE, STRIDE + 1, STRIDE - 1)


class ConnectFour(BoardRules):
    """Drop stones into seven columns; four in a row, a column or a diagonal win."""

    longest = ROWS * COLUMNS
    bits: ClassVar = tuple(
        tuple(STRIDE * column + row for column in range(COLUMNS)) for row in reversed(range(ROWS))
    )
    observation_space = Box(0, 1, (2, ROWS, COLUMNS), numpy.float32)
    action_space = Discrete(COLUMNS)

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        super().__init__(boards, device)
        lowest = [1 << STRIDE * column for column in range(COLUMNS)]
        self.lowest = torch.tensor(lowest, device=self.device)
        self.highest = self.lowest << ROWS - 1
        self.whole = torch.tensor([bit * (1 << ROWS) - bit for bit in lowest], device=self.device)
        self.steps = torch.tensor(DIRECTIONS, device=self.device).unsqueeze(1)

    def free(self, occupied: Tensor) -> Tensor:
        return (occupied.unsqueeze(1) & self.highest) == 0

    def placed(self, occupied: Tensor, action: Tensor) -> Tensor:
        """One more in the lowest cell carries to the first free one."""
        return (occupied + self.lowest[action]) & self.whole[action]

    def has_won(self, stones: Tensor) -> Tensor:
        pairs = stones & stones >> self.steps
        return (pairs & pairs >> 2 * self.steps).any(0)

    def labels(self) -> list[str]:
        return [" ".join(str(column + 1) for column in range(COLUMNS))]

    def action_word(self, action: int) -> str:
        return str(action + 1)
