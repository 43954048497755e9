"""Learners: an agent each, its matches, and when it is copied into the league or begins again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from framework import Estimator
from framework.batch import map_tensors
from plugins.games.environments.games import Games
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.episode_log import EpisodeLog
from plugins.games.experience import Experience
from plugins.games.pieces import piece_length
from plugins.games.policies.agent import Agent
from plugins.games.rewards import RewardOptions
from plugins.games.rollouts import Rollout, RolloutBuffer
from plugins.league.match import Match

# A learner whose win rate against each opponent is above this is copied early (Vinyals et al. 2019).
BEATS = 0.7
# How likely a league exploiter begins again once it is copied.
RESET = 0.25
# Of an agent's parts.
PREDICTIONS = ("value_body.", "value_head.")


class Matches(Experience):
    """Experience of matches, whose rewards may be held against another policy's habits.

    Args:
        make: a vector of that many matches.
        regularisation: eta of r - eta log(p(a) / p_reference(a)) (Perolat et al. 2021, eq. 5).

    Attributes:
        reference: the policy that a regularised learner is held to.
    """

    def __init__(
        self,
        name: str,
        agent: Agent,
        log: EpisodeLog,
        make: Callable[[int], Match],
        *,
        count: int,
        rollout_steps: int,
        regularisation: float = 0.0,
    ) -> None:
        super().__init__(
            EnvironmentOptions(environment=name),
            RewardOptions(scale=1.0, clip=False, terminal_on_life_loss=False),
            agent,
            log,
            count=count,
            rollout_steps=rollout_steps,
        )
        self.make = make
        self.regularisation = regularisation
        self.reference: Agent | None = None
        self.candidates: list[str] = []

    def vector(self, count: int, purpose: str = "training") -> Games:
        if (purpose, count) not in self.vectors:
            self.vectors[purpose, count] = made = self.make(count)
            made.candidates = self.candidates or made.candidates
        return self.vectors[purpose, count]

    def serve(self, estimator: Estimator, minibatches: int) -> None:
        """Cut rollouts as the estimator's minibatches need them."""
        recurrent = self.agent.memory is not None
        self.pieces = piece_length(
            minibatches, self.count, self.rollout_steps, recurrent=recurrent, key="task.boards"
        )
        self.discount = getattr(estimator, "discount", 1.0)
        self.trace_decay = getattr(estimator, "gae_lambda", 1.0)

    def meet(self, candidates: list[str]) -> None:
        """Draw the opponents of new matches from these, in all vectors."""
        self.candidates = candidates
        for vector in self.vectors.values():
            cast(Match, vector).candidates = candidates

    @property
    def match(self) -> Match:
        """The matches that are trained on."""
        found = self.vector(self.count)
        assert isinstance(found, Match)
        return found

    def rollout(self, buffer: RolloutBuffer, seed: int) -> Rollout:
        return self.held(super().rollout(buffer, seed))

    def episodes(self, seed: int) -> Rollout:
        return self.held(super().episodes(seed))

    def held(self, rollout: Rollout) -> Rollout:
        """A rollout whose rewards charge the learner's departure from the reference."""
        if self.reference is None:
            return rollout
        with torch.no_grad():
            steps = len(rollout.actions)
            seen = map_tensors(lambda part: part[:steps], rollout.observations)
            starts = rollout.episode_start[:steps]
            habit = self.reference.policy(seen, None, starts).log_prob(rollout.actions)
            own = rollout.log_prob
            if own is None:
                own = self.agent.policy(seen, None, starts).log_prob(rollout.actions)
            charge = self.regularisation * (own - habit) * rollout.valid
        return replace(rollout, rewards=rollout.rewards - charge)


@dataclass
class Learner:
    """One agent that learns in the league.

    Attributes:
        role: by which its opponents are chosen; see `matchmaking`.
        first: the parameters it begins again with.
        age: its rollouts since it was last copied into the league.
    """

    name: str
    role: str
    agent: Agent
    matches: Matches
    first: dict[str, Tensor]
    age: int = 0

    def is_due(self, every: int, rates: list[float]) -> bool:
        """Whether it is copied now: after `every` rollouts; in a league once it beats all, or after twice as many."""
        if self.age < every or self.role in ("self", "average", "exploiter"):
            return self.age >= every
        return min(rates, default=1.0) > BEATS or self.age >= 2 * every

    def begins_anew(self, chance: float) -> bool:
        """Whether it returns to its first parameters once it is copied; `chance` is a number from 0 to 1.

        A best response to an average is learned from there, too: a policy that is sure of an action hardly unlearns it.
        """
        chances = {"main_exploiter": 1.0, "average": 1.0, "league_exploiter": RESET}
        return chance < chances.get(self.role, 0.0)

    def reset(self, prefix: str) -> dict[str, Tensor]:
        """Return to the first parameters; the rows that were put elsewhere, by name, for the optimiser.

        Against an average, which changes little, predictions are kept.
        """
        kept = PREDICTIONS if self.role == "average" else ()
        first = {name: value for name, value in self.first.items() if not name.startswith(kept)}
        self.agent.load_state_dict(first, strict=False)
        return {
            f"{prefix}.{name}": torch.arange(len(value), device=value.device)
            for name, value in self.agent.named_parameters()
            if name in first
        }


def frozen(agent: Agent) -> Agent:
    """A copy that no longer learns."""
    twin = copy.deepcopy(agent)
    return twin.requires_grad_(False).eval()


def saved(agent: Agent) -> dict[str, Any]:
    """An agent's tensors, as they are now."""
    return {name: value.detach().clone() for name, value in agent.state_dict().items()}
