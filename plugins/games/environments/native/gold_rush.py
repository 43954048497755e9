"""An asterix-like game on 10 x 10: gold and enemies cross in eight lanes; gather the one, avoid the other."""

from __future__ import annotations

from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.games.environments.native.games import BoardGames, State

SIZE = 10
# Rows 1 to 8.
LANES = 8
# Chance that something comes into an empty lane in a step.
ARRIVAL = 0.1
# Chance that it is gold.
GOLD = 1 / 3


class GoldRush(BoardGames):
    """Gather gold and avoid enemies: 1 for each piece of gold; an enemy ends the game."""

    time_limit = 1000
    observation_space = Box(0, 1, (4, SIZE, SIZE), numpy.float32)
    action_space = Discrete(5)
    # Stay, up, down, left, right.
    moves = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    colours: ClassVar = ((220, 70, 60), (240, 200, 60), (70, 70, 90), (90, 160, 220))

    def begin(self, count: int) -> State:
        """The player in the middle, all lanes empty."""
        lanes = torch.zeros(count, LANES, dtype=torch.long, device=self.device)
        return {
            "player": torch.full((count, 2), SIZE // 2, device=self.device),
            "there": lanes.bool(),
            "gold": lanes.bool(),
            "column": lanes,
            "direction": lanes,
            "time": torch.zeros(count, dtype=torch.long, device=self.device),
        }

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        player = state["player"] + self.directions[actions]
        player = torch.stack([player[:, 0].clamp(1, LANES), player[:, 1].clamp(0, SIZE - 1)], -1)
        there, gold, column = state["there"], state["gold"], state["column"]
        met = self.met(player, there, column)
        # Things move in every second step.
        moves = (state["time"] % 2 == 0).view(-1, 1)
        column = column + moves * state["direction"]
        there = there & ~met & (column >= 0) & (column < SIZE)
        met_later = self.met(player, there, column)
        there = there & ~met_later
        touched = met | met_later
        there, gold, column, direction = self.arrivals(there, gold, column, state["direction"])
        moved = {
            "player": player,
            "there": there,
            "gold": gold,
            "column": column,
            "direction": direction,
            "time": state["time"] + 1,
        }
        earned = (touched & state["gold"]).sum(1).float()
        return moved, earned, (touched & ~state["gold"]).any(1)

    def met(self, player: Tensor, there: Tensor, column: Tensor) -> Tensor:
        """In which lanes the player stands on what is there, `[N, lanes]`."""
        lane = torch.arange(1, LANES + 1, device=self.device)
        return there & (lane == player[:, :1]) & (column == player[:, 1:])

    def arrivals(
        self, there: Tensor, gold: Tensor, column: Tensor, direction: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What comes into empty lanes, from either side."""
        chance, kind, side = torch.rand(3, self.count, LANES, device=self.device).unbind()
        comes = ~there & (chance < ARRIVAL)
        from_left = side < 0.5
        column = torch.where(comes, torch.where(from_left, 0, SIZE - 1), column)
        direction = torch.where(comes, torch.where(from_left, 1, -1), direction)
        return there | comes, torch.where(comes, kind < GOLD, gold), column, direction

    def observe(self, state: State) -> Tensor:
        """Planes: enemies, gold, where things come from, the player."""
        columns = torch.arange(SIZE, device=self.device)
        # [N, lanes, 1]
        there = state["there"].unsqueeze(-1)
        now = there & (state["column"].unsqueeze(-1) == columns)
        before = there & ((state["column"] - state["direction"]).unsqueeze(-1) == columns)
        gold = state["gold"].unsqueeze(-1)
        planes = torch.zeros(self.count, 4, SIZE, SIZE, device=self.device)
        planes[:, 0, 1 : LANES + 1] = now & ~gold
        planes[:, 1, 1 : LANES + 1] = now & gold
        planes[:, 2, 1 : LANES + 1] = before
        n = torch.arange(self.count, device=self.device)
        planes[n, 3, state["player"][:, 0], state["player"][:, 1]] = 1
        return planes
