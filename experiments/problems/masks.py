"""Impossible values: logits of -inf, probabilities of 0 and 1, and what is drawn without putting back."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, OneHotCategorical

from experiments.problems.problem import Context, Parameters, problem

REWARDS = torch.tensor([1.0, -2.0, 7.0])
MASK = torch.tensor([0.0, 0.0, -math.inf])


def _masked(p: dict[str, Tensor]) -> Tensor:
    return p["logits"][:2].softmax(0) @ REWARDS[:2]


@problem("finite", {"logits": [0.3, 0.0, 0.5]}, _masked)
def masked_choice(context: Context, parameters: Parameters, batch: Any) -> None:
    choice = context.sample("choice", Categorical(logits=parameters["logits"] + MASK))
    context.cost(REWARDS[choice])


@problem("finite", {"logits": [0.3, 0.0, 0.5]}, _masked)
def masked_choice_filled_in(context: Context, parameters: Parameters, batch: Any) -> None:
    logits = parameters["logits"].masked_fill(MASK.isinf(), -math.inf)
    context.cost(REWARDS[context.sample("choice", Categorical(logits=logits))])


@problem("finite", {"logits": [0.3, 0.0, 0.5]}, _masked)
def masked_one_hot(context: Context, parameters: Parameters, batch: Any) -> None:
    choice = context.sample("choice", OneHotCategorical(logits=parameters["logits"] + MASK))
    context.cost((choice * REWARDS).sum(-1))


STATES = torch.tensor([0, 1, 1])
MASKS = torch.tensor([[0.0, 0.0, -math.inf], [-math.inf, 0.0, 0.0]])


@problem(
    "finite",
    {"logits": [0.3, 0.0, 0.5]},
    lambda p: (
        (p["logits"][:2].softmax(0) @ REWARDS[:2] + 2 * p["logits"][1:].softmax(0) @ REWARDS[1:])
        / 3
    ),
    batch=STATES,
    batch_axes=1,
)
def masked_for_each_datum(context: Context, parameters: Parameters, batch: Tensor) -> None:
    choice = context.sample("choice", Categorical(logits=parameters["logits"] + MASKS[batch]))
    context.cost(REWARDS[choice])


def _without_replacement(p: dict[str, Tensor]) -> Tensor:
    s = p["logits"].exp()
    total = torch.zeros(())
    for first, second, _ in permutations(range(3)):
        chance = s[first] / s.sum() * s[second] / (s.sum() - s[first])
        total = total + chance * (2 * REWARDS[first] - REWARDS[second])
    return total


@problem("finite", {"logits": [0.3, 0.0, 0.5]}, _without_replacement)
def without_replacement(context: Context, parameters: Parameters, batch: Any) -> None:
    logits = parameters["logits"]
    first = context.sample("first", Categorical(logits=logits))
    left = logits.expand(context.samples, 3).scatter(1, first.unsqueeze(1), -math.inf)
    second = context.sample("second", Categorical(logits=left))
    context.cost(2 * REWARDS[first] - REWARDS[second])


@problem("finite", {"logit": 0.4}, lambda p: p["logit"].sigmoid() * 3 + 1)
def a_coin_that_is_certain(context: Context, parameters: Parameters, batch: Any) -> None:
    """The second of two coins has the logit inf."""
    logits = torch.stack([parameters["logit"], torch.tensor(math.inf)])
    coins = context.sample("coins", Bernoulli(logits=logits))
    context.cost(3 * coins[:, 0] + coins[:, 1])


@problem("finite", {"probability": 0.3}, lambda p: 2 * p["probability"] + 1)
def a_coin_by_its_probability(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(2 * context.sample("coin", Bernoulli(parameters["probability"])) + 1)


@problem("finite", {"probability": 0.0}, lambda p: 2 * p["probability"] + 1)
def a_coin_of_probability_0(context: Context, parameters: Parameters, batch: Any) -> None:
    """The derivative is 2, though a head is never seen."""
    context.cost(2 * context.sample("coin", Bernoulli(parameters["probability"])) + 1)


@problem("finite", {"probability": 1.0}, lambda p: 2 * p["probability"] + 1)
def a_coin_of_probability_1(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(2 * context.sample("coin", Bernoulli(parameters["probability"])) + 1)


@problem(
    "finite", {"weights": [0.0, 1.0, 3.0]}, lambda p: p["weights"] @ REWARDS / p["weights"].sum()
)
def a_choice_of_probability_0(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(REWARDS[context.sample("choice", Categorical(parameters["weights"]))])


@problem("finite", {"logits": [40.0, -40.0]}, lambda p: p["logits"].sigmoid().sum())
def coins_of_extreme_logits(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("coins", Bernoulli(logits=parameters["logits"])).sum(-1))
