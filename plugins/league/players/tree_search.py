"""Monte-Carlo tree search on many boards at once: upper confidence bounds in the tree, random play below it.

(Kocsis and Szepesvari 2006; Coulom 2006.) Every simulation goes down each board's tree to a position that is new, adds
it, plays on at random to the end, and counts the result in all positions on the way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plugins.games.policies.bodies import MASK
from plugins.league.opponents import Move, Opponent, View
from plugins.league.players.minimax import refuse_hidden
from plugins.league.rules.contract import Rules


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
        for _ in range(self.simulations):
            tree.simulate(self.exploration)
        visits = tree.visits[:, 0].masked_fill(~view.observation[MASK].bool(), -1)
        return Move(visits.argmax(1))


class Trees:
    """The trees of M boards, a node for each position that was added.

    Attributes:
        children: `[M, nodes, A]`, -1 where none was added.
        visits, worth: `[M, nodes, A]`, how often an action was tried, and the sum of what it brought its player.
    """

    def __init__(self, roots: Rules, player: Tensor, simulations: int) -> None:
        self.roots, self.player = roots, player
        shape = (roots.boards, simulations + 1, roots.choices)
        self.children = torch.full(shape, -1, device=roots.device)
        self.visits = torch.zeros(shape, device=roots.device)
        self.worth = torch.zeros(shape, device=roots.device)
        self.nodes = 1
        self.every = torch.arange(roots.boards, device=roots.device)

    def simulate(self, exploration: float) -> None:
        boards = self.roots.select(self.every)
        node, player = torch.zeros_like(self.every), self.player
        descending = torch.ones_like(self.every, dtype=torch.bool)
        gained = torch.zeros(boards.boards, device=boards.device)
        path: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        while bool(descending.any()):
            action = self.chosen(boards, node, player, exploration)
            path.append((node, action, player, descending))
            won, over = boards.play(action.expand(2, -1), descending)
            gained = gained + won
            child = self.children[self.every, node, action]
            new = descending & (child < 0)
            self.children[self.every[new], node[new], action[new]] = self.nodes
            # A position that was added, or an end, is played out.
            descending = descending & ~new & ~over
            node = torch.where(descending, child, node)
            player = torch.where(descending, boards.to_move[1].long(), player)
        self.nodes += 1
        gained = gained + played_out(boards)
        for node, action, player, counted in path:
            rows = counted.nonzero().squeeze(1)
            at = rows, node[rows], action[rows]
            self.visits[at] += 1
            self.worth[at] += torch.where(player[rows] == 0, gained[rows], -gained[rows])

    def chosen(self, boards: Rules, node: Tensor, player: Tensor, exploration: float) -> Tensor:
        """The action with the highest bound, `[M]`; one that was never tried comes first, in any order."""
        visits = self.visits[self.every, node]
        mean = self.worth[self.every, node] / visits.clamp(min=1)
        spread = (visits.sum(1, keepdim=True).clamp(min=1).log() / visits.clamp(min=1)).sqrt()
        bound = torch.where(visits > 0, mean + exploration * spread, 1e6 + torch.rand_like(mean))
        return bound.masked_fill(~boards.mask(player).bool(), -torch.inf).argmax(1)


def played_out(boards: Rules) -> Tensor:
    """What player 0 gains where both play at random to the end, `[M]`; `boards` are used up."""
    gained = torch.zeros(boards.boards, device=boards.device)
    while True:
        first, second = boards.to_move
        going = first | second
        if not bool(going.any()):
            return gained
        mask = boards.mask(second.long()).bool()
        chances = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1)
        won, _ = boards.play(chances.argmax(1).expand(2, -1), going)
        gained = gained + won
