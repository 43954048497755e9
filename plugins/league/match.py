"""Matches as games of one player: the learner's side is played from outside, the other one by opponents.

One step is the learner's move and all moves of the opponent until the learner decides again or the match ends. The next
match begins at once, with the learner on the other side and an opponent that is drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium.spaces import Dict, MultiBinary
from torch import Tensor

from framework.randomness import seeded
from plugins.games.environments.games import Frame, Games, Observation, Outcome
from plugins.games.policies.bodies import MASK
from plugins.league.opponents import Opponent, View, seen_by
from plugins.league.rules.contract import Rules

# What else there is to know about the boards than their rules' state.
KEPT = ("episodes", "opponent", "seat", "earned", "carried", "surprise", "untouched")


@dataclass(frozen=True)
class Results:
    """Matches that have ended: `opponents` by name, and what the learner won `[E]`."""

    opponents: list[str]
    payoffs: Tensor


class Match(Games):
    """N boards with a learner at one side of each.

    Args:
        rules: of N boards.
        players: the opponents by name; more may come.
        candidates: the names from which new matches draw their opponent, each as likely as its place in the list.
        memory: parts and width of a policy's memory, which each opponent has of its match; None: none has any.
        shaping: how much of the change of `Rules.progress` is added to the rewards; results are without it.
        regularisation: how much of the opponent's `Move.surprise` is added to the rewards, too.

    Attributes:
        seat: `[N]`, which player the learner is.
        opponent: `[N]`, indices in `names`.
        results: of the matches that ended since they were last taken.
    """

    def __init__(
        self,
        rules: Rules,
        players: Mapping[str, Opponent],
        candidates: Sequence[str],
        *,
        memory: tuple[int, int] | None = None,
        shaping: float = 0.0,
        regularisation: float = 0.0,
    ) -> None:
        self.rules, self.players, self.candidates = rules, players, list(candidates)
        self.count, self.device = rules.boards, rules.device
        self.shaping, self.regularisation = shaping, regularisation
        self.observation_space = with_mask(rules)
        self.action_space = rules.action_space
        self.frames_per_second = rules.frames_per_second
        self.memory_shape = memory
        self.numbers = torch.arange(self.count, device=self.device)
        self.results: list[Results] = []
        self.clear()

    def clear(self) -> None:
        def zeros(kind: torch.dtype) -> Tensor:
            return torch.zeros(self.count, dtype=kind, device=self.device)

        # Opponents move in the order of their names here: new boards begin again, whoever was met before.
        self.names: list[str] = []
        self.episodes, self.opponent = zeros(torch.long), zeros(torch.long)
        self.seat = self.numbers % 2
        self.earned, self.carried = zeros(torch.float), zeros(torch.float)
        # The opponent's since the learner's last move.
        self.surprise = zeros(torch.float)
        # The opponent has not moved in this match.
        self.untouched = zeros(torch.bool)
        self.memory: Tensor | None = None
        if self.memory_shape is not None:
            parts, width = self.memory_shape
            self.memory = torch.zeros(parts, self.count, width, device=self.device)

    # --- the contract of games ----------------------------------------------------------------------------------------

    def reset(self, seed: int) -> Observation:
        self.clear()
        self.results = []
        with seeded(seed):
            everywhere = torch.ones(self.count, dtype=torch.bool, device=self.device)
            self.begin(everywhere)
        return seen_by(self.rules, self.seat)

    def step(self, actions: Tensor) -> Outcome:
        before = self.potential()
        everywhere = torch.ones(self.count, dtype=torch.bool, device=self.device)
        rewards, ended = self.advance(actions, everywhere)
        rewards = rewards + self.carried + self.regularisation * self.surprise
        self.carried, self.surprise = (
            torch.zeros_like(self.carried),
            torch.zeros_like(self.surprise),
        )
        if before is not None:
            after = self.potential()
            assert after is not None
            # Of nothing once the match is over, so that the best policy stays the best (Ng et al. 1999).
            rewards = rewards + self.shaping * (after.masked_fill(ended, 0.0) - before)
        if bool(ended.any()):
            self.report(ended)
            self.begin_anew(ended)
        return Outcome(
            observations=seen_by(self.rules, self.seat),
            rewards=rewards,
            terminated=ended,
            truncated=torch.zeros_like(ended),
            valid=everywhere,
            episode_start=ended,
        )

    def render(self) -> Frame:
        return self.rules.picture(0)

    # --- playing ------------------------------------------------------------------------------------------------------

    def advance(self, actions: Tensor | None, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Play until the learner decides everywhere, or the match has ended.

        Args:
            actions: `[N, ...]`, the learner's.
            turn: `[N]`, the boards on which its action is to be played.

        Returns:
            what it gained `[N]`, and which matches ended `[N]`.
        """
        rules, first = self.rules, self.seat == 0
        rewards, ended = torch.zeros(self.count, device=self.device), torch.zeros_like(turn)
        while True:
            of_first, of_second = rules.to_move
            mine = torch.where(first, of_first, of_second)
            theirs = torch.where(first, of_second, of_first)
            plays = torch.where(mine, turn, theirs)
            if not bool(plays.any()):
                break
            answers = self.answers(plays & theirs)
            own = torch.zeros_like(answers) if actions is None else actions
            leads = first.view(-1, *[1] * (answers.dim() - 1))
            both = torch.stack([torch.where(leads, own, answers), torch.where(leads, answers, own)])
            gained, over = rules.play(both, plays)
            rewards = rewards + torch.where(first, gained, -gained)
            ended = ended | over
            # Once each.
            turn = turn > plays
        self.earned = self.earned + rewards
        return rewards, ended

    def answers(self, asked: Tensor) -> Tensor:
        """The opponents' actions `[N, ...]` on the boards where they are to move, `asked [N]`; 0 elsewhere."""
        rules, rivals = self.rules, 1 - self.seat
        shape = (self.count, *rules.action_shape)
        answers = torch.zeros(shape, dtype=torch.long, device=self.device)
        boards = asked.nonzero().squeeze(1)
        if len(boards) == 0:
            return answers
        observation = seen_by(rules, rivals)
        who = self.opponent[boards]
        for number in who.unique().tolist():
            rows = boards[who == number]
            memory = None if self.memory is None else self.memory[:, rows]
            view = View(
                rules,
                rows,
                rivals[rows],
                {name: part[rows] for name, part in observation.items()},
                memory,
                self.untouched[rows],
            )
            move = self.players[self.names[number]].act(view)
            answers[rows] = move.actions
            if self.memory is not None and move.memory is not None:
                self.memory = self.memory.index_copy(1, rows, move.memory)
            if move.surprise is not None:
                self.surprise[rows] += move.surprise
        self.untouched = self.untouched > asked
        return answers

    def begin_anew(self, ended: Tensor) -> None:
        """Begin the next matches, the learner on the other side."""
        self.episodes = self.episodes + ended
        self.seat = (self.numbers + self.episodes) % 2
        self.begin(ended)

    def begin(self, which: Tensor) -> None:
        """New matches on some boards, played until the learner decides; `which [N]`."""
        while bool(which.any()):
            self.rules.restart(which)
            drawn = torch.randint(len(self.candidates), (self.count,)).to(self.device)
            self.opponent = torch.where(which, self.of_names()[drawn], self.opponent)
            self.earned = self.earned.masked_fill(which, 0.0)
            self.surprise = self.surprise.masked_fill(which, 0.0)
            self.untouched = self.untouched | which
            if self.memory is not None:
                self.memory = self.memory.masked_fill(which.view(1, -1, 1), 0.0)
            rewards, ended = self.advance(None, torch.zeros_like(which))
            self.carried = self.carried + rewards.masked_fill(ended, 0.0)
            which = ended
            if bool(which.any()):
                # It ended before the learner could move.
                self.report(which)
                self.episodes = self.episodes + which
                self.seat = (self.numbers + self.episodes) % 2

    def of_names(self) -> Tensor:
        """The candidates' indices in `names`, to which new ones are added."""
        self.names += [name for name in dict.fromkeys(self.candidates) if name not in self.names]
        return torch.tensor(
            [self.names.index(name) for name in self.candidates], device=self.device
        )

    def report(self, ended: Tensor) -> None:
        who = self.opponent[ended].tolist()
        self.results.append(Results([self.names[number] for number in who], self.earned[ended]))

    def take_results(self) -> list[Results]:
        """The results since the last time."""
        results, self.results = self.results, []
        return results

    def potential(self) -> Tensor | None:
        """The progress of the learner's position, `[N]`, where rewards are shaped by it."""
        progress = self.rules.progress() if self.shaping else None
        return None if progress is None else torch.where(self.seat == 0, progress, -progress)

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "rules": self.rules.state_dict(),
            "names": list(self.names),
            "candidates": list(self.candidates),
            "memory": self.memory,
            **{name: getattr(self, name) for name in KEPT},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rules.load_state_dict(state["rules"])
        self.names, self.candidates = list(state["names"]), list(state["candidates"])
        for name in KEPT:
            setattr(self, name, state[name].to(self.device))
        self.memory = None if state["memory"] is None else state["memory"].to(self.device)


def with_mask(rules: Rules) -> Dict:
    """The observations of an agent: those of the rules, by name, with the mask of actions."""
    seen = rules.observation_space
    named = dict(seen.spaces) if isinstance(seen, Dict) else {"observation": seen}
    return Dict({**named, MASK: MultiBinary(rules.choices)})
