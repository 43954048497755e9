"""Tensors changed in place after they were drawn, charged or used as a distribution's parameter."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from experiments.problems.problem import Context, Parameters, problem


def normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def normal_density(x: Tensor) -> Tensor:
    return (-0.5 * x.square()).exp() / math.sqrt(2 * math.pi)


def _clamped(p: dict[str, Tensor]) -> Tensor:
    """E[clamp(x, -1, 1)], x ~ Normal(mean, 1)."""
    low, high = -1 - p["mean"], 1 - p["mean"]
    inside = p["mean"] * (normal_cdf(high) - normal_cdf(low)) + (
        normal_density(low) - normal_density(high)
    )
    return inside - normal_cdf(low) + 1 - normal_cdf(high)


@problem("smooth", {"mean": 1.0}, _clamped)
def draw_clamped_in_place(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    x.clamp_(-1, 1)
    context.cost(x)


@problem("smooth", {"mean": 1.0}, _clamped)
def draw_clamped(context: Context, parameters: Parameters, batch: Any) -> None:
    """The same, not in place: what every estimator of smooth costs must serve."""
    context.cost(context.sample("x", Normal(parameters["mean"], 1.0)).clamp(-1, 1))


@problem("smooth", {"position": 1.0}, lambda p: 2 * p["position"])
def location_moved_in_place(context: Context, parameters: Parameters, batch: Any) -> None:
    """A simulator's usual `position += velocity`, where the distribution holds the position."""
    position = parameters["position"].expand(context.samples) * 1
    velocity = context.sample("velocity", Normal(position, 1.0), per_sample=True)
    position += velocity
    context.cost(position)


@problem("smooth", {"position": 1.0}, lambda p: 2 * p["position"])
def location_moved(context: Context, parameters: Parameters, batch: Any) -> None:
    position = parameters["position"].expand(context.samples) * 1
    velocity = context.sample("velocity", Normal(position, 1.0), per_sample=True)
    context.cost(position + velocity)


@problem("finite", {"theta": 0.3}, lambda p: 6 * p["theta"].sigmoid())
def total_charged_in_place(context: Context, parameters: Parameters, batch: Any) -> None:
    """The running total of 3 coins is charged after each: 1 + 2 + 3 of them."""
    total = torch.zeros(context.samples)
    for toss in range(3):
        total += context.sample(f"coin/{toss}", Bernoulli(logits=parameters["theta"]))
        context.cost(total)


@problem("finite", {"theta": 0.3}, lambda p: 6 * p["theta"].sigmoid())
def total_charged(context: Context, parameters: Parameters, batch: Any) -> None:
    total = torch.zeros(context.samples)
    for toss in range(3):
        total = total + context.sample(f"coin/{toss}", Bernoulli(logits=parameters["theta"]))
        context.cost(total)


@problem("finite", {"theta": [0.3, -0.5]}, lambda p: 2 * p["theta"][1].sigmoid() + 1)
def element_overwritten(context: Context, parameters: Parameters, batch: Any) -> None:
    """An assignment to a part of a draw after it was made."""
    coins = context.sample("coins", Bernoulli(logits=parameters["theta"]))
    coins[:, 0] = 1.0
    context.cost(coins[:, 0] + 2 * coins[:, 1])


@problem("smooth", {"scale": 0.8}, lambda p: p["scale"] ** 2)
def scale_changed_in_place(context: Context, parameters: Parameters, batch: Any) -> None:
    scale = parameters["scale"] * 1
    x = context.sample("x", Normal(0.0, scale))
    scale *= 3
    context.cost(x**2)


@problem("finite", {"theta": 0.3}, lambda p: p["theta"].sigmoid())
def charged_cost_emptied(context: Context, parameters: Parameters, batch: Any) -> None:
    """A buffer that is filled, charged and emptied for the next use."""
    buffer = torch.zeros(context.samples)
    buffer += context.sample("coin", Bernoulli(logits=parameters["theta"]))
    context.cost(buffer)
    buffer.zero_()
