"""Monte-Carlo tree search on many boards at once: upper confidence bounds in the tree, random play below it.

(Kocsis and Szepesvari 2006; Coulom 2006.) Every simulation goes down each board's tree to a position that is new, adds
it, plays on at random to the end, and counts the result in all positions on the way. Playing on is most of the work, so
several simulations do it together: until it is known what they bring they count as lost, and those after them go
elsewhere (the virtual loss of Chaslot et al. 2008).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plugins.games.policies.bodies import MASK
from plugins.league.opponents import Move, Opponent, View
from plugins.league.players.minimax import refuse_hidden
from plugins.league.rules.contract import Rules

# Simulations played on at once: at most these, and few enough for as many rounds, each of which knows the one before.
MOST_AT_ONCE, ROUNDS = 16, 12
# What a simulation counts as until it is known what it brings.
LOST = -1.0
# The bound of an action before it is tried: above all others.
NEVER_TRIED = 1e6


class TreeSearch(Opponent):
    """Takes the action that was tried most often.

    Args:
        simulations: of each move.
        exploration: the factor of the confidence bound.
    """

    def __init__(self, simulations: int, exploration: float = math.sqrt(2)) -> None:
        self.simulations, self.exploration = simulations, exploration

    @torch.no_grad()
    def act(self, view: View) -> Move:
        refuse_hidden(view.rules, "tree_search")
        tree = Trees(view.rules.select(view.boards), view.player, self.simulations)
        at_once = max(1, min(MOST_AT_ONCE, self.simulations // ROUNDS))
        for done in range(0, self.simulations, at_once):
            tree.simulate(self.exploration, min(at_once, self.simulations - done))
        visits = tree.visits[: len(view.boards)]
        best = visits.masked_fill(~view.observation[MASK].bool(), -1).argmax(1)
        return Move(best, shares=visits / visits.sum(1, keepdim=True))


class Trees:
    """The trees of M boards: their positions in rows, the roots of all boards first, then one more for each simulation.

    Attributes:
        positions: `[rows]` boards.
        children: `[rows, A]`, the row of the position that an action leads to; -1 where none was added.
        visits, worth: `[rows, A]`, how often an action was tried, and the sum of what it brought its player.
        legal: `[rows, A]`.
        player: `[rows]`, who is to move.
        over: `[rows]`, the match has ended.
        gained: `[rows]`, what player 0 has gained since the root.
    """

    def __init__(self, roots: Rules, player: Tensor, simulations: int) -> None:
        self.every = torch.arange(roots.boards, device=roots.device)
        rows = roots.boards * (simulations + 1)
        self.positions = roots.select(self.every.repeat(simulations + 1))
        self.children = torch.full((rows, roots.choices), -1, device=roots.device)
        self.visits = torch.zeros(rows, roots.choices, device=roots.device)
        self.worth = torch.zeros_like(self.visits)
        self.legal = torch.zeros_like(self.visits, dtype=torch.bool)
        self.legal[: roots.boards] = roots.mask(player).bool()
        self.player = player.repeat(simulations + 1)
        self.over = torch.zeros(rows, dtype=torch.bool, device=roots.device)
        self.gained = torch.zeros(rows, device=roots.device)
        self.used = roots.boards

    def simulate(self, exploration: float, count: int) -> None:
        """Add `count` simulations to each tree, played on together."""
        found = [self.descend(exploration) for _ in range(count)]
        boards, ends, paths = zip(*found, strict=True)
        played = played_out(boards[0].joined(boards[1:])).view(count, -1)
        for path, end, more in zip(paths, ends, played, strict=True):
            won = self.gained[end] + more
            for row, action, counted in path:
                sign = 1.0 - 2.0 * self.player[row]
                self.add(self.worth, row, action, (sign * won - LOST) * counted)

    def descend(
        self, exploration: float
    ) -> tuple[Rules, Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
        """Go down to a new position in each tree, and add it; or to an end.

        Returns:
            the boards there, their rows `[M]`, and the way: rows, actions, and on which boards it went on, `[M]` each.
        """
        row, descending = self.every, torch.ones_like(self.every, dtype=torch.bool)
        action, path = torch.zeros_like(self.every), []
        while bool(descending.any()):
            action = torch.where(descending, self.chosen(row, exploration), action)
            path.append((row, action, descending))
            self.add(self.visits, row, action, descending)
            self.add(self.worth, row, action, LOST * descending)
            child = self.children[row, action]
            row = torch.where(descending & (child >= 0), child, row)
            descending = descending & (child >= 0) & ~self.over[row]
        boards = self.positions.select(row)
        new = ~self.over[row]
        won, over = boards.play(action.expand(2, -1), new)
        added = slice(self.used, self.used + len(row))
        self.used += len(row)
        ends = torch.where(new, torch.arange(added.start, added.stop, device=row.device), row)
        self.children[row[new], action[new]] = ends[new]
        for name, value in boards.state.items():
            self.positions.state[name][added] = value
        second = boards.to_move[1].long()
        self.player[added], self.over[added] = second, over
        self.legal[added] = boards.mask(second).bool()
        self.gained[added] = self.gained[row] + won
        return boards, ends, path

    def add(self, to: Tensor, row: Tensor, action: Tensor, amount: Tensor) -> None:
        """Add to entries `[M]` of a tensor `[rows, A]`."""
        to.view(-1).index_add_(0, row * to.shape[1] + action, amount.to(to.dtype))

    def chosen(self, row: Tensor, exploration: float) -> Tensor:
        """The action with the highest bound, `[M]`; one that was never tried comes first, in any order."""
        visits = self.visits.index_select(0, row)
        tried = visits.clamp(min=1)
        spread = (visits.sum(1, keepdim=True).clamp_(min=1).log_() / tried).sqrt_()
        bound = self.worth.index_select(0, row).div_(tried).add_(spread, alpha=exploration)
        bound = torch.where(visits > 0, bound, torch.rand_like(bound).add_(NEVER_TRIED))
        return bound.masked_fill_(~self.legal.index_select(0, row), -torch.inf).max(1).indices


def played_out(boards: Rules) -> Tensor:
    """What player 0 gains where both play at random to the end, `[M]`; `boards` are used up."""
    gained = torch.zeros(boards.boards, device=boards.device)
    rows = torch.arange(boards.boards, device=boards.device)
    while True:
        first, second = boards.to_move
        going = first | second
        left = int(going.sum())
        if left == 0:
            return gained
        if 2 * left < len(rows):
            # Those that have ended are left behind.
            kept = going.nonzero().squeeze(1)
            boards, rows, second, going = boards.select(kept), rows[kept], second[kept], going[kept]
        mask = boards.mask(second.long()).bool()
        chances = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1)
        won, _ = boards.play(chances.max(1).indices.expand(2, -1), going)
        gained[rows] += won
