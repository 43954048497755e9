"""What a person wants of the units, step by step: standing orders, turned into actions that are legal now.

Everything is in the person's own view of the board, and is worked out from what that view shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import WAYS
from plugins.league.rules.strategy.observation import PLANE
from plugins.league.rules.strategy.orders import ACTIONS
from plugins.league.rules.strategy.paths import FAR, distances
from plugins.league.rules.strategy.units import BARRACKS, BASE, KINDS

Task = Literal["go", "gather", "make"]


@dataclass(frozen=True)
class Order:
    """What a unit shall do until it is told otherwise.

    Attributes:
        task: go to a cell and attack what stands there; gather ore, first from there; make units.
        cell: counted row by row; where to go or gather.
        product: the kind that is made.
    """

    task: Task
    cell: int = 0
    product: int = 0


@dataclass(frozen=True)
class Seen:
    """One player's view of one board.

    Attributes:
        board: `[planes, S, S]`.
        cells: `[K]`, of the own units.
        legal: `[K, 13]`.
    """

    board: Tensor
    cells: Tensor
    legal: Tensor

    @property
    def size(self) -> int:
        return self.board.shape[-1]

    def there(self, name: str) -> Tensor:
        """Where a plane has something, `[S, S]`."""
        return self.board[PLANE[name]] > 0

    def kind(self, slot: int) -> int:
        """The kind of the own unit in a slot; 0 where it is empty."""
        cell = int(self.cells[slot])
        if cell == self.size**2:
            return 0
        first = PLANE["own base"]
        own = self.board[first : first + len(KINDS) - 1].flatten(1)[:, cell]
        return int(own.argmax()) + 1

    @property
    def blocked(self) -> Tensor:
        """Where no way leads through, as far as is seen, `[S, S]`."""
        own, other = PLANE["own base"], PLANE["other base"]
        buildings = [own, own + BARRACKS - BASE, other, other + BARRACKS - BASE]
        return (self.board[buildings] > 0).any(0) | self.there("ore")


def action(seen: Seen, slot: int, order: Order) -> int:
    """What the unit in a slot does now by its order; it waits where nothing helps."""
    if order.task == "make":
        return make(seen, slot, order.product)
    goals = torch.zeros(seen.size, seen.size, dtype=torch.bool)
    if order.task == "go":
        goals.view(-1)[order.cell] = True
    elif seen.there("carried").view(-1)[seen.cells[slot]]:
        goals = seen.there("own base")
    else:
        ore = seen.there("ore")
        # The place that was named, as long as there is ore or nobody sees it.
        named = ore.view(-1)[order.cell] or not seen.there("seen").view(-1)[order.cell]
        if named:
            goals.view(-1)[order.cell] = True
        else:
            goals = ore
    return towards(seen, slot, goals)


def make(seen: Seen, slot: int, product: int) -> int:
    """An action that makes a kind, on whichever side is free."""
    makes = KINDS[seen.kind(slot)].makes
    if product not in makes:
        return 0
    first = 1 + len(WAYS) * (1 + makes.index(product))
    legal = seen.legal[slot, first : first + len(WAYS)].nonzero().flatten().tolist()
    # Rather away from the own edge.
    return first + min(legal, key=(2, 1, 3, 0).index) if legal else 0


def towards(seen: Seen, slot: int, goals: Tensor) -> int:
    """The legal step that brings a unit nearest to its goals; none where it is as near as it can be."""
    steps = distances(goals[None, None], seen.blocked[None])[0, 0]
    row, column = divmod(int(seen.cells[slot]), seen.size)
    best, nearest = 0, int(steps[row, column])
    if nearest == 0:
        return 0
    for number, (down, across) in enumerate(WAYS):
        there = row + down, column + across
        if bool(seen.legal[slot, 1 + number]):
            far = int(steps[there])
            if far < min(nearest, FAR):
                best, nearest = 1 + number, far
    return best


def actions(seen: Seen, orders: dict[int, Order]) -> Tensor:
    """The actions `[K]` of all units; those without an order wait."""
    chosen = torch.zeros(len(seen.cells), dtype=torch.long)
    for slot, order in orders.items():
        if seen.kind(slot):
            chosen[slot] = action(seen, slot, order)
    assert seen.legal.shape[1] == ACTIONS
    return chosen
