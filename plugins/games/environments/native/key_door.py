"""A small house: fetch the key, open the door, reach the goal in the other room."""

from __future__ import annotations

from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.games.environments.native.games import BoardGames, State

SIZE = 7


class KeyDoor(BoardGames):
    """Fetch a key, open a door, reach the goal; 1 at the goal, less 0.9 of the time that it took."""

    time_limit = 100
    observation_space = Box(0, 1, (5, SIZE, SIZE), numpy.float32)
    action_space = Discrete(4)
    # Up, down, left, right.
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    colours: ClassVar = (
        (120, 120, 120),
        (150, 90, 40),
        (60, 170, 60),
        (240, 200, 60),
        (220, 70, 60),
    )

    def begin(self, count: int) -> State:
        """A wall with a door in a column in the middle; player and key on its left, the goal on its right."""
        # Column 2, 3 or 4.
        wall = 2 + self.integers(count, 3)
        # Cells on the left.
        left = SIZE * wall
        player = self.below(left)
        # Another cell.
        key = (player + 1 + self.below(left - 1)) % left
        return {
            "player": torch.stack([player // wall, player % wall], -1),
            "key": torch.stack([key // wall, key % wall], -1),
            "door": torch.stack([self.integers(count, SIZE), wall], -1),
            "goal": torch.stack(
                [self.integers(count, SIZE), wall + 1 + self.below(SIZE - 1 - wall)], -1
            ),
            "carries": torch.zeros(count, dtype=torch.bool, device=self.device),
            "opened": torch.zeros(count, dtype=torch.bool, device=self.device),
            "time": torch.zeros(count, device=self.device),
        }

    def below(self, bounds: Tensor) -> Tensor:
        """A random whole number below each bound, `[count]`."""
        chance = torch.rand(len(bounds), device=self.device)
        return torch.minimum((chance * bounds).long(), bounds - 1)

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        door, carries = state["door"], state["carries"]
        target = state["player"] + self.directions[actions]
        target = target.clamp(0, SIZE - 1)
        in_wall = target[:, 1] == door[:, 1]
        at_door = same(target, door)
        free = ~in_wall | (at_door & (carries | state["opened"]))
        player = torch.where(free.unsqueeze(-1), target, state["player"])
        time = state["time"] + 1
        moved = {
            **state,
            "player": player,
            "carries": carries | same(player, state["key"]),
            "opened": state["opened"] | same(player, door),
            "time": time,
        }
        over = same(player, state["goal"])
        return moved, over * (1 - 0.9 * time / self.time_limit), over

    def observe(self, state: State) -> Tensor:
        """Planes: wall, closed door, goal, key that lies there, player."""
        n = torch.arange(self.count, device=self.device)
        planes = torch.zeros(self.count, 5, SIZE, SIZE, device=self.device)
        door, goal, key, player = state["door"], state["goal"], state["key"], state["player"]
        planes[:, 0] = torch.arange(SIZE, device=self.device) == door[:, 1].view(-1, 1, 1)
        planes[n, 0, door[:, 0], door[:, 1]] = 0
        planes[n, 1, door[:, 0], door[:, 1]] = (~state["opened"]).float()
        planes[n, 2, goal[:, 0], goal[:, 1]] = 1
        planes[n, 3, key[:, 0], key[:, 1]] = (~state["carries"]).float()
        planes[n, 4, player[:, 0], player[:, 1]] = 1
        return planes


def same(a: Tensor, b: Tensor) -> Tensor:
    """Whether two places `[N, 2]` are the same."""
    return (a == b).all(-1)
