"""Axes whose lengths coincide: elements K, data B and samples n. No length may decide what an axis counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from experiments.problems.problem import Context, Parameters, chance, coins, problem

THREE, FOUR = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 2.0, 0.0])
LOGITS = [0.4, -0.3, 0.9]


def _shared_coins(data: Tensor) -> Any:
    """E[mean over data of (number of heads - datum)^2]."""

    def objective(p: dict[str, Tensor]) -> Tensor:
        q = p["theta"].sigmoid()
        return (q * (1 - q)).sum() + (q.sum() - data).square().mean()

    return objective


def _charge_shared_coins(context: Context, parameters: Parameters, batch: Tensor) -> None:
    """One draw of three coins serves the whole batch."""
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    context.cost((z.sum(-1, keepdim=True) - batch) ** 2)


@problem("finite", {"theta": LOGITS}, _shared_coins(FOUR), batch=FOUR, batch_axes=1)
def shared_draw_batch_of_4(context: Context, parameters: Parameters, batch: Tensor) -> None:
    _charge_shared_coins(context, parameters, batch)


@problem("finite", {"theta": LOGITS}, _shared_coins(THREE), batch=THREE, batch_axes=1)
def shared_draw_as_many_data_as_elements(
    context: Context, parameters: Parameters, batch: Tensor
) -> None:
    _charge_shared_coins(context, parameters, batch)


@problem("finite", {"theta": LOGITS}, _shared_coins(THREE), batch=THREE, samples=3, batch_axes=1)
def shared_draw_as_many_of_everything(
    context: Context, parameters: Parameters, batch: Tensor
) -> None:
    _charge_shared_coins(context, parameters, batch)


@problem("finite", {"theta": LOGITS}, _shared_coins(THREE), batch=THREE, samples=3, batch_axes=1)
def independent_shared_draw_as_many_of_everything(
    context: Context, parameters: Parameters, batch: Tensor
) -> None:
    """The same coins as one event of three."""
    z = context.sample("z", Independent(Bernoulli(logits=parameters["theta"]), 1))
    context.cost((z.sum(-1, keepdim=True) - batch) ** 2)


@problem("finite", {"theta": LOGITS}, _shared_coins(THREE[:1]), samples=3)
def as_many_samples_as_elements(context: Context, parameters: Parameters, batch: Any) -> None:
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    context.cost(z.sum(-1) ** 2)


@problem(
    "finite",
    {"theta": LOGITS},
    lambda p: (p["theta"].sigmoid() * torch.tensor([1.0, -2.0, 3.0])).sum(),
    samples=3,
)
def cost_of_each_element_as_many_as_samples(
    context: Context, parameters: Parameters, batch: Any
) -> None:
    """A cost `[n, 3]` with n = 3: the objective sums over the elements."""
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    context.cost(z * torch.tensor([1.0, -2.0, 3.0]))


@problem(
    "finite",
    {"theta": [1.0] * 16},
    lambda p: p["theta"].sum().sigmoid() + p["theta"].square().sum(),
    samples=16,
)
def penalty_as_long_as_the_samples(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("b", Bernoulli(logits=parameters["theta"].sum())))
    context.penalty(parameters["theta"] ** 2, "weights")


@problem(
    "finite",
    {"theta": [1.0, -0.5, 0.3]},
    lambda p: p["theta"].sum().sigmoid() + p["theta"].square().sum(),
    batch=THREE,
    samples=4,
    batch_axes=1,
)
def penalty_as_long_as_the_batch(context: Context, parameters: Parameters, batch: Tensor) -> None:
    coin = context.sample("b", Bernoulli(logits=parameters["theta"].sum()))
    context.cost(coin.unsqueeze(-1) + 0 * batch)
    context.penalty(parameters["theta"] ** 2, "weights")


@problem("finite", {"theta": [0.5, 1.0]}, lambda p: p["theta"][0].sigmoid())
def first_draw_has_a_row_for_each_sample(
    context: Context, parameters: Parameters, batch: Any
) -> None:
    """The state of every sample is 0: the table's row is looked up for each of them."""
    state = torch.zeros(context.samples, dtype=torch.long)
    coin = context.sample("move", Bernoulli(logits=parameters["theta"][state]))
    context.cost(coin)


