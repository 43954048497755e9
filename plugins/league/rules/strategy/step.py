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
from plugins.league.rules.strategy.boards import Boards
from plugins.league.rules.strategy.orders import (
    ATTACK,
    CONTENTS,
    DELIVER,
    FREE,
    GATHER,
    GROUPS,
    MAKE,
    MOVE,
    effects,
    products,
)
from plugins.league.rules.strategy.units import GATHER_REST, LOAD, look, table


class Tables:
    """The rules as tables on one device, read by `look`."""

    def __init__(self, geometry: Geometry, slots: int, device: torch.device) -> None:
        self.geometry = geometry
        self.effects, self.products = effects(device), products(device)
        self.possible = self.effects > 0
        self.cost, self.health = table("cost", device), table("health", device)
        self.damage, self.making = table("damage", device), table("making", device)
        # Whether an effect is about entering a cell or taking from it.
        self.asks = torch.zeros(MAKE + 1, dtype=torch.bool, device=device)
        self.asks[[MOVE, GATHER]] = True
        # How long a unit rests after each effect, 6 effects x 6 kinds.
        rests = torch.zeros(MAKE + 1, len(self.cost), dtype=torch.int32, device=device)
        rests[MOVE], rests[ATTACK] = table("move_rest", device), table("attack_rest", device)
        rests[GATHER] = GATHER_REST
        self.rests = rests.flatten()
        # What an action adds to the cell, 2 players x 13 actions, and where its group's effects begin.
        ways = geometry.steps.shape[1]
        still = torch.zeros(2, 1, dtype=torch.long, device=device)
        self.steps = torch.cat([still, *[geometry.steps] * (GROUPS - 1)], 1).flatten()
        groups = [0] + [group for group in range(1, GROUPS) for _ in range(ways)]
        self.groups = torch.tensor(groups, dtype=torch.int32, device=device)
        # [2, 1]: where each player's part of a table begins.
        player = torch.arange(2, dtype=torch.int32, device=device).unsqueeze(1)
        self.player_steps = player * len(groups)
        self.player_kinds = player * len(self.cost)
        # A product with it adds up along the slots: along a short axis, much faster than `cumsum`.
        self.triangle = torch.ones(slots, slots, device=device).triu()

    def running_sum(self, values: Tensor) -> Tensor:
        """Sums of `[N, 2, K]` over the slots up to each one, itself included; small whole numbers as floats."""
        return values.float() @ self.triangle

    def unit_effects(self, kind: Tensor, carried: Tensor) -> Tensor:
        """Where a unit's part of `effects` begins, `[N, 2, K]`."""
        unit = (kind + self.player_kinds) * 2 + carried.clamp(max=1)
        return unit * (CONTENTS * GROUPS)


@dataclass(frozen=True)
class Orders:
    """What the actions of a step are about; `[N, 2, K]`.

    Attributes:
        effect: of each unit that is still there.
        group: of its action.
        step: what its action adds to its cell.
        target: the cell that this leads to, among those of all boards.
        struck: it attacks.
        health: what the attacks have left of it.
    """

    effect: Tensor
    group: Tensor
    step: Tensor
    target: Tensor
    struck: Tensor
    health: Tensor


def step(
    tables: Tables, boards: Boards, content: Tensor, actions: Tensor, running: Tensor
) -> Boards:
    """The boards after the actions `[N, 2, K]`; those that are not legal do nothing.

    Args:
        content: of the boards, `[N, P]`.
        running: `[N]`, bool; the others stay as they are.
    """
    geometry, kind = tables.geometry, boards.kind
    orders = understand(tables, boards, content, actions, running)
    effect, target = orders.effect, orders.target
    alive = orders.health > 0
    product = look(tables.products, kind * GROUPS + orders.group) * (effect == MAKE)
    make = affordable(tables, boards, product)
    # Loads wanted from, and units that want to be on each cell.
    flat = target.flatten()
    asks = look(tables.asks, effect) | make
    wanted = torch.zeros_like(boards.ore).flatten().scatter_add_(0, flat, asks.flatten().byte())
    asked = look(wanted, target)
    alone = asked == 1
    moved = (effect == MOVE) & alone
    make &= alone
    product = product * make
    gathered = (effect == GATHER) & (look(boards.ore.flatten(), target) >= asked * LOAD)
    delivered = (effect == DELIVER) * boards.carried
    loads = gathered * LOAD
    taken = torch.zeros_like(wanted).scatter_add_(0, flat, loads.flatten().byte())
    done = effect * (moved | gathered | orders.struck)
    rest = (boards.rest - running.view(-1, 1, 1).int()).clamp_(min=0)
    rest += look(tables.rests, done * len(tables.cost) + kind) + look(tables.making, product)
    cell = boards.cell + orders.step * moved
    after = Boards(
        kind=kind * alive,
        cell=torch.where(alive, cell, geometry.nowhere),
        health=orders.health * alive,
        rest=rest * alive,
        carried=(boards.carried - delivered + loads).int() * alive,
        stock=(boards.stock + (delivered - look(tables.cost, product)).sum(2)).int(),
        ore=boards.ore - taken.view_as(boards.ore),
        clock=boards.clock + running,
        over=boards.over,
    )
    place_new(tables, boards, after, boards.cell + orders.step, product)
    return after


