"""What a program may do besides drawing and charging: branches, loops, baselines, bounds, penalties, mixtures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
)

from experiments.problems.problem import Context, Parameters, chance, coins, problem


def _branching(p: dict[str, Tensor]) -> Tensor:
    q = p["logit"].sigmoid()
    return q * (1 + 3 * p["up"].sigmoid()) + (1 - q) * (-2 * p["down"].sigmoid())


@problem("finite", {"logit": 0.3, "up": -0.4, "down": 0.8}, _branching, one_sample_at_a_time=True)
def branch_on_a_coin(context: Context, parameters: Parameters, batch: Any) -> None:
    """The branches draw at sites of their own, and charge different numbers of costs."""
    if context.sample("first", Bernoulli(logits=parameters["logit"])):
        context.cost(1.0)
        context.cost(3 * context.sample("up", Bernoulli(logits=parameters["up"])))
    else:
        context.cost(-2 * context.sample("down", Bernoulli(logits=parameters["down"])))


def _bounded(p: dict[str, Tensor]) -> Tensor:
    """Tosses until heads, three at most, and 5 if there was none."""
    miss = (-p["logit"]).sigmoid()
    return 1 + miss + miss**2 + 5 * miss**3


@problem("finite", {"logit": 0.3}, _bounded, one_sample_at_a_time=True)
def loop_with_a_bound(context: Context, parameters: Parameters, batch: Any) -> None:
    for toss in range(3):
        context.cost(1.0)
        if context.sample(f"toss/{toss}", Bernoulli(logits=parameters["logit"])):
            return
    context.cost(5.0)


@problem("finite", {"logit": 0.3}, lambda p: 4 * p["logit"].sigmoid() * 2)
def one_name_for_two_draws(context: Context, parameters: Parameters, batch: Any) -> None:
    first = context.sample("coin", Bernoulli(logits=parameters["logit"]))
    second = context.sample("coin", Bernoulli(logits=parameters["logit"]))
    context.cost(4 * (first + second))


@problem("finite", {"logit": 0.3}, lambda p: 10 + 2 * p["logit"].sigmoid())
def baseline_by_the_program(context: Context, parameters: Parameters, batch: Any) -> None:
    coin = context.sample(
        "coin", Bernoulli(logits=parameters["logit"]), baseline=torch.tensor(11.0)
    )
    context.cost(10 + 2 * coin)


@problem("finite", {"logit": 0.3}, lambda p: 2 * p["logit"].sigmoid() + 3 * p["logit"] ** 2 + 1)
def penalties_and_constants(context: Context, parameters: Parameters, batch: Any) -> None:
    coin = context.sample("coin", Bernoulli(logits=parameters["logit"]))
    context.penalty(3 * parameters["logit"] ** 2, "square")
    context.cost(2 * coin)
    context.cost(1.0, "constant")


def _entropy(p: dict[str, Tensor]) -> Tensor:
    q = p["logits"].softmax(0)
    return q @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 * (q * q.log()).sum()


@problem("finite", {"logits": [0.3, -0.4, 0.1]}, _entropy)
def entropy_bonus(context: Context, parameters: Parameters, batch: Any) -> None:
    policy = Categorical(logits=parameters["logits"])
    context.cost(torch.tensor([1.0, -2.0, 0.5])[context.sample("action", policy)])
    context.penalty(-0.3 * policy.entropy(), "entropy")


@problem("finite", {"logits": [0.3, -0.4, 0.1]}, _entropy)
def entropy_by_the_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    """The same entropy by its one-sample form: a cost that holds the draw's own log-probability."""
    policy = Categorical(logits=parameters["logits"])
    action = context.sample("action", policy)
    context.cost(torch.tensor([1.0, -2.0, 0.5])[action] + 0.3 * policy.log_prob(action))


def _bound(p: dict[str, Tensor]) -> Tensor:
    """-E[log of the mean of three weights], each exp(2 b - 1): over all 8 values."""
    values = coins(3)
    weights = (2 * values - 1).exp().mean(-1)
    return -(chance(p["logit"].expand(3), values) @ weights.log())


@problem("finite", {"logit": 0.3}, _bound, samples=3)
def bound_of_three_samples(context: Context, parameters: Parameters, batch: Any) -> None:
    """An importance-weighted bound, with n = 3 (Burda et al. 2016)."""
    context.bound(2 * context.sample("b", Bernoulli(logits=parameters["logit"])) - 1)


def _bound_and_cost(p: dict[str, Tensor]) -> Tensor:
    return _bound(p) + 2 * p["logit"].sigmoid() + p["logit"] ** 2


@problem("finite", {"logit": 0.3}, _bound_and_cost, samples=3)
def bound_with_a_cost_and_a_penalty(context: Context, parameters: Parameters, batch: Any) -> None:
    b = context.sample("b", Bernoulli(logits=parameters["logit"]))
    context.bound(2 * b - 1)
    context.cost(2 * b)
    context.penalty(parameters["logit"] ** 2, "square")


def _mixture(p: dict[str, Tensor]) -> Tensor:
    return (p["logits"].softmax(0) * ((p["means"] - 1) ** 2 + 0.49)).sum()


@problem("smooth", {"logits": [0.4, -0.3], "means": [-1.0, 2.0]}, _mixture)
def mixture_of_normals(context: Context, parameters: Parameters, batch: Any) -> None:
    components = Normal(parameters["means"], 0.7)
    mixture = MixtureSameFamily(Categorical(logits=parameters["logits"]), components)
    context.cost((context.sample("x", mixture) - 1) ** 2)


@problem("smooth", {"logits": [0.4, -0.3], "means": [-1.0, 2.0]}, _mixture)
def mixture_in_two_draws(context: Context, parameters: Parameters, batch: Any) -> None:
    which = context.sample("which", Categorical(logits=parameters["logits"]))
    x = context.sample("x", Normal(parameters["means"][which], 0.7))
    context.cost((x - 1) ** 2)


@problem("finite", {"logits": [0.3, -0.2, 0.5]}, lambda p: p["logits"].sigmoid().prod() * 8)
def product_of_an_independent_vector(context: Context, parameters: Parameters, batch: Any) -> None:
    z = context.sample("z", Independent(Bernoulli(logits=parameters["logits"]), 1))
    context.cost(8 * z.prod(-1))


@problem("discrete", {"logit": 0.3}, lambda p: 2 * p["logit"].sigmoid(), stateful=True)
def a_program_that_keeps_tensors(context: Context, parameters: Parameters, batch: Any) -> None:
    coin = context.sample("coin", Bernoulli(logits=parameters["logit"]))
    LAST.append(coin)
    del LAST[:-1]
    context.cost(2 * LAST[-1])


LAST: list[Tensor] = []


@problem("finite", {"logit": 0.3}, lambda p: p["logit"].sigmoid())
def dice_of_its_own(context: Context, parameters: Parameters, batch: Any) -> None:
    """Randomness that is not a draw: noise of mean 1 on the cost."""
    coin = context.sample("coin", Bernoulli(logits=parameters["logit"]))
    context.cost(coin * (1 + 0.5 * torch.randn(context.samples)))


def _second_order(p: dict[str, Tensor]) -> Tensor:
    return (p["mean"] ** 2 + 1) * p["mean"]


@problem("smooth", {"mean": 0.6}, _second_order)
def cost_by_an_inner_derivative(context: Context, parameters: Parameters, batch: Any) -> None:
    """The program takes a derivative itself: that of mean x^2 / 2 times x."""
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    inner = x if x.requires_grad else x.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad((inner**2 / 2).sum(), inner, create_graph=True)
    context.cost(parameters["mean"] * slope * x)
