"""The kinds of units, and what each of them costs, bears and does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NONE, BASE, BARRACKS, WORKER, LIGHT, HEAVY = range(6)


@dataclass(frozen=True)
class Kind:
    """A kind of unit; times are in steps.

    Attributes:
        cost: in ore.
        health: when it is new.
        damage: of one attack.
        making: what makes it and the new unit itself rest for that long.
        move_rest, attack_rest: how long it rests after it.
        makes: the kinds that it can make, two at most.
    """

    name: str
    cost: int = 0
    health: int = 0
    damage: int = 0
    making: int = 0
    move_rest: int = 0
    attack_rest: int = 0
    makes: tuple[int, ...] = ()

    @property
    def mobile(self) -> bool:
        return self.damage > 0


# By number.
KINDS = (
    Kind("nothing"),
    Kind("base", cost=10, health=16, makes=(WORKER,)),
    Kind("barracks", cost=5, health=8, making=6, makes=(LIGHT, HEAVY)),
    Kind("worker", cost=1, health=2, damage=1, making=4, attack_rest=1, makes=(BARRACKS,)),
    Kind("light", cost=2, health=4, damage=2, making=4),
    Kind("heavy", cost=3, health=10, damage=3, making=6, move_rest=1, attack_rest=1),
)
# What a worker carries at most, and how long it rests after it has taken it.
LOAD, GATHER_REST = 1, 1


def table(name: str, device: torch.device) -> Tensor:
    """One number of every kind, `[6]`."""
    return torch.tensor([getattr(kind, name) for kind in KINDS], dtype=torch.int32, device=device)


def look(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]` for a table of one axis: several times faster than indexing on a CPU."""
    return table.index_select(0, index.flatten()).view(index.shape)
