"""Two players against each other, neither of them learning: what measures, films and commands are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.randomness import seeded
from plugins.league.opponents import Opponent, View, seen_by
from plugins.league.rules.contract import Rules


class Side:
    """One player at its side of every board, with the memory that a policy has of each match."""

    def __init__(self, player: Opponent, memory: Tensor | None = None) -> None:
        self.player, self.memory = player, memory
        self.begun: Tensor | None = None

    def act(self, rules: Rules, boards: Tensor, seats: Tensor) -> Tensor:
        """Its actions `[M, ...]` on some boards; `seats [N]` says which player it is on each."""
        if self.begun is None:
            self.begun = torch.ones(rules.boards, dtype=torch.bool, device=rules.device)
        observation = {name: part[boards] for name, part in seen_by(rules, seats).items()}
        memory = None if self.memory is None else self.memory[:, boards]
        view = View(rules, boards, seats[boards], observation, memory, self.begun[boards])
        move = self.player.act(view)
        self.begun = self.begun.index_fill(0, boards, False)
        if self.memory is not None and move.memory is not None:
            self.memory = self.memory.index_copy(1, boards, move.memory)
        return move.actions


@dataclass(frozen=True)
class Arena:
    """Where matches are played at once.

    Attributes:
        make: rules of as many boards.
        memory: parts and width of a policy's memory.
    """

    make: Callable[[], Rules]
    memory: tuple[int, int] | None = None

    def duel(self, first: Opponent, second: Opponent, seed: int) -> Tensor:
        """See `duel`."""
        return duel(self.make(), first, second, seed, memory=self.memory)


def duel(
    rules: Rules,
    first: Opponent,
    second: Opponent,
    seed: int,
    *,
    memory: tuple[int, int] | None = None,
    watch: Callable[[Rules], None] | None = None,
) -> Tensor:
    """Play one match on each board and return what `first` wins, `[N]`; it is player 0 on boards 0, 2, 4 ...

    Args:
        rules: of N boards; new matches begin on them.
        memory: parts and width of a policy's memory.
        watch: called before the first move and after each.
    """
    count, device = rules.boards, rules.device
    seats = torch.arange(count, device=device) % 2
    blank = None if memory is None else torch.zeros(memory[0], count, memory[1], device=device)
    sides = (Side(first, blank), seats), (Side(second, blank), 1 - seats)
    won = torch.zeros(count, device=device)
    with seeded(seed), torch.no_grad():
        rules.restart()
        going = torch.ones(count, dtype=torch.bool, device=device)
        if watch is not None:
            watch(rules)
        while bool(going.any()):
            decide = rules.to_move
            actions = torch.zeros(2, count, *rules.action_shape, dtype=torch.long, device=device)
            for side, seat in sides:
                boards = (torch.where(seat == 0, decide[0], decide[1]) & going).nonzero().squeeze(1)
                if len(boards):
                    actions[seat[boards], boards] = side.act(rules, boards, seat)
            gained, over = rules.play(actions, going)
            won += torch.where(seats == 0, gained, -gained)
            going = going > over
            if watch is not None:
                watch(rules)
    return won


def scores(won: Tensor) -> Tensor:
    """1 for a win, a half for a draw, 0 for a defeat, `[N]` from what was won."""
    return (won.sign() + 1) / 2
