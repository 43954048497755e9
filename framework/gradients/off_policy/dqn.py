"""Deep Q-learning: the critic alone, whose best action is the policy.

    y    = R + gamma^m Q'(s', argmax_a Q(s', a))      double; without it, max_a Q'(s', a)
    loss = mean huber(Q(s, a) - y)                    of replayed actions

(Mnih et al. 2015; van Hasselt et al. 2016; n-step targets as in Hessel et al. 2018.) It is no gradient of the return:
it follows the error of Bellman's equation, and the policy is whatever the critic thinks best.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from framework.capabilities import Capabilities
from framework.config.types import Count, Fraction, FractionAboveZero
from framework.gradients.estimator import Estimate, differentiate
from framework.gradients.off_policy.learned_critic import (
    LearnedCritic,
    bootstrapped,
    values_of_all,
)
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.rule import Plain
from framework.replay import ReplayedSteps, ReplayPlan


@Capabilities(
    draws=("finite",),
    evaluations="the replayed steps",
    action_values=True,
    biased=True,
    bias="it follows Bellman's error",
)
class DQN(LearnedCritic):
    """Deep Q-learning: learns the return of each of finitely many actions, and takes the best."""

    def __init__(
        self,
        *,
        discount: Fraction = 0.99,
        n_step: Count = 1,
        double: bool = True,
        capacity: Count = 100_000,
        batch_size: Count = 128,
        warmup_steps: Count = 1000,
        steps_per_update: Count = 1,
        tau: FractionAboveZero = 0.01,
        target_every: Count = 1,
        epsilon: Fraction = 1.0,
        final_epsilon: Fraction = 0.05,
        epsilon_steps: Count = 10_000,
    ) -> None:
        plan = ReplayPlan(
            capacity=capacity,
            batch_size=batch_size,
            warmup_steps=warmup_steps,
            steps_per_update=steps_per_update,
            n_step=n_step,
            discount=discount,
            finite_actions=True,
            epsilon=(epsilon, final_epsilon, epsilon_steps),
        )
        super().__init__(plan, tau=tau, target_every=target_every)
        self.double = double
        self.plain = Plain()

    def update(
        self,
        program: Program,
        parameters: Parameters,
        steps: ReplayedSteps,
        scale: float | Tensor,
    ) -> Estimate:
        def values(given: Parameters, observations: object) -> Tensor:
            return values_of_all(self.decide(program, given, self.plain, observations))

        with torch.no_grad():
            slow = values(self.targets.values, steps.next_observations)
            judge = values(parameters, steps.next_observations) if self.double else slow
            best = judge.argmax(-1, keepdim=True)
            targets = bootstrapped(steps, slow.gather(-1, best).squeeze(-1))
        now = values(parameters, steps.observations)
        taken = now.gather(-1, steps.actions.long().unsqueeze(-1)).squeeze(-1)
        loss = smooth_l1_loss(taken, targets)
        differentiate(loss, scale)
        return Estimate(
            objective=-now.detach().amax(-1).mean(),
            evaluations=len(targets),
            biased=True,
            extras={"value_loss": loss.detach(), "action_value": taken.detach().mean()},
        )
