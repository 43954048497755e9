"""Small problems of every kind whose gradient is known in closed form, and which hold no trap."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    Geometric,
    Normal,
    Poisson,
)

from experiments.problems.problem import Context, Parameters, problem


@problem(
    "finite",
    {"theta": [0.3]},
    lambda p: (
        p["theta"].sigmoid() * (1 - 0.499) ** 2 + (1 - p["theta"].sigmoid()) * 0.499**2
    ).sum(),
)
def rebar_toy(context: Context, parameters: Parameters, batch: Any) -> None:
    b = context.sample("b", Bernoulli(logits=parameters["theta"]))
    context.cost((b - 0.499) ** 2)


REWARDS = torch.tensor([1.0, -2.0, 0.5, 3.0])


@problem(
    "finite", {"logits": [0.1, 0.4, -0.3, -1.0]}, lambda p: (p["logits"].softmax(0) * REWARDS).sum()
)
def categorical(context: Context, parameters: Parameters, batch: Any) -> None:
    choice = context.sample("choice", Categorical(logits=parameters["logits"]))
    context.cost(REWARDS[choice])


def _two_layers(p: dict[str, Tensor]) -> Tensor:
    first = p["first"].sigmoid()
    second = torch.stack([p["second"][0].sigmoid(), p["second"][1].sigmoid()])
    return 2 * first + (1 - first) * (second[0] * 3 - 1) + first * (second[1] * 3 - 1)


@problem("finite", {"first": 0.5, "second": [-0.2, 0.8]}, _two_layers)
def two_layers(context: Context, parameters: Parameters, batch: Any) -> None:
    """The second coin depends on the first; the first is charged with both costs, the second with one."""
    first = context.sample("first", Bernoulli(logits=parameters["first"]))
    context.cost(2 * first, "early")
    second = context.sample("second", Bernoulli(logits=parameters["second"][first.long()]))
    context.cost(3 * second - 1, "late")


PAYOFF = torch.tensor([[2.0, -1.0, 0.0], [-1.0, 1.0, 3.0]])


@problem(
    "finite",
    {"row": [0.2, -0.1], "column": [0.3, 0.0, -0.5]},
    lambda p: p["row"].softmax(0) @ PAYOFF @ p["column"].softmax(0),
)
def matrix_game(context: Context, parameters: Parameters, batch: Any) -> None:
    row = context.sample("row", Categorical(logits=parameters["row"]))
    column = context.sample("column", Categorical(logits=parameters["column"]))
    context.cost(PAYOFF[row, column])


def _coins(p: dict[str, Tensor]) -> Tensor:
    """E[(sum of coins - 2)^2] of independent coins: variance + (mean - 2)^2."""
    q = p["theta"].sigmoid()
    return (q * (1 - q)).sum() + (q.sum() - 2) ** 2


@problem("finite", {"theta": [0.2, -0.7, 1.1, 0.4]}, _coins)
def coins_together(context: Context, parameters: Parameters, batch: Any) -> None:
    """One draw of four coins whose cost does not separate."""
    coins = context.sample("coins", Bernoulli(logits=parameters["theta"]))
    context.cost((coins.sum(-1) - 2) ** 2)


WEIGHTS = torch.tensor([1.0, 2.0, 4.0])


def _permutation(p: dict[str, Tensor]) -> Tensor:
    """Plackett-Luce over three items: the sum over the six orders."""
    total = torch.zeros(())
    s = p["scores"].exp()
    for a in range(3):
        for b in {0, 1, 2} - {a}:
            c = 3 - a - b
            probability = s[a] / s.sum() * s[b] / (s.sum() - s[a])
            total = total + probability * (WEIGHTS[a] + 2 * WEIGHTS[b] + 3 * WEIGHTS[c]) ** 2 / 10
    return total


@problem("finite", {"scores": [0.5, -0.2, 0.1]}, _permutation)
def permutation(context: Context, parameters: Parameters, batch: Any) -> None:
    """An order of three items, drawn one by one without putting back."""
    scores = parameters["scores"]
    first = context.sample("first", Categorical(logits=scores))
    left = scores.expand(context.samples, 3).scatter(1, first.unsqueeze(1), -1e9)
    second = context.sample("second", Categorical(logits=left))
    third = (3 - first - second).clamp(0, 2)  # enumeration also walks the impossible orders
    context.cost((WEIGHTS[first] + 2 * WEIGHTS[second] + 3 * WEIGHTS[third]) ** 2 / 10)


@problem("finite", {"move": [[0.3, -0.2], [0.1, 0.6]]}, lambda p: _walk(p["move"], 0, 3))
def small_decision_process(context: Context, parameters: Parameters, batch: Any) -> None:
    """Three moves between two states; each arrival costs, moving right is chosen by the policy."""
    state = torch.zeros(context.samples, dtype=torch.long)
    for step in range(3):
        move = context.sample(
            f"move/{step}", Categorical(logits=parameters["move"][state]), per_sample=True
        )
        state = (state + move) % 2
        context.cost(1.0 + 2.0 * state * (step + 1), f"arrival/{step}")


def _walk(move: Tensor, state: int, left: int, step: int = 0) -> Tensor:
    """The decision process's expected cost, by recursion."""
    if left == 0:
        return torch.zeros(())
    chances = move[state].softmax(0)
    total = torch.zeros(())
    for choice in range(2):
        arrived = (state + choice) % 2
        cost = 1.0 + 2.0 * arrived * (step + 1)
        total = total + chances[choice] * (cost + _walk(move, arrived, left - 1, step + 1))
    return total


