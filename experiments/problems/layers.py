"""Several draws, each with costs before and after it: who is charged with what."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, OneHotCategorical

from experiments.problems.problem import Context, Parameters, chance, coins, problem

LOGITS = [0.3, -1.0, 0.7]
WEIGHT = [[1.0, -1.0], [0.5, 0.3]]
DATA = torch.tensor([[1.0, 0.5], [-1.0, 0.3], [0.2, 0.7]])


def _several(p: dict[str, Tensor]) -> Tensor:
    b = coins(3)
    cost = (b @ torch.tensor([1.0, 2.0, -1.0])) ** 2 + p["logits"].sum() * b[:, 0]
    return chance(p["logits"], b) @ cost + p["logits"].square().sum()


@problem("finite", {"logits": LOGITS}, _several)
def several(context: Context, parameters: Parameters, batch: Any) -> None:
    """A cost that does not separate and depends on the parameters directly, too; with a penalty."""
    logits = parameters["logits"]
    b = context.sample("b", Independent(Bernoulli(logits=logits), 1))
    context.cost((b * torch.tensor([1.0, 2.0, -1.0])).sum(-1) ** 2 + logits.sum() * b[:, 0])
    context.penalty(logits.square().sum(), "weights")


def _independent(p: dict[str, Tensor]) -> Tensor:
    a, c = p["a"].sigmoid(), coins(2)
    late = sum(
        q * (((x - 2 * c) ** 2).sum(-1) * c[:, 0] * chance(p["c"], c)).sum()
        for x, q in ((1.0, a), (0.0, 1 - a))
    )
    return 3 * a + late


@problem("finite", {"a": -0.4, "c": LOGITS[:2]}, _independent)
def independent_draws(context: Context, parameters: Parameters, batch: Any) -> None:
    """Two draws that do not depend on each other, with a cost between them."""
    a = context.sample("a", Bernoulli(logits=parameters["a"]))
    context.cost(3 * a, "early")
    c = context.sample("c", Bernoulli(logits=parameters["c"]))
    context.cost((a[:, None] - 2 * c).square().sum(-1) * c[:, 0], "late")


def _layered(p: dict[str, Tensor]) -> Tensor:
    v, total = p["v"][0], torch.zeros(())
    w, q_w = torch.tensor([0.0, 1.0]), torch.stack([(-v).sigmoid(), v.sigmoid()])
    for x, at_x in zip(coins(2), chance(p["logits"], coins(2)), strict=True):
        for y, at_y in zip(coins(2), chance(x @ p["weight"], coins(2)), strict=True):
            q = coins(2)
            at_q = chance(y * v - 0.3, q)
            cost = (y.sum() * x[1] - w[:, None] + 2 * q.sum(-1)) ** 2 * v.exp()
            total = total + at_x * at_y * (q_w @ cost @ at_q)
        total = total + at_x * 3 * x[0]
    return total


@problem("finite", {"logits": [0.5, -0.5], "weight": WEIGHT, "v": [0.2]}, _layered)
def layered(context: Context, parameters: Parameters, batch: Any) -> None:
    """Three layers, a draw that depends on none, and costs in between."""
    v = parameters["v"][0]
    x = context.sample("x", Bernoulli(logits=parameters["logits"]))
    context.cost(3 * x[:, 0], "early")
    y = context.sample("y", Bernoulli(logits=x @ parameters["weight"]))
    w = context.sample("w", Bernoulli(logits=v))
    q = context.sample("q", Bernoulli(logits=y * v - 0.3))
    context.cost((y.sum(-1) * x[:, 1] - w + 2 * q.sum(-1)) ** 2 * v.exp(), "late")


def _network(p: dict[str, Tensor]) -> Tensor:
    total = torch.zeros(())
    for datum in DATA:
        for shared, q in ((1.0, p["shared"].sigmoid()), (0.0, (-p["shared"]).sigmoid())):
            total = total + q * shared * datum[0]
            for x, at_x in zip(coins(2), chance(datum @ p["weight"], coins(2)), strict=True):
                y = coins(2)
                at_y = chance(x @ p["weight"].T + datum * shared, y)
                total = total + q * at_x * (at_y @ ((y * x[0]).sum(-1) ** 2))
    return total / len(DATA)


@problem("finite", {"weight": WEIGHT, "shared": 0.4}, _network, batch=DATA, batch_axes=1)
def network_with_a_shared_draw(context: Context, parameters: Parameters, batch: Tensor) -> None:
    """A batch axis, logits made by a network, and one draw that all data of a sample share."""
    weight = parameters["weight"]
    x = context.sample("x", Bernoulli(logits=batch @ weight))
    shared = context.sample("shared", Bernoulli(logits=parameters["shared"]))
    logits = x @ weight.T + batch * shared[:, None, None]
    y = context.sample("y", Bernoulli(logits=logits))
    context.cost((y * x[..., :1]).sum(-1) ** 2 + shared[:, None] * batch[:, 0])


PRIZES = torch.tensor([1.0, 2.0, 5.0])


def _categories(p: dict[str, Tensor]) -> Tensor:
    heads = p["weight"].sigmoid()
    return (p["logits"].softmax(0) * PRIZES**1.5 * (1 + heads * (2**1.5 - 1))).sum()


@problem("finite", {"logits": LOGITS, "weight": [0.5, -0.5, 1.0]}, _categories)
def one_hot_then_a_coin(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", OneHotCategorical(logits=parameters["logits"]))
    y = context.sample("y", Bernoulli(logits=x @ parameters["weight"]))
    context.cost(((x * PRIZES).sum(-1) * (1 + y)) ** 1.5)


def _chain(p: dict[str, Tensor]) -> Tensor:
    """By the forward recursion of P(heads)."""
    total, heads = torch.zeros(()), torch.zeros(())
    for step in range(6):
        up, down = (p["theta"][0] + p["theta"][1]).sigmoid(), p["theta"][0].sigmoid()
        heads = heads * up + (1 - heads) * down
        total = total + (step + 1) * heads
    return total


@problem("finite", {"theta": [-0.4, 1.0]}, _chain)
def chain_of_coins(context: Context, parameters: Parameters, batch: Any) -> None:
    """Each coin depends on the last; each is charged on the spot."""
    coin = torch.zeros(context.samples)
    for step in range(6):
        logits = parameters["theta"][0] + parameters["theta"][1] * coin
        coin = context.sample(f"coin/{step}", Bernoulli(logits=logits))
        context.cost((step + 1) * coin, f"cost/{step}")


TARGET = torch.tensor([0.3, -0.7, 1.0, 0.1])


def _bernoulli_elbo(p: dict[str, Tensor]) -> Tensor:
    q, prior = p["logits"].sigmoid(), torch.tensor(0.3)
    kl = q * (q / prior).log() + (1 - q) * ((1 - q) / (1 - prior)).log()
    fit = q * (1 - TARGET) ** 2 + (1 - q) * TARGET**2
    return (kl + 2 * fit).sum()


@problem("finite", {"logits": [0.2, -0.4, 0.9, 0.0]}, _bernoulli_elbo)
def bernoulli_elbo(context: Context, parameters: Parameters, batch: Any) -> None:
    """A negative ELBO `[n, D]` of independent latents, whose cost depends on the parameters by log q, too."""
    posterior = Bernoulli(logits=parameters["logits"])
    z = context.sample("z", posterior)
    kl = posterior.log_prob(z) - Bernoulli(0.3).log_prob(z)
    context.cost(kl + 2 * (z - TARGET) ** 2)


@problem("finite", {"logits": [0.2, -0.4, 0.9, 0.0]}, _bernoulli_elbo)
def bernoulli_elbo_of_the_sum(context: Context, parameters: Parameters, batch: Any) -> None:
    """The same, where each sample's terms are summed before they are charged."""
    posterior = Bernoulli(logits=parameters["logits"])
    z = context.sample("z", posterior)
    kl = posterior.log_prob(z) - Bernoulli(0.3).log_prob(z)
    context.cost((kl + 2 * (z - TARGET) ** 2).sum(-1))


