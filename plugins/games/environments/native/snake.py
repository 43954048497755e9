"""Snake on 10 x 10: each bite makes the snake longer; a wall, its own body or hunger ends the game."""

from __future__ import annotations

from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.games.environments.native.games import BoardGames, State

SIZE = 10
# Length at first.
START = 3
# Steps without a bite after which it starves: else to go round in circles is safest.
PATIENCE = 100


class Snake(BoardGames):
    """Eat and grow: 1 for each bite.

    An end costs nothing but the bites that there might have been: to avoid it is learned before to eat, and suffices.
    """

    time_limit = 1000
    observation_space = Box(0, 1, (3, SIZE, SIZE), numpy.float32)
    action_space = Discrete(4)
    # Up, down, left, right.
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    colours: ClassVar = ((60, 170, 60), (220, 70, 60), (180, 240, 120))

    def begin(self, count: int) -> State:
        """A snake of three cells looking up, somewhere in the middle, and food anywhere else.

        `body` counts for each cell in how many steps the tail will have left it.
        """
        n = torch.arange(count, device=self.device)
        row, column = 3 + self.integers(count, 4), 2 + self.integers(count, 6)
        body = torch.zeros(count, SIZE, SIZE, dtype=torch.int32, device=self.device)
        for i in range(START):
            body[n, row + i, column] = START - i
        head = torch.stack([row, column], -1)
        length = torch.full((count,), START, dtype=torch.int32, device=self.device)
        hunger = torch.zeros(count, dtype=torch.int32, device=self.device)
        food = self.somewhere(body)
        return {"body": body, "head": head, "length": length, "food": food, "hunger": hunger}

    def somewhere(self, body: Tensor) -> Tensor:
        """A random free cell of each board, `[N, 2]`."""
        chance = torch.rand(len(body), SIZE * SIZE, device=self.device)
        cell = torch.where(body.flatten(1) > 0, -1.0, chance).argmax(1)
        return torch.stack([cell // SIZE, cell % SIZE], -1)

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        n = torch.arange(self.count, device=self.device)
        target = state["head"] + self.directions[actions]
        head = target.clamp(0, SIZE - 1)
        outside = (target != head).any(-1)
        bite = ~outside & (head == state["food"]).all(-1)
        length = state["length"] + bite
        # A bite leaves the tail where it is.
        shrunk = state["body"] - (~bite).view(-1, 1, 1).int()
        body = shrunk.clamp(min=0)
        hunger = (state["hunger"] + 1) * ~bite
        over = outside | (body[n, head[:, 0], head[:, 1]] > 0) | (hunger >= PATIENCE)
        body[n, head[:, 0], head[:, 1]] = length
        food = torch.where(bite.unsqueeze(-1), self.somewhere(body), state["food"])
        moved = {"body": body, "head": head, "length": length, "food": food, "hunger": hunger}
        return moved, bite.float(), over

    def observe(self, state: State) -> Tensor:
        """Planes: the body (how long it will stay, relative to the length), food (fading with hunger), head."""
        n = torch.arange(self.count, device=self.device)
        planes = torch.zeros(self.count, 3, SIZE, SIZE, device=self.device)
        planes[:, 0] = state["body"] / state["length"].view(-1, 1, 1)
        planes[n, 1, state["food"][:, 0], state["food"][:, 1]] = 1 - state["hunger"] / PATIENCE
        planes[n, 2, state["head"][:, 0], state["head"][:, 1]] = 1
        return planes
