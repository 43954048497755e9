"""Batches in which a datum's cost depends on the draws of others: right along a path, biased where each has its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from experiments.problems.problem import Context, Parameters, problem

PLACES = torch.tensor([-1.0, -0.2, 0.3, 0.9, 1.6])
SLOPE = {"slope": 0.7}


def _chances(p: dict[str, Tensor]) -> Tensor:
    return (p["slope"] * PLACES).sigmoid()


@problem(
    "finite",
    SLOPE,
    lambda p: (_chances(p) * _chances(p).roll(1)).mean(),
    batch=PLACES,
    batch_axes=1,
)
def neighbours_in_the_batch(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Bernoulli(logits=parameters["slope"] * batch))
    context.cost(x * x.roll(1, -1))


@problem(
    "finite",
    SLOPE,
    lambda p: (_chances(p).sum() ** 2 + (_chances(p) * (1 - _chances(p))).sum()) / len(PLACES),
    batch=PLACES,
    batch_axes=1,
)
def pairs_in_the_batch(context: Context, parameters: Parameters, batch: Any) -> None:
    """The square of the sum, shared among the data."""
    x = context.sample("x", Bernoulli(logits=parameters["slope"] * batch))
    context.cost((x.unsqueeze(-1) * x.unsqueeze(-2)).sum(-1))


@problem(
    "smooth",
    SLOPE,
    lambda p: (p["slope"] * (PLACES - PLACES.mean())).square().mean() + 1 - 1 / len(PLACES),
    batch=PLACES,
    batch_axes=1,
)
def deviation_from_the_batch(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["slope"] * batch, 1.0))
    context.cost((x - x.mean(-1, keepdim=True)) ** 2)
