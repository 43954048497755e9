"""Proximal policy optimisation: several passes over one record, each step kept near the policy that played it.

    loss = - mean min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t),    r_t = p(a_t | s_t) / p_behaviour(a_t | s_t)

(Schulman et al. 2017.) Every optimiser step is one `backward`: the task hands each record out `epochs` times in
`minibatches` parts, with the log-probabilities under which it was played. Advantages and targets are made anew from
the current prediction in every part, which serves better than those of the first pass (Andrychowicz et al. 2021).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from framework.capabilities import Capabilities
from framework.gradients.policy_gradient.actor_critic import (
    ActorCritic,
    Count,
    Lesson,
    Replay,
    Share,
    Weight,
    Width,
    explained_variance,
    squared_error,
)
from framework.gradients.policy_gradient.advantages import gae
from framework.program import RolloutPlan

Clip = Annotated[float, Field(gt=0, lt=1)]


@Capabilities(
    draws=("any",),
    evaluations="the recorded steps",
    recorded_actions=True,
    value_predictions=True,
    biased=True,
    bias="by discounting, predictions and clipping",
)
class PPO(ActorCritic):
    """Proximal policy optimisation: clipped ratios, several epochs over each record."""

    def __init__(
        self,
        *,
        epochs: Count = 4,
        minibatches: Count = 4,
        discount: Share = 0.99,
        decay: Share = 0.95,
        clip: Clip = 0.2,
        final_clip: Clip | None = None,
        anneal_steps: Count = 1000,
        clip_value: Width | None = None,
        largest_kl: Width | None = None,
        value_weight: Weight = 0.5,
        entropy_weight: Weight = 0.0,
        normalise: bool = True,
    ) -> None:
        super().__init__(
            rollouts=RolloutPlan(epochs, minibatches),
            discount=discount,
            decay=decay,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
        )
        self.clip = self.first_clip = clip
        self.final_clip = clip if final_clip is None else final_clip
        self.anneal_steps = anneal_steps
        self.calls = 0
        self.clip_value = clip_value
        self.largest_kl = largest_kl
        self.normalise = normalise

    def learn(self, replay: Replay) -> Lesson:
        """The clipped losses; refused where the policy is farther than `largest_kl` from the one that played."""
        share = min(1.0, self.calls / self.anneal_steps)
        self.clip = self.first_clip + share * (self.final_clip - self.first_clip)
        self.calls += 1
        advantages = gae(replay.transitions, self.discount, self.decay)
        targets = replay.transitions.values + advantages
        extras = self.panels(replay, targets)
        if self.normalise:
            advantages = replay.standardised(advantages)
        ratios = replay.ratios
        clipped = ratios.clamp(1 - self.clip, 1 + self.clip)
        policy_loss = -replay.mean(torch.minimum(ratios * advantages, clipped * advantages))
        far = self.largest_kl is not None and float(extras["kl"]) > self.largest_kl
        if self.largest_kl is not None:
            extras["kl_stops"] = float(far)
        return Lesson(policy_loss, self.value_loss(replay, targets), extras, refused=far)

    def value_loss(self, replay: Replay, targets: Tensor) -> Tensor:
        """Half the squared error; with `clip_value` the larger of it and that of a prediction kept near the old one."""
        old = replay.behaviour_value
        if self.clip_value is None or old is None:
            return squared_error(replay, targets)
        near = old + (replay.value - old).clamp(-self.clip_value, self.clip_value)
        errors = torch.maximum((replay.value - targets).square(), (near - targets).square())
        return 0.5 * replay.mean(errors)

    @torch.no_grad()
    def panels(self, replay: Replay, targets: Tensor) -> dict[str, Tensor | float]:
        """How far the policy has moved, how often the clip holds it, and how good the prediction is."""
        ratios = replay.ratios
        return {
            "kl": replay.mean(ratios - 1 - ratios.log()),  # never negative, and of low variance
            "clip_fraction": replay.mean(((ratios - 1).abs() > self.clip).to(ratios.dtype)),
            "explained_variance": explained_variance(replay, targets),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]
