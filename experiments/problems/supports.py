"""Draws whose possible values depend on a parameter, which a log-probability does not tell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Exponential,
    Normal,
    Pareto,
    TransformedDistribution,
    Uniform,
)

from experiments.problems.problem import Context, Parameters, problem


@problem("smooth", {"end": 1.5}, lambda p: p["end"] ** 2 / 3)
def uniform_up_to_a_parameter(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Uniform(torch.zeros(()), parameters["end"]))
    context.cost(x**2)


@problem(
    "smooth",
    {"low": -0.5, "high": 1.5},
    lambda p: (p["low"] ** 2 + p["low"] * p["high"] + p["high"] ** 2) / 3,
)
def uniform_between_parameters(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Uniform(parameters["low"], parameters["high"])) ** 2)


@problem("smooth", {"smallest": 1.3}, lambda p: 5 / 4 * p["smallest"])
def pareto_from_a_parameter(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Pareto(parameters["smallest"], torch.tensor(5.0))))


@problem("smooth", {"shape": 5.0}, lambda p: p["shape"] / (p["shape"] - 1))
def pareto_of_constant_support(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Pareto(torch.ones(()), parameters["shape"])))


@problem("smooth", {"shift": 0.7}, lambda p: p["shift"] ** 2 + 2 * p["shift"] + 2)
def shifted_exponential(context: Context, parameters: Parameters, batch: Any) -> None:
    shifted = TransformedDistribution(
        Exponential(torch.ones(())), AffineTransform(parameters["shift"], 1.0)
    )
    context.cost(context.sample("x", shifted) ** 2)


def _end_drawn(p: dict[str, Tensor]) -> Tensor:
    """E[end^2 / 3], end = exp(z), z ~ Normal(mean, 0.5)."""
    return (2 * p["mean"] + 2 * 0.5**2).exp() / 3


@problem("smooth", {"mean": 0.2}, _end_drawn)
def uniform_up_to_a_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    """The end is itself drawn."""
    end = context.sample("end", Normal(parameters["mean"], 0.5)).exp()
    context.cost(context.sample("x", Uniform(torch.zeros_like(end), end)) ** 2)
