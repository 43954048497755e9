"""A matrix game, once or several times over: both players choose at once, and player 0 gains an entry of the matrix."""

from __future__ import annotations

from typing import Annotated

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from pydantic import Field
from torch import Tensor

from framework.config.types import Count
from framework.errors import UserError
from plugins.games.environments.native.games import State
from plugins.league.rules.contract import Rules

# Rock, paper, scissors with a rock that counts double: the equilibrium is 1/4, 1/2, 1/4.
ROCK_PAPER_SCISSORS = [[0.0, -1.0, 2.0], [1.0, 0.0, -1.0], [-2.0, 1.0, 0.0]]


class Matrix(Rules):
    """Both choose at once; each sees what was chosen in earlier rounds.

    Args:
        payoffs: `[A, A]`, what player 0 gains; rows are its own choices.
        rounds: how often a match repeats the game.
    """

    frames_per_second = 1.0

    def __init__(
        self,
        boards: int,
        device: torch.device | str = "cpu",
        *,
        payoffs: Annotated[list[list[float]], Field(min_length=2)] = ROCK_PAPER_SCISSORS,
        rounds: Count = 1,
    ) -> None:
        super().__init__(boards, device)
        if any(len(row) != len(payoffs) for row in payoffs):
            raise UserError(
                f"task.game_options.payoffs = {payoffs}: expected as many columns as rows; a choice that only one "
                "player has may be made a bad one for the other"
            )
        self.payoffs = torch.tensor(payoffs, device=self.device)
        if not bool(self.payoffs.isfinite().all()):
            raise UserError(
                f"task.game_options.payoffs = {payoffs}: expected numbers that a 32-bit float holds"
            )
        self.longest = self.rounds = rounds
        self.actions = len(payoffs)
        self.action_space = Discrete(self.actions)
        self.observation_space = Box(0, 1, (rounds, 1 + 2 * self.actions), numpy.float32)

    def begin(self, count: int) -> State:
        return {
            # Of each round and player; -1: not yet chosen.
            "chosen": torch.full((count, self.rounds, 2), -1, device=self.device),
            "played": torch.zeros(count, dtype=torch.long, device=self.device),
        }

    @property
    def to_move(self) -> Tensor:
        return (self.state["played"] < self.rounds).expand(2, -1)

    def observe(self, player: Tensor) -> Tensor:
        """Of each round whether it is under way, the own choice and the other's, `[N, rounds, 1 + 2 A]`."""
        chosen = self.state["chosen"]
        own_first = torch.where(player.view(-1, 1, 1) == 0, chosen, chosen.flip(-1))
        ones = own_first.unsqueeze(-1) == torch.arange(self.actions, device=self.device)
        now = self.state["played"].unsqueeze(1) == torch.arange(self.rounds, device=self.device)
        return torch.cat([now.unsqueeze(-1), ones.flatten(2)], -1).float()

    def mask(self, player: Tensor) -> Tensor:
        return torch.ones(self.boards, self.actions, dtype=torch.bool, device=self.device)

    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        chosen, played = self.state["chosen"], self.state["played"]
        which = which & (played < self.rounds)
        now = played.unsqueeze(1) == torch.arange(self.rounds, device=self.device)
        written = (now & which.unsqueeze(1)).unsqueeze(-1)
        self.state = {
            "chosen": torch.where(written, actions.T.unsqueeze(1), chosen),
            "played": played + which,
        }
        payoff = self.payoffs[actions[0], actions[1]] * which
        return payoff, which & (self.state["played"] == self.rounds)

    def deals(self) -> tuple[State, Tensor]:
        return self.begin(1), torch.ones(1, device=self.device)

    def words(self, board: int, player: int) -> str:
        chosen = self.state["chosen"][board, :, [player, 1 - player]].tolist()
        rounds = [f"you {own}, the other {other}" for own, other in chosen if own >= 0]
        return (
            f"Round {len(rounds) + 1} of {self.rounds}. So far: {'; '.join(rounds) or 'nothing'}."
        )
