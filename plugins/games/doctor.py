"""The estimator's doctor: how far an actor-critic's policy gradient is from that of the undiscounted return.

    cosine = <g, r> / sqrt(<g_1, g_2> <r_1, r_2>)

g is the estimator's gradient from a rollout of the current policy, without its losses for value and entropy; r is that
of `rloo` from many whole episodes, which is unbiased. Each is the mean of two independent halves, g_1 and g_2 of the
rollout's games, r_1 and r_2 of the episodes: products of halves have no noise in expectation, so that an estimator
whose mean points along the truth has a cosine of about 1 however noisy it is. Lengths are not compared: normalised
advantages have none of their own.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

import framework
from framework import Estimator, Program
from framework.data import interruptible
from framework.randomness import seeded
from plugins.games.experience import Experience
from plugins.games.rollouts import Rollout, collect_episodes


class Doctor:
    """Compares an estimator's policy gradient with `rloo`'s.

    Args:
        estimator, program: what is trained with; it is copied and left as it is.
        whole: the program of whole episodes, for `rloo`.
        every: rollouts between two comparisons.
        episodes: of the reference.

    Attributes:
        figures: the latest ones, by tag.
    """

    def __init__(
        self,
        experience: Experience,
        estimator: Estimator,
        program: Program,
        whole: Program,
        *,
        every: int,
        episodes: int,
    ) -> None:
        self.experience, self.every, self.episodes = experience, every, episodes
        self.program, self.whole = program, whole
        self.estimator: Any = estimator
        self.figures: dict[str, float] = {}

    def __call__(self, rollout: Rollout, number: int, seed: int) -> None:
        """Look at rollout number `number`, where it is due."""
        if number % self.every == 0:
            self.figures = self.examine(rollout, seed)

    @torch.enable_grad()
    def examine(self, rollout: Rollout, seed: int) -> dict[str, float]:
        """The figures of a rollout that the current policy has just played; a cosine that noise hides is left out."""
        games = self.experience.vector(self.episodes, "doctor")
        agent, device = self.experience.agent, self.experience.device
        with interruptible(), seeded(seed):
            episodes = collect_episodes(games, agent, agent.sample_actions, seed % 2**31, device)
            found = [self.gradient(half) for half in halves(rollout)]
            truth = [self.reference(half) for half in halves(episodes)]
        return figures(found, truth)

    def gradient(self, rollout: Rollout) -> Tensor:
        """The estimator's policy gradient, `[P]`."""
        estimator = copy.deepcopy(self.estimator)
        estimator.value_weight = estimator.entropy_weight = 0.0
        parameters = self.parameters()
        estimator.backward(self.program, parameters, rollout)
        return flat({name: value.grad for name, value in parameters.items()}, parameters)

    def reference(self, episodes: Rollout) -> Tensor:
        """`rloo`'s gradient, `[P]`."""
        parameters = self.parameters()
        estimate = framework.estimate(self.whole, parameters, episodes, estimator="rloo")
        return flat(estimate.gradients, parameters)

    def parameters(self) -> dict[str, Tensor]:
        """Copies of the agent's, with gradients of their own."""
        named = self.experience.agent.named_parameters()
        return {name: value.detach().clone().requires_grad_() for name, value in named}


def figures(found: list[Tensor], truth: list[Tensor]) -> dict[str, float]:
    """The figures by tag, from the two halves of the gradient and of the reference."""
    mean, reference = (found[0] + found[1]) / 2, (truth[0] + truth[1]) / 2
    product = float(mean @ reference)
    measured = product / max(1e-30, float(mean.norm() * reference.norm()))
    squares = float(found[0] @ found[1]), float(truth[0] @ truth[1])
    tags = {"doctor/measured_cosine": measured}
    if min(squares) > 0:
        tags["doctor/cosine"] = product / math.sqrt(squares[0] * squares[1])
    return tags


def halves(rollout: Rollout) -> list[Rollout]:
    """A rollout's games in two parts."""
    games = torch.arange(rollout.rewards.shape[1], device=rollout.rewards.device)
    return [rollout.select_games(part) for part in games.tensor_split(2)]


def flat(gradients: dict[str, Any], parameters: dict[str, Tensor]) -> Tensor:
    """All gradients in one vector; 0 where there is none."""
    parts = [
        torch.zeros_like(value) if gradients.get(name) is None else gradients[name]
        for name, value in parameters.items()
    ]
    return torch.cat([part.reshape(-1) for part in parts])
