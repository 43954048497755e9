"""Where N boards stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import Geometry, start
from plugins.league.rules.strategy.orders import ORE, UNIT, WALL
from plugins.league.rules.strategy.units import look, table

# Ore with which each side begins, and in each place.
STOCK, DEPOSIT = 5, 12


@dataclass
class Boards:
    """Units by player and slot, `[N, 2, K]`, and what else there is; int32 where nothing is said.

    Attributes:
        kind: 0 in empty slots. A player's base is in slot 0 for the whole match.
        cell: where it stands, int64; `Geometry.nowhere` in empty slots.
        health: what is left of it.
        rest: steps until it may act again.
        carried: ore that it carries.
        stock: `[N, 2]`, each player's ore.
        ore: `[N, P]`, bytes, what lies on each cell.
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
        there = first.kind > 0
        mirrored = torch.where(there, geometry.cells - 1 - first.cell, geometry.nowhere)
        return cls(
            kind=kind,
            cell=torch.stack([first.cell, mirrored], 1),
            health=look(table("health", device), kind),
            rest=torch.zeros_like(kind),
            carried=torch.zeros_like(kind),
            stock=torch.full((count, 2), STOCK, dtype=torch.int32, device=device),
            ore=first.ore,
            clock=torch.zeros(count, dtype=torch.int32, device=device),
            over=torch.zeros(count, dtype=torch.bool, device=device),
        )

    def content(self, geometry: Geometry) -> Tensor:
        """What stands on each cell, `[N, P]`; see `orders`."""
        content = geometry.wall.add(self.ore.clamp(max=1), alpha=ORE)
        players = torch.tensor([[UNIT - 1], [UNIT + 4]], dtype=torch.int32, device=content.device)
        content.scatter_(1, self.cell.flatten(1), (self.kind + players).flatten(1).byte())
        # Empty slots were written there.
        content[:, geometry.nowhere] = WALL
        return content

    def material(self) -> Tensor:
        """What each player's units would cost in their present health, and its ore, `[N, 2]`."""
        device = self.kind.device
        worth = table("cost", device) / table("health", device).clamp(min=1)
        units = look(worth, self.kind) * self.health + self.carried
        return units.sum(-1) + self.stock
