"""A breakout-like game on 10 x 10: a paddle keeps a ball in play that breaks three rows of bricks."""

from __future__ import annotations

from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.games.environments.native.games import BoardGames, State

SIZE = 10
# Rows of bricks.
BRICKS = slice(1, 4)
# Steps from the first row below the bricks to the last one.
FALL = SIZE - 1 - BRICKS.stop


class Bricks(BoardGames):
    """Break bricks with a ball: 1 for each brick; the game ends when the paddle misses the ball."""

    time_limit = 1000
    observation_space = Box(0, 1, (4, SIZE, SIZE), numpy.float32)
    # Left, stay, right.
    action_space = Discrete(3)
    colours: ClassVar = ((200, 120, 60), (70, 70, 90), (240, 240, 240), (90, 160, 220))

    def begin(self, count: int) -> State:
        """The ball flies down from below the bricks; the paddle is where it can still be caught once it has moved.

        With a few fixed starts an agent learns their landings by heart, and its policy is certain before it has seen
        another.
        """
        start, paddle = self.integers(count, SIZE), self.integers(count, SIZE)
        across = 1 - 2 * self.integers(count, 2)
        ball = torch.stack([torch.full_like(start, BRICKS.stop), start], -1)
        landing = reflected(start + across * FALL)
        bricks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool, device=self.device)
        bricks[:, BRICKS] = True
        return {
            "ball": ball,
            "before": ball,
            "flight": torch.stack([torch.ones_like(start), across], -1),
            "paddle": paddle.clamp(landing - FALL + 1, landing + FALL - 1),
            "bricks": bricks,
        }

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        n = torch.arange(self.count, device=self.device)
        ball, bricks = state["ball"], state["bricks"].clone()
        paddle = (state["paddle"] + actions - 1).clamp(0, SIZE - 1)
        down, across = state["flight"].unbind(-1)
        column = ball[:, 1] + across
        # Walls.
        across = torch.where((column < 0) | (column >= SIZE), -across, across)
        column = ball[:, 1] + across
        row = ball[:, 0] + down
        # The ceiling.
        down = torch.where(row < 0, -down, down)
        # A lost ball stays where it is.
        row = (ball[:, 0] + down).clamp(max=SIZE - 1)
        hit = bricks[n, row, column]
        bricks[n, row, column] = False
        caught = (row == SIZE - 1) & (column == paddle)
        lost = (row == SIZE - 1) & ~caught
        back = hit | caught
        down = torch.where(back, -down, down)
        row = torch.where(back, ball[:, 0], row)
        cleared = ~bricks.flatten(1).any(1) & (row >= BRICKS.stop)
        bricks[:, BRICKS] |= cleared.view(-1, 1, 1)
        moved = {
            "ball": torch.stack([row, column], -1),
            "before": ball,
            "flight": torch.stack([down, across], -1),
            "paddle": paddle,
            "bricks": bricks,
        }
        return moved, hit.float(), lost

    def observe(self, state: State) -> Tensor:
        """Planes: bricks, where the ball was, the ball, the paddle."""
        n = torch.arange(self.count, device=self.device)
        planes = torch.zeros(self.count, 4, SIZE, SIZE, device=self.device)
        planes[:, 0] = state["bricks"]
        planes[n, 1, state["before"][:, 0], state["before"][:, 1]] = 1
        planes[n, 2, state["ball"][:, 0], state["ball"][:, 1]] = 1
        planes[n, 3, SIZE - 1, state["paddle"]] = 1
        return planes


def reflected(column: Tensor) -> Tensor:
    """Where the walls lead a ball that would be in `column` without them."""
    folded = column.remainder(2 * (SIZE - 1))
    return torch.where(folded < SIZE, folded, 2 * (SIZE - 1) - folded)
