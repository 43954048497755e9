"""Actor-critic estimators: the score function over recorded steps, compared with a learned prediction.

    loss = - mean(A_t log p(a_t | s_t)) + c_V mean((V(s_t) - target_t)^2) / 2 - c_H mean(entropy)

The program observes its recorded actions, charges its costs step by step and reports V with `context.value`; the
estimators differ in how they compute the advantages A and the targets from them (see advantages.py). Discounting and
predictions trade bias for variance, so all of them are biased; means are over steps, not episodes, so that the
gradient's size does not depend on a record's length.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework import ranks
from framework.capabilities import Capabilities
from framework.config.types import Count, Fraction, NonNegative, Positive
from framework.errors import ProgramError
from framework.gradients.estimator import Estimate, Estimator, name_of
from framework.gradients.policy_gradient.advantage_scale import AdvantageScale
from framework.gradients.policy_gradient.advantages import gae, upgo, vtrace
from framework.gradients.policy_gradient.trajectory import EvaluatedTrajectory, evaluate, total
from framework.gradients.score_function import ScoreFunction
from framework.parameters import Parameters
from framework.program import Program, RolloutPlan
from framework.recording.trace import Trace


@dataclass(frozen=True)
class ActorCriticLoss:
    """The losses of an actor-critic estimator on a trajectory, and what it reports.

    Attributes:
        extras: scalars for the log.
        skip_update: the policy has moved too far from the one that was recorded.
    """

    policy_loss: Tensor
    value_loss: Tensor
    extras: dict[str, Tensor | float]
    skip_update: bool = False


class ActorCritic(Estimator):
    """What they share: evaluating the trace and weighing policy, value and entropy."""

    rollouts: RolloutPlan

    def __init__(
        self,
        *,
        rollouts: RolloutPlan,
        discount: float,
        gae_lambda: float,
        value_weight: float,
        entropy_weight: float,
    ) -> None:
        self.rollouts = rollouts
        self.discount = discount
        self.gae_lambda = gae_lambda
        self.value_weight = value_weight
        self.entropy_weight = entropy_weight
        self.rule = ScoreFunction()
        self.scale = AdvantageScale()

    @abstractmethod
    def losses(self, trajectory: EvaluatedTrajectory) -> ActorCriticLoss:
        """The losses of one batch."""

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        """Add `scale` times the loss's gradient; nothing where the estimator skips the update.

        A parameter whose `.grad` stays None is not moved by torch's optimisers.
        """
        name = name_of(self)
        trace = program.run(lambda site: self.rule, parameters, batch)[0]
        reused = self.rollouts.epochs * self.rollouts.minibatches > 1
        trajectory = evaluate(trace, name, reused=reused)
        losses = self.losses(trajectory)
        with torch.set_grad_enabled(self.entropy_weight > 0):
            entropy = trajectory.mean(entropy_of(trace, trajectory))
        loss = losses.policy_loss + self.value_weight * losses.value_loss
        if self.entropy_weight > 0:
            loss = loss - self.entropy_weight * entropy
        if ranks.size() > 1:
            # Means are over steps, and the trainer weighs processes by their games.
            loss = loss * (trajectory.share / program.share(batch))
        for penalty in trace.penalties:
            loss = loss + trace.mean(penalty)
        if not losses.skip_update:
            (loss * scale).backward()
        extras = {
            **losses.extras,
            "entropy": entropy.detach(),
            "value_loss": losses.value_loss.detach(),
        }
        return Estimate(
            objective=trace.objective().detach(),
            evaluations=trace.shape[1],
            biased=True,
            extras=extras,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale.load_state_dict(state["scale"])


@Capabilities(
    draws=("any",),
    evaluations="the recorded steps",
    recorded_actions=True,
    value_predictions=True,
    biased=True,
    bias="by discounting and predictions",
)
class A2C(ActorCritic):
    """Advantage actor-critic: one step of the score function with generalised advantages (Mnih et al. 2016)."""

    def __init__(
        self,
        *,
        discount: Fraction = 0.99,
        gae_lambda: Fraction = 0.95,
        value_weight: NonNegative = 0.5,
        entropy_weight: NonNegative = 0.0,
        normalise_advantages: bool = False,
    ) -> None:
        super().__init__(
            rollouts=RolloutPlan(),
            discount=discount,
            gae_lambda=gae_lambda,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
        )
        self.normalise_advantages = normalise_advantages

    def losses(self, trajectory: EvaluatedTrajectory) -> ActorCriticLoss:
        advantages = gae(trajectory.transitions, self.discount, self.gae_lambda)
        targets = trajectory.transitions.values + advantages
        extras: dict[str, Tensor | float] = {
            "explained_variance": explained_variance(trajectory, targets)
        }
        if self.normalise_advantages:
            advantages = self.scale(trajectory, advantages)
        policy_loss = -trajectory.mean(advantages * trajectory.log_prob)
        return ActorCriticLoss(policy_loss, squared_error(trajectory, targets), extras)


@Capabilities(
    draws=("any",),
    evaluations="the recorded steps",
    recorded_actions=True,
    value_predictions=True,
    biased=True,
    bias="by discounting and predictions",
)
class VTrace(ActorCritic):
    """V-trace actor-critic: advantages and targets corrected for an older policy's actions (Espeholt et al. 2018)."""

    def __init__(
        self,
        *,
        epochs: Count = 1,
        minibatches: Count = 1,
        discount: Fraction = 0.99,
        gae_lambda: Fraction = 1.0,
        value_weight: NonNegative = 0.5,
        entropy_weight: NonNegative = 0.0,
        rho_bar: Positive = 1.0,
        c_bar: Positive = 1.0,
        normalise_advantages: bool = False,
    ) -> None:
        super().__init__(
            rollouts=RolloutPlan(epochs, minibatches),
            discount=discount,
            gae_lambda=gae_lambda,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
        )
        self.rho_bar = rho_bar
        self.c_bar = c_bar
        self.normalise_advantages = normalise_advantages

    def losses(self, trajectory: EvaluatedTrajectory) -> ActorCriticLoss:
        ratios = trajectory.ratios.detach()
        targets, advantages = self.advantages(trajectory, ratios)
        if self.normalise_advantages:
            advantages = self.scale(trajectory, advantages)
        extras: dict[str, Tensor | float] = {
            "ratio": trajectory.mean(ratios),
            "explained_variance": explained_variance(trajectory, targets),
        }
        policy_loss = -trajectory.mean(advantages * trajectory.log_prob)
        return ActorCriticLoss(policy_loss, squared_error(trajectory, targets), extras)

    def advantages(self, trajectory: EvaluatedTrajectory, ratios: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and advantages, `[T, N]` both."""
        return vtrace(
            trajectory.transitions, ratios, self.discount, self.gae_lambda, self.rho_bar, self.c_bar
        )


@Capabilities(
    draws=("any",),
    evaluations="the recorded steps",
    recorded_actions=True,
    value_predictions=True,
    biased=True,
    bias="by discounting and predictions",
)
class UPGO(ActorCritic):
    """Upgoing policy update: follow what exceeded its prediction, with V-trace's targets (Vinyals et al. 2019)."""

    def __init__(
        self,
        *,
        epochs: Count = 1,
        minibatches: Count = 1,
        discount: Fraction = 0.99,
        gae_lambda: Fraction = 0.95,
        value_weight: NonNegative = 0.5,
        entropy_weight: NonNegative = 0.0,
        normalise_advantages: bool = False,
    ) -> None:
        super().__init__(
            rollouts=RolloutPlan(epochs, minibatches),
            discount=discount,
            gae_lambda=gae_lambda,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
        )
        self.normalise_advantages = normalise_advantages

    def losses(self, trajectory: EvaluatedTrajectory) -> ActorCriticLoss:
        ratios = trajectory.ratios.detach()
        targets, _ = vtrace(trajectory.transitions, ratios, self.discount, self.gae_lambda)
        advantages = ratios.clamp(max=1.0) * upgo(trajectory.transitions, self.discount)
        if self.normalise_advantages:
            advantages = self.scale(trajectory, advantages)
        extras: dict[str, Tensor | float] = {
            "ratio": trajectory.mean(ratios),
            "explained_variance": explained_variance(trajectory, targets),
        }
        policy_loss = -trajectory.mean(advantages * trajectory.log_prob)
        return ActorCriticLoss(policy_loss, squared_error(trajectory, targets), extras)


@Capabilities(
    draws=("any",),
    evaluations="the recorded steps",
    recorded_actions=True,
    value_predictions=True,
    biased=True,
    bias="by discounting, predictions and UPGO's optimism",
)
class VTraceUPGO(VTrace):
    """V-trace's policy gradient and UPGO's beside it, weighted, with V-trace's targets (Vinyals et al. 2019)."""

    def __init__(
        self,
        *,
        epochs: Count = 1,
        minibatches: Count = 1,
        discount: Fraction = 0.99,
        gae_lambda: Fraction = 1.0,
        vtrace_weight: NonNegative = 1.0,
        upgo_weight: NonNegative = 1.0,
        value_weight: NonNegative = 0.5,
        entropy_weight: NonNegative = 0.0,
        rho_bar: Positive = 1.0,
        c_bar: Positive = 1.0,
        normalise_advantages: bool = False,
    ) -> None:
        super().__init__(
            epochs=epochs,
            minibatches=minibatches,
            discount=discount,
            gae_lambda=gae_lambda,
            value_weight=value_weight,
            entropy_weight=entropy_weight,
            rho_bar=rho_bar,
            c_bar=c_bar,
            normalise_advantages=normalise_advantages,
        )
        self.vtrace_weight = vtrace_weight
        self.upgo_weight = upgo_weight

    def advantages(self, trajectory: EvaluatedTrajectory, ratios: Tensor) -> tuple[Tensor, Tensor]:
        """V-trace's targets, and the weighted sum of both advantages."""
        targets, advantages = super().advantages(trajectory, ratios)
        upgoing = ratios.clamp(max=1.0) * upgo(trajectory.transitions, self.discount)
        return targets, self.vtrace_weight * advantages + self.upgo_weight * upgoing


def entropy_of(trace: Trace, trajectory: EvaluatedTrajectory) -> Tensor:
    """The entropy of all actions of a step, `[T, N]`; where it has no closed form, an estimate for the log."""
    try:
        return total([trace.of_draw(d, d.distribution.entropy(), "entropy") for d in trace.scored])
    except NotImplementedError:
        if torch.is_grad_enabled():
            kind = type(trace.scored[0].distribution).__name__
            raise ProgramError(
                f"draw '{trace.scored[0].name}' ~ {kind} has no entropy in closed form: "
                "set estimator.entropy_weight to 0"
            ) from None
        return -trajectory.log_prob.detach()


def squared_error(trajectory: EvaluatedTrajectory, targets: Tensor) -> Tensor:
    """Half the mean squared error of the prediction."""
    return 0.5 * trajectory.mean((trajectory.value - targets).square())


@torch.no_grad()
def explained_variance(trajectory: EvaluatedTrajectory, targets: Tensor) -> Tensor:
    """1 - variance(target - V) / variance(target): 1 for a perfect prediction, 0 for a constant one."""
    _, unexplained = trajectory.moments(targets - trajectory.value)
    return 1 - unexplained / trajectory.moments(targets)[1].clamp(min=1e-8)
