"""Minimax to a fixed depth: all lines of that many moves, wins and defeats in them, nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from framework.errors import UserError
from plugins.league.opponents import Move, Opponent, View
from plugins.league.rules.contract import Rules

# The worth of a move that is not allowed.
NEVER = -1e9
# A win that comes later is worth less, so that the shortest is chosen and the longest defeat.
LATER = 0.99


class Minimax(Opponent):
    """Looks `depth` moves ahead; of moves that are worth the same, one is drawn.

    Args:
        depth: 2 takes a win and stops one.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth

    @torch.no_grad()
    def act(self, view: View) -> Move:
        refuse_hidden(view.rules, "minimax")
        values = action_values(view.rules.select(view.boards), view.player, self.depth)
        best = values == values.amax(1, keepdim=True)
        chances = torch.rand(values.shape, device=values.device).masked_fill(~best, -1)
        return Move(chances.argmax(1), shares=best / best.sum(1, keepdim=True))


def refuse_hidden(rules: Rules, name: str) -> None:
    """Refuse a game that cannot be searched.

    Raises:
        UserError: names the player and the game.
    """
    if not rules.perfect_information:
        raise UserError(
            f"player '{name}': it looks ahead from the whole board, which {type(rules).__name__}'s players do not see; "
            "choices: random"
        )


def action_values(boards: Rules, player: Tensor, depth: int) -> Tensor:
    """What each action is worth to whoever is to move, `player [M]`, by minimax: `[M, A]`."""
    mask = boards.mask(player).bool()
    if depth == 1 and (gains := boards.gains()) is not None:
        return gains.masked_fill(~mask, NEVER)
    rows, actions = mask.nonzero().unbind(1)
    after = boards.select(rows)
    gained, over = after.play(actions.expand(2, -1), torch.ones_like(rows, dtype=torch.bool))
    mover = player[rows]
    worth = torch.where(mover == 0, gained, -gained)
    going = (~over).nonzero().squeeze(1)
    if depth > 1 and len(going):
        below = after.select(going)
        next_player = below.to_move[1].long()
        replies = action_values(below, next_player, depth - 1).amax(1)
        same = next_player == mover[going]
        worth = worth.index_add(0, going, LATER * torch.where(same, replies, -replies))
    values = torch.full(mask.shape, NEVER, device=worth.device)
    return values.index_put((rows, actions), worth)
