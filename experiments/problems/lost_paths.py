"""Programs that cut a draw's path on its way to a cost: right for the score function, wrong along the path."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import Bernoulli, Normal

from experiments.problems.problem import Context, Parameters, problem

MEAN = {"mean": 0.3}


def _square_and_mean(p: dict[str, torch.Tensor]) -> torch.Tensor:
    """E[x^2 + mean], x ~ Normal(mean, 1)."""
    return p["mean"] ** 2 + 1 + p["mean"]


@problem("smooth", MEAN, _square_and_mean)
def draw_without_gradients(context: Context, parameters: Parameters, batch: Any) -> None:
    with torch.no_grad():
        x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x**2 + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean)
def draw_through_numpy(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(torch.from_numpy(x.detach().numpy()) ** 2 + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean)
def draw_through_a_list(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(torch.tensor(x.tolist()) ** 2 + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean)
def draw_through_data(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x.data**2 + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean)
def draw_detached(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x.detach() ** 2 + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean)
def cost_half_detached(context: Context, parameters: Parameters, batch: Any) -> None:
    """x times the detached x: half of the derivative of the square."""
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x * x.detach() + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean)
def cost_without_gradients(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    with torch.no_grad():
        square = x**2
    context.cost(square + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean, one_sample_at_a_time=True)
def draw_as_a_python_number(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0)).item()
    context.cost(x**2 + parameters["mean"])


@problem("smooth", MEAN, _square_and_mean)
def draw_through_a_black_box(context: Context, parameters: Parameters, batch: Any) -> None:
    """Declared: `context.black_box` refuses an input whose gradient would be lost."""
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(context.black_box(torch.square, x) + parameters["mean"])


@problem("smooth", MEAN, lambda p: p["mean"] ** 2 + 2)
def location_detached(context: Context, parameters: Parameters, batch: Any) -> None:
    """The second draw follows the first, whose path the program cuts."""
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    y = context.sample("y", Normal(x.detach(), 1.0))
    context.cost(y**2)


@problem("finite", {"theta": 0.3}, lambda p: 3 * p["theta"].sigmoid() + p["theta"])
def coin_through_numpy(context: Context, parameters: Parameters, batch: Any) -> None:
    coin = context.sample("coin", Bernoulli(logits=parameters["theta"]))
    context.cost(3 * torch.from_numpy(coin.detach().numpy()) + parameters["theta"])


@problem("finite", {"theta": 0.3}, lambda p: 3 * p["theta"].sigmoid())
def coin_without_gradients(context: Context, parameters: Parameters, batch: Any) -> None:
    with torch.no_grad():
        coin = context.sample("coin", Bernoulli(logits=parameters["theta"]))
    context.cost(3 * coin)