@problem("finite", {"table": [[0.3, -0.2, 0.8]]}, lambda p: p["table"][0].softmax(0) @ THREE)
def first_choice_has_a_row_for_each_sample(
    context: Context, parameters: Parameters, batch: Any
) -> None:
    state = torch.zeros(context.samples, dtype=torch.long)
    choice = context.sample("choice", Categorical(logits=parameters["table"][state]))
    context.cost(THREE[choice])


GRID = torch.tensor([[0.2, -0.5, 1.0], [0.7, 0.1, -0.4]])


@problem(
    "finite",
    {"weight": 0.8},
    lambda p: ((p["weight"] * GRID).sigmoid() * (GRID + 1)).mean(),
    batch=GRID,
    batch_axes=2,
)
def two_batch_axes(context: Context, parameters: Parameters, batch: Tensor) -> None:
    coin = context.sample("coin", Bernoulli(logits=parameters["weight"] * batch))
    context.cost(coin * (batch + 1))


@problem(
    "finite",
    {"weight": 0.8},
    lambda p: ((p["weight"] * GRID).sigmoid() * (GRID + 1)).sum(-1).mean(),
    batch=GRID,
    samples=2,
    batch_axes=1,
)
def elements_of_each_datum_as_many_samples_as_data(
    context: Context, parameters: Parameters, batch: Tensor
) -> None:
    """Draws and costs `[n, B, 3]` with n = B = 2."""
    coin = context.sample("coin", Bernoulli(logits=parameters["weight"] * batch))
    context.cost(coin * (batch + 1))


SIGNS = torch.tensor([1.0, -1.0, 0.5])


@problem(
    "smooth",
    {"mean": [0.4, -0.2, 0.7]},
    lambda p: p["mean"].square().sum() + 3 + (p["mean"] * SIGNS).sum(),
    samples=3,
)
def a_normal_vector_as_long_as_the_samples(
    context: Context, parameters: Parameters, batch: Any
) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost((x.square() + SIGNS * x).sum(-1))


def _followed(p: dict[str, Tensor]) -> Tensor:
    values = coins(3)
    weights = chance(p["theta"], values)
    second = (values * SIGNS).sigmoid()
    return (weights.unsqueeze(1) * (second * torch.tensor([2.0, 1.0, -3.0]))).sum()


@problem("finite", {"theta": LOGITS}, _followed, samples=3)
def a_second_vector_as_long_as_the_samples(
    context: Context, parameters: Parameters, batch: Any
) -> None:
    """Each coin throws another: `[n, 3]` with n = 3, where the second draw's parameters have the samples."""
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    y = context.sample("y", Bernoulli(logits=z * SIGNS))
    context.cost((y * torch.tensor([2.0, 1.0, -3.0])).sum(-1))


@problem("finite", {"theta": LOGITS}, lambda p: 2 * p["theta"].sigmoid().mean())
def mean_over_the_samples_is_charged(context: Context, parameters: Parameters, batch: Any) -> None:
    """A scalar made of all samples: no sample has a cost of its own."""
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    context.cost(2 * z.mean())


@problem("smooth", {"mean": 0.4}, lambda p: p["mean"] ** 2 + 1)
def mean_over_the_samples_of_a_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x.square().mean())


@problem(
    "finite",
    {"weight": 0.5},
    lambda p: ((p["weight"] * THREE).sigmoid() * (THREE - 1)).mean(),
    batch=THREE,
    batch_axes=1,
)
def mean_over_the_batch_is_charged(context: Context, parameters: Parameters, batch: Tensor) -> None:
    """The mean over the data by hand: `[n]`, charged to the draws of all data."""
    coin = context.sample("coin", Bernoulli(logits=parameters["weight"] * batch))
    context.cost((coin * (batch - 1)).mean(-1))
