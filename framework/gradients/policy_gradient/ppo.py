"""Proximal policy optimisation: several passes over one rollout, each step kept near the policy that collected it.

    loss = - mean min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t),    r_t = p(a_t | s_t) / p_behaviour(a_t | s_t)

(Schulman et al. 2017.) Every optimiser step is one `backward`: the task returns each rollout `epochs` times in
`minibatches` parts, with the log-probabilities under which it was collected. Advantages and targets are computed again
from the current prediction in every part, which works better than those of the first pass (Andrychowicz et al. 2021).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from framework.capabilities import Capabilities
from framework.config.types import Count, CountOrZero, Fraction, NonNegative, Positive
from framework.gradients.policy_gradient.actor_critic import (
    ActorCritic,
    ActorCriticLoss,
    explained_variance,
    squared_error,
)
from framework.gradients.policy_gradient.advantages import gae
from framework.gradients.policy_gradient.trajectory import EvaluatedTrajectory
from framework.program import RolloutPlan
from framework.saved_state import check_saved

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
    """Proximal policy optimisation: clipped ratios, several epochs over each rollout."""

    def __init__(
        self,
        *,
        epochs: Count = 4,
        minibatches: Count = 4,
        discount: Fraction = 0.99,
        gae_lambda: Fraction = 0.95,
        clip: Clip = 0.2,
        final_clip: Clip | None = None,
        anneal_steps: Count = 1000,
        clip_value: Positive | None = None,
        target_kl: Positive | None = None,
        value_weight: NonNegative = 0.5,
        entropy_weight: NonNegative = 0.0,
        normalise_advantages: bool = True,
    ) -> None:
        super().__init__(
            rollouts=RolloutPlan(epochs, minibatches),
            discount=discount,
            gae_lambda=gae_lambda,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
        )
        self.clip = self.first_clip = clip
        self.final_clip = clip if final_clip is None else final_clip
        self.anneal_steps = anneal_steps
        self.calls = 0
        self.clip_value = clip_value
        self.target_kl = target_kl
        self.normalise_advantages = normalise_advantages
        # A clip that is annealed is another number in each call, and whether a policy is too far has to be read.
        self.capturable = target_kl is None and self.final_clip == clip

    def repeated(self) -> None:
        self.calls += 1

    def losses(self, trajectory: EvaluatedTrajectory) -> ActorCriticLoss:
        """The clipped losses; no update where the policy is farther than `target_kl` from the recorded one."""
        progress = min(1.0, self.calls / self.anneal_steps)
        self.clip = self.first_clip + progress * (self.final_clip - self.first_clip)
        self.calls += 1
        advantages = gae(trajectory.transitions, self.discount, self.gae_lambda)
        targets = trajectory.transitions.values + advantages
        extras = self.diagnostics(trajectory, targets)
        if self.normalise_advantages:
            advantages = trajectory.standardised(advantages)
        ratios = trajectory.ratios
        clipped = ratios.clamp(1 - self.clip, 1 + self.clip)
        policy_loss = -trajectory.mean(torch.minimum(ratios * advantages, clipped * advantages))
        far = self.target_kl is not None and float(extras["kl"]) > self.target_kl
        if self.target_kl is not None:
            extras["kl_stops"] = float(far)
        return ActorCriticLoss(
            policy_loss, self.value_loss(trajectory, targets), extras, skip_update=far
        )

    def value_loss(self, trajectory: EvaluatedTrajectory, targets: Tensor) -> Tensor:
        """Half the squared error; with `clip_value` the larger of it and that of a prediction kept near the old one."""
        old = trajectory.behaviour_value
        if self.clip_value is None or old is None:
            return squared_error(trajectory, targets)
        near = old + (trajectory.value - old).clamp(-self.clip_value, self.clip_value)
        errors = torch.maximum((trajectory.value - targets).square(), (near - targets).square())
        return 0.5 * trajectory.mean(errors)

    @torch.no_grad()
    def diagnostics(
        self, trajectory: EvaluatedTrajectory, targets: Tensor
    ) -> dict[str, Tensor | float]:
        """How far the policy has moved, how often the clip applies, and how good the prediction is."""
        ratios = trajectory.ratios
        return {
            # Never negative, and of low variance.
            "kl": trajectory.mean_of_all(ratios - 1 - ratios.log()),
            "clip_fraction": trajectory.mean(((ratios - 1).abs() > self.clip).to(ratios.dtype)),
            "explained_variance": explained_variance(trajectory, targets),
        }

    # Its advantages are scaled by each part alone.
    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("ppo", state, calls=CountOrZero)
        self.calls = state["calls"]
