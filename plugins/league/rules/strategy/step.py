"""One step of all boards: both players' units act at the same time.

1. Attacks hit what stands on their cells now, all at once: two units can destroy each other.
2. What is left gathers, delivers, moves and makes. Where two units want to enter or fill the same cell, none does, and
   nobody pays; where more loads of ore are wanted than a place holds, nobody gets one.
3. What is made is paid for from the stock before this step, in the order of slots, as far as the stock and the free
   slots last.

No rule prefers a player: reflecting the board and exchanging the players reflects the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.league.rules.strategy.board import Geometry
from plugins.league.rules.strategy.orders import (
    ATTACK,
    CONTENTS,
    DELIVER,
    GATHER,
    GROUPS,
    MAKE,
    MOVE,
    effects,
    products,
)
from plugins.league.rules.strategy.boards import Boards
from plugins.league.rules.strategy.units import GATHER_REST, LOAD, table


class Tables:
    """The rules as tables on one device."""

    def __init__(self, geometry: Geometry, device: torch.device) -> None:
        self.geometry = geometry
        self.effects, self.products = effects(device), products(device)
        self.cost, self.health = table("cost", device), table("health", device)
        self.damage, self.making = table("damage", device), table("making", device)
        # How long a unit rests after each effect, [6 effects, 6 kinds].
        rests = torch.zeros(MAKE + 1, len(self.cost), dtype=torch.long, device=device)
        rests[MOVE], rests[ATTACK] = table("move_rest", device), table("attack_rest", device)
        rests[GATHER] = GATHER_REST
        self.rests = rests.flatten()
        # [2 players, 13 actions]: what an action adds to the cell, and the group that it belongs to.
        still = torch.zeros(2, 1, dtype=torch.long, device=device)
        steps = torch.cat([still, *[geometry.steps] * (GROUPS - 1)], 1)
        self.steps = steps.flatten()
        self.actions = steps.shape[1]
        ways = geometry.steps.shape[1]
        groups = [0] + [group for group in range(1, GROUPS) for _ in range(ways)]
        self.groups = torch.tensor(groups, device=device)
        # [2, 1]: where each player's part of a table begins.
        player = torch.arange(2, device=device).unsqueeze(1)
        self.player_steps = player * self.actions
        self.player_effects = player * (len(self.effects) // 2)

    def unit_effects(self, kind: Tensor, carried: Tensor) -> Tensor:
        """Where a unit's part of `effects` begins, `[N, 2, K]`."""
        return self.player_effects + (kind * 2 + (carried > 0)) * (CONTENTS * GROUPS)


@dataclass(frozen=True)
class Orders:
    """What the actions of a step are about; `[N, 2, K]`.

    Attributes:
        effect: of each unit that is still there.
        target: the cell that it is aimed at.
        product: the kind that is made; 0 where none is.
        hurt: damage that each unit has taken.
    """

    effect: Tensor
    target: Tensor
    product: Tensor
    hurt: Tensor


def step(
    tables: Tables, state: Boards, content: Tensor, actions: Tensor, running: Tensor
) -> Boards:
    """The boards after the actions `[N, 2, K]`; those that are not legal do nothing.

    Args:
        content: of the boards, `[N, P]`.
        running: `[N]`, bool; the others stay as they are.
    """
    orders = understand(tables, state, content, actions, running)
    effect, target = orders.effect, orders.target
    health = state.health - orders.hurt
    alive = health > 0
    make = effect == MAKE
    affordable(tables, state, orders, make)
    # Loads wanted from, and units that want to be on each cell.
    asks = (effect == GATHER) | (effect == MOVE) | make
    flat = target.flatten(1)
    wanted = torch.zeros_like(state.ore).scatter_add_(1, flat, asks.flatten(1).long())
    asked = wanted.gather(1, flat).view_as(target)
    alone = asked == 1
    moved = (effect == MOVE) & alone
    make &= alone
    enough = state.ore.gather(1, flat).view_as(target) >= asked * LOAD
    gathered = (effect == GATHER) & enough
    delivered = (effect == DELIVER) * state.carried
    acted = moved | gathered | (effect == ATTACK)
    rest = (state.rest - running.view(-1, 1, 1).long()).clamp_(min=0)
    rest += acted * tables.rests[effect * len(tables.cost) + state.kind]
    rest += make * tables.making[orders.product]
    loads = gathered * LOAD
    after = Boards(
        kind=state.kind * alive,
        cell=torch.where(moved, target, state.cell) * alive,
        health=health * alive,
        rest=rest * alive,
        carried=(state.carried - delivered + loads) * alive,
        stock=state.stock + delivered.sum(2) - (make * tables.cost[orders.product]).sum(2),
        ore=state.ore.scatter_add(1, flat, -loads.flatten(1)),
        clock=state.clock + running,
        over=state.over,
    )
    place_new(tables, state, after, orders, make)
    return after