def understand(
    tables: Tables, boards: Boards, content: Tensor, actions: Tensor, running: Tensor
) -> Orders:
    """The actions' effects, once the attacks have hit."""
    kind = boards.kind
    ready = (boards.rest == 0) & running.view(-1, 1, 1)
    step = look(tables.steps, actions + tables.player_steps)
    here = boards.cell + tables.geometry.origin(len(kind))
    target = here + step
    group = look(tables.groups, actions)
    place = tables.unit_effects(kind * ready, boards.carried) + group * CONTENTS
    effect = look(tables.effects, place + look(content.flatten(), target))
    struck = effect == ATTACK
    damage = look(tables.damage, kind) * struck
    hits = torch.zeros_like(content).flatten()
    hits.scatter_add_(0, target.flatten(), damage.flatten().byte())
    health = boards.health - look(hits, here)
    # An attack counts though the attacker falls.
    return Orders(effect * (health > 0), group, step, target, struck, health)


def affordable(tables: Tables, boards: Boards, product: Tensor) -> Tensor:
    """Which products `[N, 2, K]` stock and free slots last for."""
    stock, cost = boards.stock.unsqueeze(2), look(tables.cost, product)
    # One that is not legal keeps no other from being paid.
    make = (product > 0) & (cost <= stock)
    free = (boards.kind == 0).sum(2, keepdim=True)
    return make & (tables.running_sum(cost * make) <= stock) & (tables.running_sum(make) <= free)


def place_new(
    tables: Tables, before: Boards, after: Boards, target: Tensor, product: Tensor
) -> None:
    """Put what was made into slots that were free before, and let it rest until it is ready.

    Args:
        target: `[N, 2, K]`, the cell beside each unit that it is made on.
        product: `[N, 2, K]`, what was made.
    """
    slots = product.shape[2]
    make = product > 0
    rank = tables.running_sum(make)
    # [N, 2, K + 1]: which slot made the product of that rank.
    numbers = torch.arange(slots, device=make.device).expand_as(rank)
    makers = torch.zeros(*rank.shape[:2], slots + 1, dtype=torch.long, device=make.device)
    makers.scatter_(2, (rank * make).long(), numbers)
    free = before.kind == 0
    free_rank = tables.running_sum(free) * free
    new = free & (free_rank <= rank[:, :, -1:])
    maker = makers.gather(2, free_rank.long())
    kind = product.gather(2, maker) * new
    after.kind += kind
    after.cell = torch.where(new, target.gather(2, maker), after.cell)
    after.health += look(tables.health, kind)
    after.rest += look(tables.making, kind)


def legal(tables: Tables, boards: Boards, content: Tensor) -> Tensor:
    """The actions that may be chosen, `[N, 2, K, 13]`."""
    geometry = tables.geometry
    ready = (boards.rest == 0) & ~boards.over.view(-1, 1, 1)
    kind = boards.kind * ready
    # [4, N, 2, K]: what stands on the cells around each unit.
    here = boards.cell + geometry.origin(len(kind))
    there = look(content.flatten(), here + geometry.steps.T.reshape(-1, 1, 2, 1))
    place = tables.unit_effects(kind, boards.carried) + there
    room = (boards.kind == 0).any(2)
    stock = torch.where(room, boards.stock, -1).unsqueeze(2)
    ways = len(there)
    mask = torch.empty(*kind.shape, len(tables.groups), dtype=torch.bool, device=kind.device)
    mask[..., 0] = True
    mask[..., 1 : 1 + ways] = look(tables.possible, place + CONTENTS).movedim(0, -1)
    free = there == FREE
    for group in range(2, GROUPS):
        product = look(tables.products, kind * GROUPS + group)
        makes = (product > 0) & (look(tables.cost, product) <= stock)
        mask[..., 1 + ways * (group - 1) : 1 + ways * group] = (free & makes).movedim(0, -1)
    return mask
