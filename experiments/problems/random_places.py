"""A parameter that meets a random value outside its distribution: jumps at random places, and a program's own draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from experiments.problems.in_place import normal_cdf, normal_density
from experiments.problems.problem import Context, Parameters, problem

PLACE = {"place": 0.3}
LOGIT = {"logit": 0.4}


def _below(p: dict[str, Tensor]) -> Tensor:
    """P(x < place) + place^2, x ~ Normal(0, 1)."""
    return normal_cdf(p["place"]) + p["place"] ** 2


def _hinge(p: dict[str, Tensor]) -> Tensor:
    """E[max(place - x, 0)], x ~ Normal(0, 1)."""
    return p["place"] * normal_cdf(p["place"]) + normal_density(p["place"])


@problem("kinked", PLACE, _below)
def threshold_of_a_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(0.0, 1.0))
    context.cost((x < parameters["place"]).float() + parameters["place"] ** 2)


@problem("kinked", PLACE, _below)
def threshold_of_own_noise(context: Context, parameters: Parameters, batch: Any) -> None:
    noise = torch.randn(context.samples)
    context.cost((noise < parameters["place"]).float() + parameters["place"] ** 2)


@problem("kinked", PLACE, _below, one_sample_at_a_time=True)
def threshold_by_a_branch(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(0.0, 1.0))
    context.cost(parameters["place"] ** 2)
    if x < parameters["place"]:
        context.cost(1.0)


@problem("smooth", PLACE, _hinge)
def hinge_at_a_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(0.0, 1.0))
    gap = parameters["place"] - x
    context.cost(torch.where(gap > 0, gap, torch.zeros_like(gap)))


@problem("smooth", PLACE, _hinge)
def hinge_at_own_noise(context: Context, parameters: Parameters, batch: Any) -> None:
    gap = parameters["place"] - torch.randn(context.samples)
    context.cost(torch.where(gap > 0, gap, torch.zeros_like(gap)))


@problem("kinked", LOGIT, lambda p: p["logit"].sigmoid() + p["logit"])
def own_bernoulli_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    logit = parameters["logit"].expand(context.samples)
    context.cost(torch.bernoulli(logit.sigmoid()) + logit)


@problem("kinked", LOGIT, lambda p: p["logit"] ** 2 + 1 + p["logit"])
def own_draw_of_a_distribution(context: Context, parameters: Parameters, batch: Any) -> None:
    x = Normal(parameters["logit"], 1.0).sample((context.samples,))
    context.cost(x**2 + parameters["logit"])