def understand(
    tables: Tables, state: Boards, content: Tensor, actions: Tensor, running: Tensor
) -> Orders:
    """The actions' effects, once the attacks have hit."""
    ready = (state.rest == 0) & running.view(-1, 1, 1)
    target = state.cell + tables.steps[actions + tables.player_steps]
    # Empty slots are in cell 0; what they aim at may lie beyond.
    target = torch.where(ready & (state.kind > 0), target, 0)
    flat = target.flatten(1)
    there = content.gather(1, flat).view_as(target)
    group = tables.groups[actions]
    place = tables.unit_effects(state.kind * ready, state.carried) + there * GROUPS + group
    effect = tables.effects[place]
    damage = tables.damage[state.kind] * (effect == ATTACK)
    hits = torch.zeros_like(state.ore).scatter_add_(1, flat, damage.flatten(1))
    hurt = hits.gather(1, state.cell.flatten(1)).view_as(target)
    # An attack counts though the attacker falls.
    effect = effect * ((state.health > hurt) | (effect == ATTACK))
    product = tables.products[state.kind, group] * (effect == MAKE)
    return Orders(effect, target, product, hurt)


def affordable(tables: Tables, state: Boards, orders: Orders, make: Tensor) -> None:
    """Clear `make [N, 2, K]` where stock or free slots do not last."""
    stock = state.stock.unsqueeze(2)
    cost = tables.cost[orders.product]
    # One that is not legal keeps no other from being paid.
    make &= cost <= stock
    free = (state.kind == 0).sum(2, keepdim=True)
    make &= ((cost * make).cumsum(2) <= stock) & (make.long().cumsum(2) <= free)


def place_new(tables: Tables, before: Boards, after: Boards, orders: Orders, make: Tensor) -> None:
    """Put what was made into slots that were free before, and let it rest until it is ready."""
    slots = make.shape[2]
    rank = make.long().cumsum(2)
    # [N, 2, K + 1]: which slot made the product of that rank.
    numbers = torch.arange(slots, device=make.device).expand_as(rank)
    makers = torch.zeros(*rank.shape[:2], slots + 1, dtype=torch.long, device=make.device)
    makers.scatter_(2, rank * make, numbers)
    free = before.kind == 0
    free_rank = free.long().cumsum(2) * free
    new = free & (free_rank <= rank[:, :, -1:])
    maker = makers.gather(2, free_rank)
    kind = torch.where(new, orders.product.gather(2, maker), 0)
    after.kind += kind
    after.cell = torch.where(new, orders.target.gather(2, maker), after.cell)
    after.health += tables.health[kind]
    after.rest += tables.making[kind]


def legal(tables: Tables, state: Boards, content: Tensor) -> Tensor:
    """The actions that may be chosen, `[N, 2, K, 13]`."""
    geometry = tables.geometry
    ready = (state.rest == 0) & ~state.over.view(-1, 1, 1)
    kind = state.kind * ready
    ways = geometry.steps.shape[1]
    around = state.cell.unsqueeze(-1) + geometry.steps.unsqueeze(1)
    around = torch.where(kind.unsqueeze(-1) > 0, around, 0)
    there = content.gather(1, around.flatten(1)).view_as(around)
    place = tables.unit_effects(kind, state.carried).unsqueeze(-1) + there * GROUPS
    # [N, 2, K, 3 groups]: the cost of what each group makes, and whether it is to be had.
    product = tables.products[kind][..., 1:]
    room = (state.kind == 0).any(2)
    stock = torch.where(room, state.stock, -1).view(-1, 2, 1, 1)
    paid = tables.cost[product] <= stock
    mask = torch.zeros(*kind.shape, tables.actions, dtype=torch.bool, device=kind.device)
    mask[..., 0] = True
    for group in range(1, GROUPS):
        possible = tables.effects[place + group] > 0
        if group > 1:
            possible &= paid[..., group - 1 : group]
        mask[..., 1 + ways * (group - 1) : 1 + ways * group] = possible
    return mask
