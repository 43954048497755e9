"""A teacher: a policy that imitates it is where every learner begins, and may be what they are held to."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from framework import Context, ranks
from framework.batch import map_tensors
from framework.randomness import key
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import Rollout
from plugins.league.cloning import clone, divergence
from plugins.league.league.learners import frozen, saved
from plugins.league.opponents import Opponent
from plugins.league.rules.contract import Rules


class Teaching:
    """What is learned from a teacher.

    Args:
        teacher: a script or a search.
        epochs: passes over its decisions.
        noise: the part of the moves in its matches that are made at random.
        weight: of the divergence from its imitation while training.

    Attributes:
        pupil: the policy that imitates it; None until there is one.
    """

    def __init__(self, teacher: Opponent, *, epochs: int, noise: float, weight: float) -> None:
        self.teacher, self.epochs, self.noise, self.weight = teacher, epochs, noise, weight
        self.pupil: Agent | None = None

    def begin(
        self, agents: Iterable[Agent], rules: Rules, seed: int, memory: tuple[int, int] | None
    ) -> None:
        """Every agent begins as the policy that imitates the teacher best.

        Args:
            rules: of as many boards as matches are imitated at once.
            memory: parts and width of a policy's memory.
        """
        first, *others = agents
        # Of several processes one imitates, and the others take over what it has learned.
        if ranks.rank() == 0:
            clone(
                first,
                self.teacher,
                rules,
                key(seed, "cloning") % 2**31,
                epochs=self.epochs,
                noise=self.noise,
                memory=memory,
            )
        ranks.wait_for_first()
        first.load_state_dict(ranks.of_first(saved(first)))
        self.pupil = frozen(first)
        for agent in others:
            agent.load_state_dict(first.state_dict())

    def charge(self, context: Context, agent: Agent, batch: Rollout) -> None:
        """Charge the divergence from the policy that was cloned from the teacher (Vinyals et al. 2019)."""
        if not self.weight:
            return
        assert self.pupil is not None
        steps = len(batch.actions)
        seen = map_tensors(lambda part: part[:steps], batch.observations)
        recorded = seen, batch.memory, batch.episode_start[:steps]
        with torch.no_grad():
            habit = self.pupil.policy(*recorded)
        apart = divergence(agent.policy(*recorded), habit)
        mean = apart.masked_fill(~batch.valid, 0.0).sum() / batch.valid.sum().clamp(min=1)
        context.penalty(self.weight * mean, "teacher")
