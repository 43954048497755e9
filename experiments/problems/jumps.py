"""Costs with jumps in a continuous draw, which a path does not see, and continuous branches, which it sees rightly."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Laplace, Normal

from experiments.problems.in_place import normal_cdf, normal_density
from experiments.problems.problem import Context, Parameters, problem

MEAN = {"mean": 0.3}


def _right(p: dict[str, Tensor]) -> Tensor:
    """P(x > 0), x ~ Normal(mean, 1)."""
    return normal_cdf(p["mean"])


@problem("kinked", MEAN, lambda p: p["mean"] + 3 * _right(p))
def jump_by_where(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(torch.where(x > 0, x + 3, x))


@problem("kinked", MEAN, lambda p: p["mean"] + 3 * _right(p))
def jump_by_a_product_with_a_mask(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x + 3 * (x > 0))


@problem("kinked", MEAN, lambda p: p["mean"] + 3 * _right(p))
def jump_by_assignment(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    cost = x * 1
    cost[x > 0] += 3
    context.cost(cost)


@problem("kinked", MEAN, lambda p: p["mean"] + 2 * _right(p) - 1)
def jump_by_sign(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x + x.sign())


def _floors(p: dict[str, Tensor]) -> Tensor:
    """E[floor(x)] = sum of P(x >= k) over k > 0, less that of P(x < k) over k <= 0."""
    steps = torch.arange(1, 12)
    return (normal_cdf(p["mean"] - steps) - normal_cdf(1 - steps - p["mean"])).sum()


@problem("kinked", MEAN, lambda p: p["mean"] + _floors(p))
def jump_by_floor(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x + x.floor())


@problem("kinked", MEAN, lambda p: p["mean"] + _floors({"mean": p["mean"] + 0.5}))
def jump_by_rounding(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x + x.round())


PRIZES = torch.tensor([4.0, 1.0])


@problem(
    "kinked",
    {"means": [0.2, -0.3]},
    lambda p: 1 + 3 * normal_cdf((p["means"][0] - p["means"][1]) / math.sqrt(2)) + p["means"].sum(),
)
def jump_by_argmax(context: Context, parameters: Parameters, batch: Any) -> None:
    """The prize of the larger of two draws."""
    x = context.sample("x", Normal(parameters["means"], 1.0))
    context.cost(PRIZES[x.argmax(-1)] + x.sum(-1))


@problem(
    "kinked",
    {"means": [0.2, -0.3]},
    lambda p: 1 + 3 * normal_cdf((p["means"][0] - p["means"][1]) / math.sqrt(2)) + p["means"].sum(),
)
def jump_by_sorting(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["means"], 1.0))
    context.cost(PRIZES[x.sort(descending=True).indices[:, 0]] + x.sum(-1))


@problem("kinked", MEAN, lambda p: p["mean"] + _floors(p))
def jump_by_searching(context: Context, parameters: Parameters, batch: Any) -> None:
    """The number of the bin that a draw falls into."""
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    edges = torch.arange(-10.0, 11.0)
    context.cost(x + torch.searchsorted(edges, x.detach(), right=True) - 11)


@problem("kinked", MEAN, lambda p: p["mean"] + 3 * _right(p), one_sample_at_a_time=True)
def jump_by_a_python_branch(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x + 3 if x > 0 else x)


@problem("kinked", MEAN, _right)
def cost_of_nothing_but_a_jump(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost((context.sample("x", Normal(parameters["mean"], 1.0)) > 0).float())


def _absolute(p: dict[str, Tensor]) -> Tensor:
    """E|x|, x ~ Normal(mean, 1)."""
    return 2 * normal_density(p["mean"]) + p["mean"] * (2 * normal_cdf(p["mean"]) - 1)


@problem("smooth", MEAN, _absolute)
def continuous_branch(context: Context, parameters: Parameters, batch: Any) -> None:
    """|x| by a comparison: there is a branch, and no jump."""
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(torch.where(x > 0, x, -x))


@problem("smooth", MEAN, _absolute, one_sample_at_a_time=True)
def continuous_python_branch(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x if x > 0 else -x)


@problem("smooth", MEAN, lambda p: (_absolute(p) + p["mean"]) / 2)
def ramp_by_a_mask(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x * (x > 0))


@problem(
    "smooth",
    {"means": [0.2, -0.3]},
    lambda p: (
        (
            lambda d: (
                d * normal_cdf(d / math.sqrt(2)) + math.sqrt(2) * normal_density(d / math.sqrt(2))
            )
        )(p["means"][0] - p["means"][1])
        + p["means"][1]
    ),
)
def larger_of_two(context: Context, parameters: Parameters, batch: Any) -> None:
    """E[max(x, y)] (Clark 1961)."""
    context.cost(context.sample("x", Normal(parameters["means"], 1.0)).max(-1).values)


@problem("smooth", {"location": 0.4}, lambda p: p["location"].abs() + (-p["location"].abs()).exp())
def laplace_distance(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Laplace(parameters["location"], 1.0)).abs())