@problem("finite", {"logits": [0.2, -0.4, 0.9, 0.0]}, _bernoulli_elbo)
def bernoulli_elbo_by_the_context(context: Context, parameters: Parameters, batch: Any) -> None:
    """The same, where the context gives log q: its coefficients are compared between samples."""
    z = context.sample("z", Bernoulli(logits=parameters["logits"]))
    kl = context.log_prob("z") - Bernoulli(0.3).log_prob(z)
    context.cost(kl + 2 * (z - TARGET) ** 2)


def _log_probability_squared(p: dict[str, Tensor]) -> Tensor:
    heads = p["logits"].sigmoid()
    return (heads * heads.log() ** 2 + (1 - heads) * (1 - heads).log() ** 2).sum()


@problem("finite", {"logits": [0.2, -0.4, 0.9]}, _log_probability_squared)
def log_probability_squared(context: Context, parameters: Parameters, batch: Any) -> None:
    """A cost whose dependence on log q differs from sample to sample."""
    context.sample("z", Bernoulli(logits=parameters["logits"]))
    context.cost(context.log_prob("z") ** 2)


def _normal_elbo(p: dict[str, Tensor]) -> Tensor:
    variance = (2 * p["log_scale"]).exp()
    kl = 0.5 * (variance + p["mean"] ** 2 - 1) - p["log_scale"]
    return (kl + (p["mean"] - TARGET) ** 2 + variance).sum()


