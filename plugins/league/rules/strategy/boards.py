"""Where N boards stand."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import Geometry, start
from plugins.league.rules.strategy.orders import FREE, ORE, UNIT, WALL
from plugins.league.rules.strategy.units import table

# Ore with which each side begins, and in each place.
STOCK, DEPOSIT = 5, 12


@dataclass
class Boards:
    """Units by player and slot, `[N, 2, K]`, and what else there is; whole numbers throughout.

    Attributes:
        kind: 0 in empty slots. A player's base is in slot 0 for the whole match.
        cell: where it stands; 0 in empty slots.
        health: what is left of it.
        rest: steps until it may act again.
        carried: ore that it carries.
        stock: `[N, 2]`, each player's ore.
        ore: `[N, P]`, what lies on each cell.
        clock: `[N]`, steps so far.
        over: `[N]`, bool, the match has ended.
    """

    kind: Tensor
    cell: Tensor
    health: Tensor
    rest: Tensor
    carried: Tensor
    stock: Tensor
    ore: Tensor
    clock: Tensor
    over: Tensor

    @classmethod
    def begin(cls, geometry: Geometry, count: int, slots: int, workers: int) -> Boards:
        """Random first states of `count` boards, by torch's global generator."""
        first = start(geometry, count, slots, workers, DEPOSIT)
        device = first.kind.device
        kind = torch.stack([first.kind, first.kind], 1)
        mirrored = torch.where(first.kind > 0, geometry.cells - 1 - first.cell, 0)
        return cls(
            kind=kind,
            cell=torch.stack([first.cell, mirrored], 1),
            health=table("health", device)[kind],
            rest=torch.zeros_like(kind),
            carried=torch.zeros_like(kind),
            stock=torch.full((count, 2), STOCK, device=device),
            ore=first.ore,
            clock=torch.zeros(count, dtype=torch.long, device=device),
            over=torch.zeros(count, dtype=torch.bool, device=device),
        )

    def put(self, rows: Tensor, other: Boards) -> None:
        """Put the boards of `other` in place of those numbered `rows`."""
        for field in fields(self):
            getattr(self, field.name).index_copy_(0, rows, getattr(other, field.name))

    def content(self, geometry: Geometry) -> Tensor:
        """What stands on each cell, `[N, P]`; see `orders`."""
        content = torch.where(self.ore > 0, ORE, geometry.wall * WALL + FREE)
        players = torch.tensor([[[UNIT - 1], [UNIT + 4]]], device=self.kind.device)
        # Empty slots are in cell 0, a corner of the border.
        codes = torch.where(self.kind > 0, self.kind + players, WALL)
        return content.scatter_(1, self.cell.flatten(1), codes.flatten(1))

    def material(self) -> Tensor:
        """What each player's units would cost in their present health, and its ore, `[N, 2]`."""
        device = self.kind.device
        whole = table("health", device).clamp(min=1)
        worth = (table("cost", device) / whole)[self.kind] * self.health
        return worth.sum(-1) + self.stock + self.carried.sum(-1)
