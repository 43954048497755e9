"""Tic-tac-toe: three in a row on nine cells."""

from __future__ import annotations

from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.league.rules.boards import SIGNS, BoardRules

SIZE = 3
# Cells 0, 1, 2 are the upper row.
CELLS = range(SIZE * SIZE)
LINES = (
    *(CELLS[SIZE * i : SIZE * i + SIZE] for i in range(SIZE)),
    *(CELLS[i::SIZE] for i in range(SIZE)),
    (0, 4, 8),
    (2, 4, 6),
)


class TicTacToe(BoardRules):
    """Place crosses and noughts; three in a row, a column or a diagonal win."""

    longest = len(CELLS)
    bits: ClassVar = tuple(tuple(CELLS[SIZE * row : SIZE * row + SIZE]) for row in range(SIZE))
    observation_space = Box(0, 1, (2, SIZE, SIZE), numpy.uint8)
    action_space = Discrete(len(CELLS))

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        super().__init__(boards, device)
        self.lines = torch.tensor(
            [sum(1 << cell for cell in line) for line in LINES], device=self.device
        )

    def free(self, occupied: Tensor) -> Tensor:
        return (occupied.unsqueeze(1) >> self.cells.flatten() & 1) == 0

    def placed(self, occupied: Tensor, action: Tensor) -> Tensor:
        return 1 << action

    def has_won(self, stones: Tensor) -> Tensor:
        return ((stones.unsqueeze(1) & self.lines) == self.lines).any(1)

    def words(self, board: int, player: int) -> str:
        """Free cells by their numbers, from 1 on."""
        rows = self.stones(board)
        lines = [
            " ".join(
                str(bit + 1) if s is None else SIGNS[s] for bit, s in zip(bits, row, strict=True)
            )
            for bits, row in zip(self.bits, rows, strict=True)
        ]
        return "\n".join([*lines, f"You are {SIGNS[player]}."])

    def action_word(self, action: int) -> str:
        return str(action + 1)
