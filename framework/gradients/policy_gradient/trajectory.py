"""Recorded steps evaluated under the current parameters: what the actor-critic losses are computed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from framework import ranks
from framework.errors import ProgramError
from framework.gradients.distributions.refusal import others
from framework.gradients.policy_gradient.advantages import Transitions
from framework.recording.trace import Draw, Trace


@dataclass(frozen=True)
class EvaluatedTrajectory:
    """Recorded steps evaluated under the current parameters; every tensor is `[T, N]`.

    Attributes:
        log_prob: of the recorded actions under the current parameters, differentiable; 0 in rows that are no steps.
        ratios: its probability over the one under which the actions were drawn, differentiable.
        value: the prediction, differentiable.
        transitions: rewards, predictions and ends, without gradient.
        behaviour_value: the prediction when the steps were recorded, where the program reports it.
        global_weights: 1 / (number of all processes' steps) in rows that are steps, else 0, flat: sums are then added
            up over the processes.
    """

    log_prob: Tensor
    ratios: Tensor
    value: Tensor
    transitions: Transitions
    behaviour_value: Tensor | None
    # Not a cached property: that holds a lock, for which other shards would wait.
    global_weights: Tensor = field(init=False)

    def __post_init__(self) -> None:
        weights = self.weights
        if ranks.size() > 1:
            valid = self.transitions.valid
            weights = (valid / ranks.summed(valid.sum()).clamp(min=1)).flatten()
        object.__setattr__(self, "global_weights", weights)

    @cached_property
    def weights(self) -> Tensor:
        """1 / (number of steps) in rows that are steps, else 0, flat: a mean is one product with them."""
        valid = self.transitions.valid
        return (valid / valid.sum().clamp(min=1)).flatten()

    @cached_property
    def share(self) -> float:
        """This process's part of the steps of all processes."""
        return float(self.global_weights.sum())

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `[T, N]` over the rows that are steps; all values must be finite."""
        return weighted(values, self.weights)

    def moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of `[T, N]` over the steps of the whole batch, all processes' parts together."""
        mean = self.mean_of_all(values)
        return mean, self.mean_of_all((values - mean).square())

    def mean_of_all(self, values: Tensor) -> Tensor:
        """The mean over the steps of all processes, without its derivative between them."""
        own = weighted(values, self.global_weights)
        return own if ranks.size() == 1 else ranks.summed(own)

    @torch.no_grad()
    def standardised(self, advantages: Tensor) -> Tensor:
        """Advantages with mean 0 and variance 1 over the steps of the whole batch."""
        mean, variance = self.moments(advantages)
        return (advantages - mean) / (variance.sqrt() + 1e-8)


def evaluate(trace: Trace, name: str, *, reused: bool) -> EvaluatedTrajectory:
    """The recorded steps of a trace under the current parameters.

    Raises:
        ProgramError: it holds no recorded draws or no prediction, or not the probabilities under which actions were
            drawn although the rollout is used several times.
    """
    prediction = trace.prediction
    if prediction is None or not trace.scored:
        recorded = trace.recorded_trajectories
        distributions = [draw.distribution for draw in trace.draws]
        raise ProgramError(
            f"'{name}' learns from recorded steps with predictions, and the program reports "
            f"{'no value (context.value)' if recorded else 'none'}; "
            f"{others(name, *distributions, recorded_actions=recorded)}"
        )
    valid = torch.ones(trace.shape, dtype=torch.bool, device=prediction.values.device)
    masks = [draw.mask for draw in trace.scored]
    given = [mask for mask in masks if mask is not None]
    if len(given) == len(masks):
        valid = torch.stack(given).any(0) if len(given) > 1 else given[0]
    pairs = [log_probs(trace, draw, name, reused) for draw in trace.scored]
    log_prob = total([now for now, _ in pairs])
    costs = [trace.leading(cost.value, cost.axes) for cost in trace.costs]
    rewards = total([-cost for cost in costs] or [torch.zeros(())])
    transitions = Transitions(
        rewards.detach().expand(trace.shape),
        prediction.values.detach(),
        prediction.next_values,
        prediction.terminated,
        prediction.truncated,
        valid,
    )
    ratios = (log_prob - total([then for _, then in pairs])).exp()
    return EvaluatedTrajectory(
        log_prob, ratios, prediction.values, transitions, prediction.behaviour
    )


def log_probs(trace: Trace, draw: Draw, name: str, reused: bool) -> tuple[Tensor, Tensor]:
    """A draw's log-probability now and when it was drawn, `[T, N]`, 0 where it is masked."""
    what = "log-probability"
    now = trace.of_draw(draw, draw.distribution.log_prob(draw.value), what)
    if draw.behaviour is None and reused:
        raise ProgramError(
            f"'{name}' uses a rollout several times: give context.observe('{draw.name}', ...) the log-probability "
            "under which the action was drawn (behaviour=), or set estimator.epochs and estimator.minibatches to 1"
        )
    then = now.detach() if draw.behaviour is None else trace.of_draw(draw, draw.behaviour, what)
    if draw.mask is None:
        return now, then
    return torch.where(draw.mask, now, 0.0), torch.where(draw.mask, then, 0.0)


def weighted(values: Tensor, weights: Tensor) -> Tensor:
    """The sum of `[T, N]` times flat weights; `dot`, unlike `@`, stays as precise under autocast."""
    return values.float().flatten().dot(weights)


def total(terms: list[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else torch.stack(terms).sum(0)
