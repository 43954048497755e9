"""Twin delayed deterministic policy gradient: the slope of a learned critic at the policy's mean action.

    a'      = mean'(s') + clip(noise, -c, c)                                   target policy smoothing
    critic  1/2 sum_k mean (Q_k(s, a) - R - gamma^m min_k Q'_k(s', a'))^2      of replayed actions
    actor   - mean Q_1(s, mean(s))                                             in every d-th update

(Fujimoto et al. 2018; Silver et al. 2014.) The primed networks are slow copies. The policy's own deviation is the noise
by which it explores, and is not learned.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.config.types import Count, Fraction, FractionAboveZero, NonNegative
from framework.gradients.estimator import Estimate
from framework.gradients.off_policy.learned_critic import (
    LearnedCritic,
    bootstrapped,
    critics_of,
    differentiate,
    policy_of,
    squared_errors,
    values_of,
)
from framework.parameters import Parameters
from framework.program import Program
from framework.replay import ReplayedSteps, ReplayPlan


class MeanAction:
    """The distribution's mean, with the gradient of its parameters."""

    name = "mean_action"
    scored = False
    biased = True
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        mean = distribution.mean
        return mean.expand(*shape, *mean.shape)


class SmoothedAction:
    """The mean and a little noise of a width of its own, cut off at `limit`."""

    name = "smoothed_action"
    scored = False
    biased = True
    relaxed = False

    def __init__(self, noise: float, limit: float) -> None:
        self.noise, self.limit = noise, limit

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        mean = distribution.mean
        noise = torch.randn(*shape, *mean.shape, dtype=mean.dtype, device=mean.device)
        return mean + (self.noise * noise).clamp(-self.limit, self.limit)


@Capabilities(
    draws=("path",),
    evaluations="the replayed steps",
    costs="differentiable",
    action_values=True,
    biased=True,
    bias="by the learned critic's slope, taken at the mean",
)
class TD3(LearnedCritic):
    """Twin delayed deterministic policy gradient: the slope of a learned critic at the policy's mean action."""

    def __init__(
        self,
        *,
        discount: Fraction = 0.99,
        n_step: Count = 1,
        capacity: Count = 100_000,
        batch_size: Count = 256,
        warmup_steps: Count = 1000,
        steps_per_update: Count = 1,
        tau: FractionAboveZero = 0.005,
        policy_delay: Count = 2,
        target_noise: NonNegative = 0.2,
        noise_limit: NonNegative = 0.5,
    ) -> None:
        plan = ReplayPlan(
            capacity=capacity,
            batch_size=batch_size,
            warmup_steps=warmup_steps,
            steps_per_update=steps_per_update,
            n_step=n_step,
            discount=discount,
        )
        super().__init__(plan, tau=tau, target_every=policy_delay)
        self.policy_delay = policy_delay
        self.mean = MeanAction()
        self.smoothed = SmoothedAction(target_noise, noise_limit)

    def update(
        self,
        program: Program,
        parameters: Parameters,
        steps: ReplayedSteps,
        scale: float | Tensor,
    ) -> Estimate:
        with torch.no_grad():
            slow = self.targets.values
            ahead = self.decide(program, slow, self.smoothed, steps.next_observations)
            targets = bootstrapped(steps, values_of(ahead).amin(0))
        recorded = self.decide(program, parameters, self.mean, steps.observations, steps.actions)
        critic_loss = squared_errors(values_of(recorded), targets)
        differentiate(critic_loss, critics_of(parameters), scale)
        objective = -values_of(recorded)[0].mean().detach()
        if self.targets.updates % self.policy_delay == 0:
            chosen = self.decide(program, parameters, self.mean, steps.observations)
            actor_loss = -values_of(chosen)[0].mean()
            differentiate(actor_loss, policy_of(parameters), scale)
            objective = actor_loss.detach()
        return Estimate(
            objective=objective,
            evaluations=len(targets),
            biased=True,
            extras={
                "value_loss": critic_loss.detach(),
                "action_value": values_of(recorded).detach().mean(),
            },
        )
