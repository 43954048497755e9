"""Leduc poker: six cards of three ranks, two rounds of betting, a public card between them (Southey et al. 2005).

As OpenSpiel's: an ante of 1, raises of 2 and then of 4, two of them at most in each round; a player who faces no raise
cannot fold, and player 0 begins both rounds. The suits of the cards do not matter, so that only ranks are seen.
"""

from __future__ import annotations

import itertools
import math

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from plugins.games.environments.native.games import State
from plugins.league.rules.contract import Rules

CARDS = "JQK"
# Of each rank.
SUITS = 2
FOLD, CALL, RAISE = range(3)
ACTIONS = ("fold", "call", "raise")
RAISES = (2, 4)
MOST_RAISES = 2
# Actions of a round: check, raise, raise, call.
ROUND = 4


class Leduc(Rules):
    """Fold, call or raise with one card of your own, and again once a public card is seen; a pair wins."""

    longest = 2 * ROUND
    observation_space = Box(0, 1, (2 * len(CARDS) + 2 + 2 * ROUND * 2,), numpy.float32)
    action_space = Discrete(3)

    def begin(self, count: int) -> State:
        deck = torch.rand(count, SUITS * len(CARDS), device=self.device).argsort(-1)
        return self.dealt(deck[:, :3] // SUITS)

    def dealt(self, cards: Tensor) -> State:
        """Matches with these ranks `[N, 3]`: of player 0, of player 1, and the public one."""
        count = len(cards)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(count, *shape, dtype=torch.long, device=self.device)

        return {
            "cards": cards,
            # Of each round: no action, a call or a raise.
            "actions": zeros(2, ROUND),
            "round": zeros(),
            "moves": zeros(),
            "raises": zeros(),
            "stakes": zeros(2) + 1,
            "ended": zeros().bool(),
        }

    @property
    def mover(self) -> Tensor:
        """Players take turns in each round, `[N]`."""
        return self.state["moves"] % 2

    @property
    def to_move(self) -> Tensor:
        going = ~self.state["ended"]
        return torch.stack([going & (self.mover == 0), going & (self.mover == 1)])

    def observe(self, player: Tensor) -> Tensor:
        """The own card, the public one from the second round on, who one is, and every action as a call or a raise."""
        cards, actions = self.state["cards"], self.state["actions"]
        ranks = torch.arange(len(CARDS), device=self.device)
        own = cards.gather(1, player.unsqueeze(1)) == ranks
        public = (cards[:, 2:] == ranks) & (self.state["round"] > 0).unsqueeze(1)
        who = player.unsqueeze(1) == torch.arange(2, device=self.device)
        done = torch.stack([actions == CALL, actions == RAISE], -1).flatten(1)
        return torch.cat([own, public, who, done], 1).float()

    def mask(self, player: Tensor) -> Tensor:
        stakes = self.state["stakes"]
        faces_raise = stakes.gather(1, player.unsqueeze(1)).squeeze(1) < stakes.amax(1)
        may_raise = self.state["raises"] < MOST_RAISES
        return torch.stack([faces_raise, torch.ones_like(may_raise), may_raise], 1)

    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        state, mover = self.state, self.mover
        which = which & ~state["ended"]
        action = torch.where(mover == 0, actions[0], actions[1])
        folds, raises = which & (action == FOLD), which & (action == RAISE)
        calls = which & (action == CALL)
        # What one has not put in is put in, and a raise goes beyond it.
        most = state["stakes"].amax(1)
        size = torch.tensor(RAISES, device=self.device)[state["round"]]
        stake = torch.where(raises, most + size, most).unsqueeze(1)
        index = mover.unsqueeze(1)
        pays = (calls | raises).unsqueeze(1)
        own = torch.where(pays, stake, state["stakes"].gather(1, index))
        stakes = state["stakes"].scatter(1, index, own)
        # A round ends by a call, but for the one that opens it.
        over = calls & (state["moves"] > 0)
        shows, goes_on = over & (state["round"] == 1), over & (state["round"] == 0)
        ended = folds | shows
        slot = state["round"] * ROUND + state["moves"].clamp(max=ROUND - 1)
        written = state["actions"].flatten(1)
        done = written.scatter(1, slot.unsqueeze(1), action.unsqueeze(1))
        stays = ~which.unsqueeze(1)
        self.state = {
            "cards": state["cards"],
            "actions": torch.where(stays, written, done).unflatten(1, (2, ROUND)),
            "round": state["round"] + goes_on,
            "moves": torch.where(goes_on, 0, state["moves"] + which),
            "raises": torch.where(goes_on, 0, state["raises"] + raises),
            "stakes": stakes,
            "ended": state["ended"] | ended,
        }
        lost = stakes.gather(1, index).squeeze(1)
        by_fold = torch.where(mover == 0, -lost, lost)
        payoff = torch.where(folds, by_fold, self.winner() * stakes[:, 0])
        return (payoff * ended).float(), ended

    def winner(self) -> Tensor:
        """1 where player 0 holds the better hand, -1 where player 1 does, 0 where they are alike."""
        first, second, public = self.state["cards"].unbind(1)
        strength = [card + len(CARDS) * (card == public) for card in (first, second)]
        return (strength[0] - strength[1]).sign()

    def deals(self) -> tuple[State, Tensor]:
        ranks = [r for r in itertools.product(range(len(CARDS)), repeat=3) if len(set(r)) > 1]
        ways = [math.prod(SUITS - r[:i].count(card) for i, card in enumerate(r)) for r in ranks]
        chances = torch.tensor(ways, dtype=torch.float64, device=self.device)
        return self.dealt(torch.tensor(ranks, device=self.device)), (
            chances / chances.sum()
        ).float()

    def words(self, board: int, player: int) -> str:
        state = {name: value[board] for name, value in self.state.items()}
        public = CARDS[int(state["cards"][2])] if int(state["round"]) else "not yet dealt"
        rounds = [[ACTIONS[int(a)] for a in row if int(a)] for row in state["actions"]]
        own, other = (int(state["stakes"][p]) for p in (player, 1 - player))
        return (
            f"Your card: {CARDS[int(state['cards'][player])]} (of J < Q < K, twice). Public card: {public}.\n"
            f"First round: {', '.join(rounds[0]) or 'nothing'}. Second: {', '.join(rounds[1]) or 'nothing'}.\n"
            f"You have put in {own}, the other {other}."
        )

    def reveal(self, board: int) -> str:
        first, second, public = (CARDS[int(card)] for card in self.state["cards"][board])
        return f"The first player held {first}, the second {second}; the public card is {public}."

    def action_word(self, action: int) -> str:
        return ACTIONS[action]
