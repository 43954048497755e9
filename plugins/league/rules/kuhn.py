"""Kuhn poker: three cards, an ante of 1 and one bet of 1 (Kuhn 1950). The first player's value is -1/18."""

from __future__ import annotations

import itertools

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.games.environments.native.games import State
from plugins.league.rules.contract import Rules

CARDS = "JQK"
ACTIONS = ("pass", "bet")
# A history is a 1 followed by the actions as binary digits.
FIRST, PASSED, BET, PASSED_BET = 0b1, 0b10, 0b11, 0b101
DECISIONS = (FIRST, PASSED, BET, PASSED_BET)
# The histories that end the match: what the better card wins, or what player 0 wins where one has folded.
SHOWDOWNS = {0b100: 1, 0b111: 2, 0b1011: 2}
FOLDED = {0b110: 1, 0b1010: -1}


class Kuhn(Rules):
    """Each player holds one of three cards; pass or bet, and answer a bet by calling it or folding."""

    longest = 3
    observation_space = Box(0, 1, (len(CARDS) + len(DECISIONS),), numpy.float32)
    action_space = Discrete(2)

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        super().__init__(boards, device)
        histories = range(0b1100)
        self.mover = self.table(
            [{FIRST: 0, PASSED: 1, BET: 1, PASSED_BET: 0}.get(h, 2) for h in histories]
        )
        self.ends = self.table([h in SHOWDOWNS or h in FOLDED for h in histories])
        self.stake = self.table([SHOWDOWNS.get(h, 0) for h in histories])
        self.folded = self.table([FOLDED.get(h, 0) for h in histories])

    def table(self, values: list[int] | list[bool]) -> Tensor:
        return torch.tensor(values, device=self.device)

    def begin(self, count: int) -> State:
        deck = torch.rand(count, len(CARDS), device=self.device).argsort(-1)
        return {"cards": deck[:, :2], "history": torch.ones_like(deck[:, 0])}

    @property
    def to_move(self) -> Tensor:
        mover = self.mover[self.state["history"]]
        return torch.stack([mover == 0, mover == 1])

    def observe(self, player: Tensor) -> Tensor:
        """The own card, and what has been done, each as a vector of zeros and a one."""
        own = self.state["cards"].gather(1, player.unsqueeze(1))
        cards = own == torch.arange(len(CARDS), device=self.device)
        history = self.state["history"].unsqueeze(1) == torch.tensor(DECISIONS, device=self.device)
        return torch.cat([cards, history], 1).float()

    def mask(self, player: Tensor) -> Tensor:
        return torch.ones(self.boards, 2, dtype=torch.bool, device=self.device)

    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        cards, history = self.state["cards"], self.state["history"]
        mover = self.mover[history]
        which = which & (mover < 2)
        action = torch.where(mover == 0, actions[0], actions[1])
        history = torch.where(which, 2 * history + action, history)
        self.state = {"cards": cards, "history": history}
        ended = which & self.ends[history]
        better = torch.where(cards[:, 0] > cards[:, 1], 1, -1)
        payoff = self.stake[history] * better + self.folded[history]
        return (payoff * ended).float(), ended

    def deals(self) -> tuple[State, Tensor]:
        hands = list(itertools.permutations(range(len(CARDS)), 2))
        state = {
            "cards": torch.tensor(hands, device=self.device),
            "history": torch.ones(len(hands), dtype=torch.long, device=self.device),
        }
        return state, torch.full((len(hands),), 1 / len(hands), device=self.device)

    def words(self, board: int, player: int) -> str:
        history = [ACTIONS[int(a)] for a in f"{int(self.state['history'][board]):b}"[1:]]
        card = CARDS[int(self.state["cards"][board, player])]
        return f"Your card: {card} (of J < Q < K). So far: {', '.join(history) or 'nothing'}."

    def reveal(self, board: int) -> str:
        first, second = (CARDS[int(card)] for card in self.state["cards"][board])
        return f"The first player held {first}, the second {second}."

    def action_word(self, action: int) -> str:
        return ACTIONS[action]
