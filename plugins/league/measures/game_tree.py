"""All histories of a small game, and what a policy is worth in it exactly: values, best responses, NashConv.

Chance deals once, at the beginning (see `Rules.deals`). Decisions are in layers by the number of moves before them; a
move that both players make at once becomes two layers, and the second player does not see what the first has chosen.
A policy is a table `[I, A]` of probabilities, a row for each information set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import MASK
from plugins.league.opponents import seen_by
from plugins.league.rules.contract import Rules

# Decisions; more do not fit a table.
MOST = 200_000


@dataclass(frozen=True)
class Layer:
    """The M decisions after as many moves.

    Attributes:
        player: `[M]`, who decides.
        information: `[M]`, the information set.
        parent, action: `[M]`, the decision in the layer before, and what was chosen there.
        payoffs: `[M, A]`, what player 0 gains at once by each action.
        children: `[M, A]`, the decision in the next layer; -1: the match ends, or the action is not allowed.
    """

    player: Tensor
    information: Tensor
    parent: Tensor
    action: Tensor
    payoffs: Tensor
    children: Tensor


class GameTree:
    """A game's decisions and information sets.

    Attributes:
        chance: `[M]`, the probability of each deal.
        observations: what is seen in each information set, `[I, ...]` by name, with the mask of actions.
        player: `[I]`, whose it is.
        examples: I boards, each at one of the information set's histories.
    """

    def __init__(self, rules: Rules) -> None:
        """
        Args:
            rules: of any number of boards.

        Raises:
            UserError: the game cannot be dealt in all ways, or has too many histories.
        """
        try:
            state, self.chance = rules.deals()
        except NotImplementedError:
            raise UserError(
                f"{type(rules).__name__}: it cannot be dealt in all ways, so that nothing exact is known of it; "
                "task=league measures by matches"
            ) from None
        self.layers: list[Layer] = []
        self.seen: list[dict[str, Tensor]] = []
        self.owners: list[Tensor] = []
        self.stands: list[Rules] = []
        self.count = 0
        boards = rules.select(torch.zeros(0, dtype=torch.long))
        boards.state, boards.boards = state, len(self.chance)
        none = torch.full((boards.boards,), -1)
        self.grow(boards, none, none)
        self.observations = {
            name: torch.cat([part[name] for part in self.seen]) for name in self.seen[0]
        }
        self.player = torch.cat(self.owners)
        self.mask = self.observations[MASK].bool()
        self.examples = self.stands[0].joined(self.stands[1:])

    def grow(self, boards: Rules, parent: Tensor, action: Tensor) -> None:
        """Add layers until all matches have ended; `boards` stand before the decisions of the next one."""
        while boards.boards:
            if boards.boards > MOST:
                raise UserError(
                    f"{type(boards).__name__}: it has more than {MOST} decisions, too many for a table"
                )
            first, second = boards.to_move
            if bool((first & second).any()):
                parent, action, boards = self.simultaneous(boards, parent, action)
            else:
                parent, action, boards = self.in_turn(boards, second.long(), parent, action)

    def in_turn(
        self, boards: Rules, player: Tensor, parent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Rules]:
        information, mask = self.recorded(boards, player)
        rows, chosen = mask.nonzero().unbind(1)
        after = boards.select(rows)
        gained, over = after.play(chosen.expand(2, -1), torch.ones_like(rows, dtype=torch.bool))
        payoffs = torch.zeros(mask.shape).index_put((rows, chosen), gained)
        going = (~over).nonzero().squeeze(1)
        rows, chosen = rows[going], chosen[going]
        children = torch.full(mask.shape, -1).index_put((rows, chosen), torch.arange(len(going)))
        self.layers.append(Layer(player, information, parent, action, payoffs, children))
        return rows, chosen, after.select(going)

    def simultaneous(
        self, boards: Rules, parent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Rules]:
        """Player 0's decisions, and player 1's, which do not know them."""
        count, zeros = boards.boards, torch.zeros(boards.boards, dtype=torch.long)
        first, first_mask = self.recorded(boards, zeros)
        second, second_mask = self.recorded(boards, zeros + 1)
        rows, chosen = first_mask.nonzero().unbind(1)
        children = torch.full(first_mask.shape, -1).index_put(
            (rows, chosen), torch.arange(len(rows))
        )
        nothing = torch.zeros(first_mask.shape)
        self.layers.append(Layer(zeros, first, parent, action, nothing, children))
        assert len(children) == count
        # Each of player 1's decisions follows one choice of player 0's.
        nodes, answer = second_mask[rows].nonzero().unbind(1)
        after = boards.select(rows[nodes])
        both = torch.stack([chosen[nodes], answer])
        gained, over = after.play(both, torch.ones_like(nodes, dtype=torch.bool))
        shape = (len(rows), second_mask.shape[1])
        payoffs = torch.zeros(shape).index_put((nodes, answer), gained)
        going = (~over).nonzero().squeeze(1)
        nodes, answer = nodes[going], answer[going]
        children = torch.full(shape, -1).index_put((nodes, answer), torch.arange(len(going)))
        owner = torch.ones(len(rows), dtype=torch.long)
        self.layers.append(Layer(owner, second[rows], rows, chosen, payoffs, children))
        return nodes, answer, after.select(going)

    def recorded(self, boards: Rules, player: Tensor) -> tuple[Tensor, Tensor]:
        """The information set of each board, `[M]`, and which actions are allowed there, `[M, A]`."""
        seen = seen_by(boards, player)
        flat = torch.cat(
            [player.unsqueeze(1), *(part.flatten(1).float() for part in seen.values())], 1
        )
        _, which = flat.unique(dim=0, return_inverse=True)
        number = int(which.max()) + 1
        example = torch.zeros(number, dtype=torch.long).index_copy(
            0, which, torch.arange(len(which))
        )
        self.seen.append({name: part[example] for name, part in seen.items()})
        self.owners.append(player[example])
        self.stands.append(boards.select(example))
        self.count += number
        return which + self.count - number, seen[MASK].bool()

    # --- policies -----------------------------------------------------------------------------------------------------

    def uniform(self) -> Tensor:
        """Every allowed action with the same probability, `[I, A]`."""
        return self.mask / self.mask.sum(1, keepdim=True)

    def table(self, agent: Agent) -> Tensor:
        """An agent's probabilities `[I, A]`; they carry the gradient of its parameters."""
        starts = torch.ones(self.count, dtype=torch.bool)
        policy, _ = agent.act(self.observations, None, starts)
        return policy.logits.exp() * self.mask  # type: ignore[attr-defined, no-any-return]

    def average(self, tables: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
        """The policy of a player that draws one of several for each match and keeps to it, `[I, A]`.

        Each counts as often as it comes to an information set by its own actions (Heinrich et al. 2015).
        """
        weights = [1.0] * len(tables) if weights is None else weights
        mixed, total = torch.zeros(self.mask.shape), torch.zeros(self.count, 1)
        for table, weight in zip(tables, weights, strict=True):
            own = weight * self.own_reach(table).unsqueeze(1)
            mixed, total = mixed + own * table, total + own
        return torch.where(total > 0, mixed / total.clamp(min=1e-30), self.uniform())

    def own_reach(self, table: Tensor) -> Tensor:
        """The probability that the owner's actions lead to each information set, `[I]`."""
        reach = torch.zeros(self.count)
        for layer, (first, second) in zip(self.layers, self.reaches(table), strict=True):
            reach = reach.index_copy(
                0, layer.information, torch.where(layer.player == 0, first, second)
            )
        return reach

    def reaches(self, table: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The probability of coming to each decision by player 0's actions and by player 1's, `[M]` for each layer."""
        found: list[tuple[Tensor, Tensor]] = []
        for number, layer in enumerate(self.layers):
            if number == 0:
                ones = torch.ones(len(layer.player))
                found.append((ones, ones))
                continue
            before, (first, second) = self.layers[number - 1], found[-1]
            taken = table[before.information[layer.parent], layer.action]
            mover = before.player[layer.parent]
            found.append(
                (
                    first[layer.parent] * torch.where(mover == 0, taken, 1.0),
                    second[layer.parent] * torch.where(mover == 1, taken, 1.0),
                )
            )
        return found

    def visits(self, table: Tensor) -> Tensor:
        """The probability that a match comes to each information set where both sides play by a table, `[I]`."""
        found, chance = torch.zeros(self.count), self.chance
        for number, (layer, reached) in enumerate(
            zip(self.layers, self.reaches(table), strict=True)
        ):
            chance = chance if number == 0 else chance[layer.parent]
            found = found.index_add(0, layer.information, chance * reached[0] * reached[1])
        return found

    # --- values -------------------------------------------------------------------------------------------------------

    def value(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """What player 0 gains on average, by the table `first`, against `second`; None: the same table."""
        table = self.joined(first, first if second is None else second)
        below = torch.zeros(0)
        for layer in reversed(self.layers):
            below = (table[layer.information] * self.action_values(layer, below)).sum(1)
        return self.chance @ below

    def payoffs(self, tables: Sequence[Tensor]) -> Tensor:
        """What player 0 gains by each table against each, `[P, P]`; rows are player 0's."""
        pairs = [[self.value(first, second) for second in tables] for first in tables]
        return torch.stack([torch.stack(row) for row in pairs])

    def joined(self, first: Tensor, second: Tensor) -> Tensor:
        """One table of player 0's rows of `first` and player 1's of `second`."""
        return torch.where((self.player == 0).unsqueeze(1), first, second)

    def action_values(self, layer: Layer, below: Tensor) -> Tensor:
        """What player 0 gains by each action, `[M, A]`, where the decisions after it are worth `below`."""
        if len(below) == 0:
            return layer.payoffs
        follows = layer.children >= 0
        return layer.payoffs + torch.where(follows, below[layer.children.clamp(min=0)], 0.0)

    def best_response(self, table: Tensor, player: int) -> tuple[Tensor, Tensor]:
        """What a player gains by the best response to the other's part of a table, and that response `[I, A]`."""
        sign = 1.0 if player == 0 else -1.0
        # How likely chance and the other player make each decision.
        chance = self.chance
        weights, others = [], self.reaches(table)
        for number, layer in enumerate(self.layers):
            chance = chance if number == 0 else chance[layer.parent]
            weights.append(chance * others[number][1 - player])
        best, below = table.clone(), torch.zeros(0)
        for layer, weight in zip(reversed(self.layers), reversed(weights), strict=True):
            gains = sign * self.action_values(layer, sign * below)
            sums = torch.zeros(self.mask.shape, dtype=gains.dtype)
            sums = sums.index_add(0, layer.information, weight.unsqueeze(1) * gains)
            choice = sums.masked_fill(~self.mask, -torch.inf).argmax(1)
            mine = layer.player == player
            pure = torch.nn.functional.one_hot(choice, self.mask.shape[1]).to(best.dtype)
            rows = layer.information[mine]
            best[rows] = pure[rows]
            below = (best[layer.information] * gains).sum(1)
        return self.chance @ below, best

    def nash_conv(self, table: Tensor) -> float:
        """What both players could gain by best responses, in all; 0 for an equilibrium (Lanctot et al. 2017)."""
        with torch.no_grad():
            return float(sum(self.best_response(table.detach(), player)[0] for player in range(2)))
