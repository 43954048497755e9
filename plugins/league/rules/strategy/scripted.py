"""Two players by fixed rules, for many boards at once: they see what any player sees, and ties are broken by chance.

- rush: one barracks as soon as there is ore for it, then light units, each of which goes straight for the other base.
- economy: more workers first, then heavy units, which defend until there are enough of them to march together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError
from plugins.games.policies.bodies import MASK
from plugins.league.opponents import Move, Opponent, View
from plugins.league.rules.contract import Rules
from plugins.league.rules.strategy.board import WAYS
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.strategy.observation import PLANE
from plugins.league.rules.strategy.orders import ACTIONS
from plugins.league.rules.strategy.paths import FAR, distances
from plugins.league.rules.strategy.units import BARRACKS, BASE, HEAVY, KINDS, LIGHT, WORKER

# Fields of distances: to the own base, to ore, to the other side and its base, to what is seen of the other side.
HOME, ORE, ENEMY, SEEN_ENEMY = range(4)
GO = slice(1, 1 + len(WAYS))


@dataclass(frozen=True)
class Plan:
    """What a scripted player wants.

    Attributes:
        workers: as many as it makes.
        barracks: as many as it builds.
        fighter: the kind of unit that it fights with.
        together: fighters march once there are this many.
    """

    workers: int
    barracks: int
    fighter: int
    together: int


RUSH = Plan(workers=2, barracks=1, fighter=LIGHT, together=1)
ECONOMY = Plan(workers=4, barracks=2, fighter=HEAVY, together=3)


def rush(rules: Rules) -> Scripted:
    """The player that rushes; of the strategy game only."""
    return scripted("rush", RUSH, rules)


def economy(rules: Rules) -> Scripted:
    """The player that builds first; of the strategy game only."""
    return scripted("economy", ECONOMY, rules)


def scripted(name: str, plan: Plan, rules: Rules) -> Scripted:
    """A player by a plan.

    Raises:
        UserError: another game.
    """
    if not isinstance(rules, Strategy):
        raise UserError(
            f"player '{name}': it plays task.game=strategy only, not {type(rules).__name__}"
        )
    return Scripted(plan)


class Scripted(Opponent):
    """A player by a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def act(self, view: View) -> Move:
        return Move(self.choose(view.observation, view.observation[MASK]))

    def choose(self, observation: dict[str, Tensor], mask: Tensor) -> Tensor:
        """Actions `[N, K]`.

        Args:
            observation: `map [N, planes, S, S]` and `cells [N, K]`, of either player.
            mask: `[N, 13 K]`, the legal actions.
        """
        board, cells = observation["map"], observation["cells"]
        legal = mask.bool().view(*cells.shape, ACTIONS)
        kind, carries = self.own_units(board, cells)
        ahead = self.ahead(board, cells)
        # Which distances each unit goes by, [N, K].
        fighting = kind == self.plan.fighter
        marches = (fighting.sum(1, keepdim=True) >= self.plan.together).expand_as(kind)
        field = torch.where(marches, ENEMY, SEEN_ENEMY)
        field = torch.where(kind == WORKER, torch.where(carries, HOME, ORE), field)
        # [N, K, 4], where each of the four steps leads.
        far = ahead.gather(1, field.view(*field.shape[:1], 1, -1, 1).expand(-1, -1, -1, 4)).squeeze(
            1
        )
        # A worker strikes what stands beside it.
        struck = (kind == WORKER).unsqueeze(-1) & (ahead[:, SEEN_ENEMY] == 0)
        far = torch.where(struck, -1, far)
        scores = torch.full(legal.shape, -2.0 * FAR)
        scores[..., 0] = -FAR + 0.5
        # A unit that cannot get there waits, and one whose way is taken goes round.
        scores[..., GO] = -far.float()
        self.want(scores, kind)
        scores += 0.4 * torch.rand_like(scores)
        return scores.masked_fill(~legal, -4.0 * FAR).argmax(-1)

    def want(self, scores: Tensor, kind: Tensor) -> None:
        """Score what is to be made, `scores [N, K, 13]`, by what there is, `kind [N, K]`."""
        plan, first, second = self.plan, 1 + len(WAYS), 1 + 2 * len(WAYS)
        workers = (kind == WORKER).sum(1, keepdim=True)
        barracks = (kind == BARRACKS).sum(1, keepdim=True)
        # Ore is kept for the first barracks.
        more_workers = (workers < plan.workers) & ((barracks > 0) | (workers < 2))
        # One worker builds, the one in the first slot.
        builder = (kind == WORKER) & ((kind == WORKER).long().cumsum(1) == 1)
        makes = (kind == BASE) & more_workers | builder & (barracks < plan.barracks)
        fights = kind == BARRACKS
        light = plan.fighter == LIGHT
        scores[..., first:second] = torch.where(
            (makes | fights & light).unsqueeze(-1), 1.0, -2.0 * FAR
        )
        if not light:
            scores[..., second:] = torch.where(fights.unsqueeze(-1), 1.0, -2.0 * FAR)

    def own_units(self, board: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Kinds of the own units, 0 in empty slots, and which of them carry ore, `[N, K]`."""
        own = board[:, PLANE["own base"] : PLANE["other base"]].flatten(2) > 0
        numbers = torch.arange(1, len(KINDS), device=board.device).view(1, -1, 1)
        kinds = (own * numbers).sum(1)
        empty = cells == kinds.shape[1]
        where = cells.masked_fill(empty, 0)
        kind = kinds.gather(1, where).masked_fill(empty, 0)
        carried = board[:, PLANE["carried"]].flatten(1) > 0
        return kind, carried.gather(1, where) & ~empty

    def ahead(self, board: Tensor, cells: Tensor) -> Tensor:
        """The distances `[N, fields, K, 4]` that the four steps of each own unit lead to."""
        there = board > 0
        own, other, rest = PLANE["own base"], PLANE["other base"], PLANE["health"]
        home = there[:, own]
        enemies = there[:, other:rest].any(1)
        ore, unseen = there[:, PLANE["ore"]], ~there[:, PLANE["seen"]]
        # Who sees no ore looks for it.
        some = ore.flatten(1).any(1).view(-1, 1, 1)
        wanted = torch.where(some, ore, unseen)
        # The other base lies opposite; when it is seen to have moved away, the match is over.
        opposite = home.flip(1, 2) | enemies
        targets = torch.stack([home, wanted, opposite, enemies], 1)
        barracks = there[:, own + BARRACKS - BASE] | there[:, other + BARRACKS - BASE]
        blocked = home | ore | barracks | there[:, other]
        steps = distances(targets, blocked)
        size = board.shape[-1]
        around = torch.nn.functional.pad(steps, (1, 1, 1, 1), value=FAR).flatten(2)
        width = size + 2
        inner = cells.masked_fill(cells == size**2, 0)
        place = (inner // size + 1) * width + inner % size + 1
        ways = torch.tensor([down * width + across for down, across in WAYS], device=cells.device)
        index = (place.unsqueeze(-1) + ways).flatten(1)
        found = around.gather(2, index.unsqueeze(1).expand(-1, steps.shape[1], -1))
        return found.view(len(cells), steps.shape[1], -1, len(WAYS))
