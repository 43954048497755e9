"""Boards on which several units act: features for each cell, and a choice for each unit by the cell it stands on.

The observation is a Dict with planes, `map [planes, H, W]`, and for each of K slots the cell where its unit stands,
`cells`, counted row by row; one more than the last cell where the slot is empty. Cells are looked at by convolutions,
so that what is learned for a unit in one place holds in all others, and each sees a summary of the board besides.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, MultiDiscrete
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from framework.errors import UserError
from plugins.games.environments.games import Observation
from plugins.games.policies.actions import GumbelMaxCategorical, Head, mask_logits
from plugins.games.policies.bodies import Body, convolution, initialised
from plugins.games.policies.layout import scale_of

MAP, CELLS = "map", "cells"
BLOCKS = 1


class Units(Body):
    """Features `[*batch, K F + F]`: those of the K units' cells, F each, and a summary of the board.

    Args:
        features: F.

    Raises:
        UserError: other observations.
    """

    def __init__(self, space: Space[Any], features: int) -> None:
        super().__init__()
        parts = space.spaces if isinstance(space, Dict) else {}
        board, cells = parts.get(MAP), parts.get(CELLS)
        if not (
            isinstance(board, Box) and len(board.shape) == 3 and isinstance(cells, MultiDiscrete)
        ):
            raise UserError(
                f"task.encoder = 'units': expected a Dict with planes '{MAP}' and MultiDiscrete '{CELLS}', not "
                f"{space}"
            )
        # Whichever axis is the shortest: a small board may have many planes.
        planes, *size = board.shape
        self.scale = scale_of(board)
        self.slots, self.features = int(cells.nvec.size), features
        self.stem = convolution(planes, features, 3, padding=1)
        # What is special about a place, such as the edge or the own side.
        self.place = nn.Parameter(torch.zeros(features, *size))
        self.blocks = nn.ModuleList(Block(features) for _ in range(BLOCKS))
        self.summary = initialised(nn.Linear(2 * features, features), math.sqrt(2))
        self.width = self.slots * features + features
        self.to(memory_format=torch.channels_last)

    def forward(self, observation: Observation) -> Tensor:
        assert isinstance(observation, dict)
        board, cells = observation[MAP], observation[CELLS]
        lead = cells.shape[:-1]
        images = board.reshape(-1, *board.shape[-3:])
        images = images.to(torch.float32, memory_format=torch.channels_last) / self.scale
        grid = (self.stem(images) + self.place).relu()
        for block in self.blocks:
            grid = block(grid)
        # [B, cells + 1, F]; nothing is behind the last cell.
        flat = nn.functional.pad(grid.flatten(2).transpose(1, 2), (0, 0, 0, 1))
        where = cells.reshape(-1, self.slots, 1).long().expand(-1, -1, self.features)
        units = flat.gather(1, where).flatten(1)
        summary = self.summary(torch.cat([grid.mean((2, 3)), grid.amax((2, 3))], 1)).relu()
        return torch.cat([units, summary], 1).reshape(*lead, self.width)

    def head(self, actions: Space[Any]) -> Head:
        """The head that reads these features.

        Raises:
            UserError: other actions than one choice for each slot, all of the same size.
        """
        sizes = (
            set(actions.nvec.flatten().tolist()) if isinstance(actions, MultiDiscrete) else set()
        )
        if len(sizes) != 1 or actions.shape != (self.slots,):
            raise UserError(
                f"task.encoder = 'units': expected MultiDiscrete actions, one of the same size for each of "
                f"{self.slots} slots, not {actions}"
            )
        return UnitsHead(self.slots, self.features, sizes.pop())


class Block(nn.Module):
    """x + two convolutions of it and, at every cell, what the whole board is like."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = convolution(features, features, 3, padding=1)
        self.second = convolution(features, features, 3, padding=1)
        self.whole = initialised(nn.Linear(features, features), 1.0)
        nn.init.zeros_(self.second.weight)

    def forward(self, grid: Tensor) -> Tensor:
        whole = self.whole(grid.mean((2, 3)))[:, :, None, None]
        mixed: Tensor = (grid + self.second((self.first(grid) + whole).relu())).relu()
        return mixed


class UnitsHead(Head):
    """One choice among A actions for each of K units, from its own features and the summary."""

    def __init__(self, slots: int, features: int, actions: int) -> None:
        super().__init__()
        self.slots, self.features, self.actions = slots, features, actions
        self.choices = slots * actions
        self.units = initialised(nn.Linear(features, actions), 0.01)
        self.summary = initialised(nn.Linear(features, actions), 0.01)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Distribution:
        units, summary = features.split([self.slots * self.features, self.features], -1)
        each = self.units(units.unflatten(-1, (self.slots, self.features)))
        logits = (each + self.summary(summary).unsqueeze(-2)).float()
        if mask is not None:
            logits = mask_logits(logits, mask.unflatten(-1, (self.slots, self.actions)))
        return Independent(GumbelMaxCategorical(logits), 1, validate_args=False)

    def greedy(self, policy: Distribution) -> Tensor:
        assert isinstance(policy, Independent)
        base = policy.base_dist
        assert isinstance(base, GumbelMaxCategorical)
        return base.unnormalised.argmax(-1)