DATA = torch.tensor([[1.0, 0.5], [-0.5, 1.0], [0.3, -2.0]])
TARGETS = torch.tensor([0.2, 0.7, 0.9])


@problem(
    "finite",
    {"weight": [0.5, -0.3]},
    lambda p: (lambda q: q * (1 - TARGETS) ** 2 + (1 - q) * TARGETS**2)(
        (DATA @ p["weight"]).sigmoid()
    ).mean(),
    batch=DATA,
    batch_axes=1,
)
def coin_for_each_datum(context: Context, parameters: Parameters, batch: Any) -> None:
    """A batch of data: each datum has its own draw and is charged with its own cost."""
    coin = context.sample("coin", Bernoulli(logits=batch @ parameters["weight"]))
    context.cost((coin - TARGETS) ** 2)


@problem(
    "discrete", {"log_rate": 0.7}, lambda p: p["log_rate"].exp() + (p["log_rate"].exp() - 3) ** 2
)
def poisson(context: Context, parameters: Parameters, batch: Any) -> None:
    count = context.sample("count", Poisson(parameters["log_rate"].exp()))
    context.cost((count - 3) ** 2)


@problem("discrete", {"logit": 0.2}, lambda p: 1 / p["logit"].sigmoid() - 1)
def geometric(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("failures", Geometric(logits=parameters["logit"])))


@problem("discrete", {"logit": 0.4}, lambda p: 1 / p["logit"].sigmoid(), one_sample_at_a_time=True)
def random_length_loop(context: Context, parameters: Parameters, batch: Any) -> None:
    """Toss until heads: a Python loop whose length is drawn; each toss costs 1."""
    tosses = 0
    heads = False
    while not heads:
        tosses += 1
        context.cost(1.0, f"toss/{tosses}")
        heads = bool(context.sample(f"heads/{tosses}", Bernoulli(logits=parameters["logit"])))


@problem(
    "smooth",
    {"mean": 0.5, "log_scale": -0.3},
    lambda p: (p["mean"] - 2) ** 2 + (2 * p["log_scale"]).exp(),
)
def gaussian_quadratic(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], parameters["log_scale"].exp()))
    context.cost((x - 2) ** 2)


@problem(
    "smooth",
    {"mean": 0.4, "scale": 0.7},
    lambda p: (1.5 * p["mean"]).cos() * (-(1.5**2) * p["scale"] ** 2 / 2).exp(),
)
def gaussian_cosine(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost((1.5 * context.sample("x", Normal(parameters["mean"], parameters["scale"]))).cos())


def _kink(p: dict[str, Tensor]) -> Tensor:
    """E|x| of a Gaussian."""
    m, s = p["mean"], p["scale"]
    return s * math.sqrt(2 / math.pi) * (-(m**2) / (2 * s**2)).exp() + m * torch.erf(
        m / (s * math.sqrt(2))
    )


@problem("smooth", {"mean": 0.4, "scale": 0.8}, _kink)
def gaussian_kink(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Normal(parameters["mean"], parameters["scale"])).abs())


@problem(
    "smooth",
    {"mean": 0.4},
    lambda p: 0.3**2 + 0.5**2 + (p["mean"] - 1) ** 2 + p["mean"] ** 2,
)
def gaussian_chain(context: Context, parameters: Parameters, batch: Any) -> None:
    """The second draw depends on the first, and the cost on the parameters directly as well."""
    x = context.sample("x", Normal(parameters["mean"], 0.3))
    y = context.sample("y", Normal(x, 0.5))
    context.cost((y - 1) ** 2 + parameters["mean"] ** 2)


@problem(
    "kinked",
    {"mean": 0.3},
    lambda p: 2 * (0.5 * (1 + torch.erf(p["mean"] / (0.6 * math.sqrt(2))))) - p["mean"],
)
def branch(context: Context, parameters: Parameters, batch: Any) -> None:
    """A branch on a drawn value: its jump is what a pathwise derivative cannot see."""
    x = context.sample("x", Normal(parameters["mean"], 0.6))
    context.cost(torch.where(x > 0, 2.0, 0.0) - x)


@problem("smooth", {"log_shape": 0.6}, lambda p: (lambda a: a * (a + 1) / 4)(p["log_shape"].exp()))
def gamma(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Gamma(parameters["log_shape"].exp(), 2.0)) ** 2)


@problem("smooth", {"a": 1.5, "b": 2.5}, lambda p: p["a"] / (p["a"] + p["b"]))
def beta(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(context.sample("x", Beta(parameters["a"], parameters["b"])))


def _dirichlet(p: dict[str, Tensor]) -> Tensor:
    a = p["alpha"]
    return (a * (a + 1) / (a.sum() * (a.sum() + 1)) * WEIGHTS).sum()


@problem("smooth", {"alpha": [0.8, 1.5, 2.0]}, _dirichlet)
def dirichlet(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost((context.sample("x", Dirichlet(parameters["alpha"])) ** 2 * WEIGHTS).sum(-1))
