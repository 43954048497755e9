"""Soft actor-critic: the pathwise gradient through a learned critic, for a return with the policy's entropy in it.

    V(s)        = E[min_k Q'_k(s, a) - alpha log pi(a | s)]          a ~ pi(. | s)
    critic      1/2 sum_k mean (Q_k(s, a) - R - gamma^m V(s'))^2     of replayed actions
    actor       mean (alpha log pi(a | s) - min_k Q_k(s, a))         a = g(noise, theta): reparameterisation
    temperature d log alpha = - mean (log pi(a | s) + H)             H: the entropy that is aimed at

(Haarnoja et al. 2018, both papers; the smaller of two critics by Fujimoto et al. 2018.) What is differentiated is a
learned prediction: the gradient is biased by the critic's slope errors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from framework.capabilities import Capabilities
from framework.config.types import Count, Fraction, FractionAboveZero, Positive
from framework.gradients.control_variates.tuned_tensors import TunedTensors
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
from framework.gradients.pathwise.reparameterisation import Reparameterisation
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.rule import Plain
from framework.recording.trace import Trace
from framework.replay import ReplayedSteps, ReplayPlan
from framework.saved_state import check_saved


@Capabilities(
    draws=("path",),
    evaluations="the replayed steps",
    costs="differentiable",
    action_values=True,
    biased=True,
    bias="by the learned critic's slope",
)
class SAC(LearnedCritic):
    """Soft actor-critic: the pathwise gradient through the smaller of two learned critics, with an entropy bonus."""

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
        target_every: Count = 1,
        temperature: Positive | None = None,
        target_entropy: float | None = None,
        temperature_rate: Positive = 0.001,
    ) -> None:
        plan = ReplayPlan(
            capacity=capacity,
            batch_size=batch_size,
            warmup_steps=warmup_steps,
            steps_per_update=steps_per_update,
            n_step=n_step,
            discount=discount,
        )
        super().__init__(plan, tau=tau, target_every=target_every)
        self.temperature = temperature
        self.target_entropy = target_entropy
        self.temperature_rate = temperature_rate
        self.plain, self.pathwise = Plain(), Reparameterisation()
        # log alpha, where it is tuned.
        self.tuned: TunedTensors | None = None

    def followed(self, parameters: Parameters) -> dict[str, Tensor]:
        """The critics: next actions are drawn from the current policy."""
        return critics_of(parameters)

    def update(
        self,
        program: Program,
        parameters: Parameters,
        steps: ReplayedSteps,
        scale: float | Tensor,
    ) -> Estimate:
        alpha = self.alpha(steps.rewards.device)
        with torch.no_grad():
            slow = {**parameters, **self.targets.values}
            ahead = self.decide(program, slow, self.plain, steps.next_observations)
            targets = bootstrapped(steps, values_of(ahead).amin(0) - alpha * log_prob(ahead))
        recorded = self.decide(program, parameters, self.plain, steps.observations, steps.actions)
        critic_loss = squared_errors(values_of(recorded), targets)
        differentiate(critic_loss, critics_of(parameters), scale)
        # The program's cost is minus the smaller critic's value, along the path of the drawn action.
        drawn = self.decide(program, parameters, self.pathwise, steps.observations)
        surprise = log_prob(drawn)
        differentiate(drawn.objective() + alpha * surprise.mean(), policy_of(parameters), scale)
        self.tune(surprise.detach(), drawn)
        return Estimate(
            objective=drawn.objective().detach(),
            evaluations=len(targets),
            biased=True,
            extras={
                "value_loss": critic_loss.detach(),
                "action_value": values_of(recorded).detach().mean(),
                "entropy": -surprise.detach().mean(),
                "temperature": alpha,
            },
        )

    def alpha(self, device: torch.device) -> Tensor:
        """The temperature; 1 at first where it is tuned."""
        if self.temperature is not None:
            return torch.tensor(self.temperature, device=device)
        if self.tuned is None:
            zero = torch.zeros((), device=device)
            self.tuned = TunedTensors({"log_temperature": zero}, self.temperature_rate)
        return self.tuned.tensors["log_temperature"].detach().exp()

    def tune(self, surprise: Tensor, drawn: Trace) -> None:
        """Raise the temperature where the policy's entropy is below its aim, minus the number of action dimensions."""
        if self.tuned is None:
            return
        aim = self.target_entropy
        if aim is None:
            aim = -float(sum(d.distribution.event_shape.numel() for d in drawn.draws))
        self.tuned.step([-(surprise + aim).mean()])

    def state_dict(self) -> dict[str, Any]:
        tuned = None if self.tuned is None else self.tuned.state_dict()
        return {**super().state_dict(), "temperature": tuned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        saved = state["temperature"]
        self.tuned = None
        if saved is not None and self.temperature is None:
            check_saved("the temperature", saved, tensors=dict[str, Tensor], adam=dict[str, Any])
            device = saved["tensors"]["log_temperature"].device
            self.tuned = TunedTensors.load(saved, self.temperature_rate, device)


def log_prob(trace: Trace) -> Tensor:
    """log pi of the drawn actions, `[B]`."""
    parts = [
        trace.of_draw(d, d.distribution.log_prob(d.value), "log-probability") for d in trace.draws
    ]
    return torch.stack(parts).sum(0).squeeze(0)