@problem(
    "smooth", {"mean": [0.2, -0.4, 0.9, 0.0], "log_scale": [-0.3, 0.1, 0.0, -1.0]}, _normal_elbo
)
def normal_elbo(context: Context, parameters: Parameters, batch: Any) -> None:
    posterior = Normal(parameters["mean"], parameters["log_scale"].exp())
    z = context.sample("z", posterior)
    kl = posterior.log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    context.cost((kl + (z - TARGET) ** 2).sum(-1))


def _coin_then_normal(p: dict[str, Tensor]) -> Tensor:
    q = p["logit"].sigmoid()
    heads, tails = (p["shift"] + p["mean"] - 1) ** 2, (p["mean"] - 1) ** 2
    return q * (heads + 2) + (1 - q) * tails + 0.25


@problem("smooth", {"logit": 0.4, "shift": 1.5, "mean": -0.2}, _coin_then_normal)
def coin_then_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    b = context.sample("b", Bernoulli(logits=parameters["logit"]))
    context.cost(2 * b)
    x = context.sample("x", Normal(b * parameters["shift"] + parameters["mean"], 0.5))
    context.cost((x - 1) ** 2)


def _normal_then_coin(p: dict[str, Tensor]) -> Tensor:
    """E[sigmoid(x)] by Gauss-Hermite quadrature of 64 nodes, exact to rounding."""
    import numpy

    nodes, weights = (torch.tensor(a) for a in numpy.polynomial.hermite_e.hermegauss(64))
    x = p["mean"] + nodes * p["log_scale"].exp()
    return ((weights * x.sigmoid()).sum() / weights.sum() * 3 + p["mean"]).float()


@problem("smooth", {"mean": 0.5, "log_scale": -0.2}, _normal_then_coin)
def normal_then_coin(context: Context, parameters: Parameters, batch: Any) -> None:
    x = context.sample("x", Normal(parameters["mean"], parameters["log_scale"].exp()))
    context.cost(x)
    context.cost(3 * context.sample("b", Bernoulli(logits=x)))


@problem(
    "finite", {"used": 0.3, "unused": 0.8}, lambda p: 2 * p["used"].sigmoid() + 0 * p["unused"]
)
def a_draw_that_nothing_depends_on(context: Context, parameters: Parameters, batch: Any) -> None:
    coin = context.sample("used", Bernoulli(logits=parameters["used"]))
    context.sample("unused", Bernoulli(logits=parameters["unused"]))
    context.cost(2 * coin)


@problem("finite", {"logit": 0.3}, lambda p: 2 * p["logit"].sigmoid() + p["logit"] ** 2)
def charged_before_the_first_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(parameters["logit"] ** 2)
    context.cost(2 * context.sample("coin", Bernoulli(logits=parameters["logit"])))
