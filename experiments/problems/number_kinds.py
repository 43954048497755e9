"""Costs and parameters of other kinds than float32 tensors: truth values, whole numbers, double precision, floats."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import Bernoulli, Categorical, Normal

from experiments.problems.in_place import normal_cdf
from experiments.problems.problem import Context, Parameters, problem


@problem("kinked", {"mean": 0.3}, lambda p: normal_cdf(p["mean"]))
def cost_of_truth_values(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Normal(parameters["mean"], 1.0)) > 0)


@problem("finite", {"logits": [0.3, -0.4]}, lambda p: p["logits"].softmax(0)[1])
def cost_of_whole_numbers(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("choice", Categorical(logits=parameters["logits"])))


@problem("finite", {"logits": [0.3, -0.4]}, lambda p: p["logits"].softmax(0)[1])
def cost_of_an_equality(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("choice", Categorical(logits=parameters["logits"])) == 1)


@problem(
    "finite", {"logit": 0.3}, lambda p: 2 * p["logit"].sigmoid() + 1, one_sample_at_a_time=True
)
def cost_of_a_python_number(context: Context, parameters: Parameters, batch: Any) -> None:
    coin = context.sample("coin", Bernoulli(logits=parameters["logit"]))
    context.cost(3.0 if coin.item() else 1.0)


@problem(
    "smooth",
    {"theta": torch.tensor([0.4, -0.9], dtype=torch.double)},
    lambda p: p["theta"][0] ** 2 + (2 * p["theta"][1]).exp(),
)
def normal_in_double_precision(context: Context, parameters: Parameters, batch: Any) -> None:
    theta = parameters["theta"]
    context.cost(context.sample("x", Normal(theta[0], theta[1].exp())) ** 2)


@problem(
    "finite",
    {"theta": torch.tensor([0.4, -0.9], dtype=torch.double)},
    lambda p: (p["theta"].sigmoid() * torch.tensor([1.0, 2.0])).sum(),
)
def coins_in_double_precision(context: Context, parameters: Parameters, batch: Any) -> None:
    coins = context.sample("coins", Bernoulli(logits=parameters["theta"]))
    context.cost((coins * torch.tensor([1.0, 2.0])).sum(-1))


@problem(
    "smooth",
    {"mean": 0.4, "shift": torch.tensor(0.2, dtype=torch.double)},
    lambda p: (p["mean"] + p["shift"]) ** 2 + 1,
)
def single_and_double_mixed(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost((x + parameters["shift"]) ** 2)


@problem("smooth", {"theta": 0.7}, lambda p: p["theta"] ** 3 - p["theta"])
def nothing_drawn(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(parameters["theta"] ** 3 - parameters["theta"])
