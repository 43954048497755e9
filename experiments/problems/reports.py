"""Objectives for which users of other libraries reported a wrong gradient or value, with the right ones.

Each names the project and the issue. What is re-created is the objective, in this project's terms; what went wrong
there is said in a sentence.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    LogNormal,
    Multinomial,
    MultivariateNormal,
    Normal,
    PowerTransform,
    RelaxedOneHotCategorical,
    TransformedDistribution,
)

from experiments.problems.problem import Context, Parameters, chance, coins, problem

OBSERVED = torch.tensor([1.0, 0.2])


def _elbo_of_means(p: dict[str, Tensor]) -> Tensor:
    """E[log q(z) - log p(z) - log p(x | z)], z ~ Normal(mean, scale), p(z) and p(x | z) of scale 1, for two data."""
    entropy = 0.5 * math.log(2 * math.pi * math.e) + p["log_scale"]
    variance = (2 * p["log_scale"]).exp()
    squares = p["means"] ** 2 + (p["means"] - OBSERVED) ** 2 + 2 * variance
    return (math.log(2 * math.pi) + squares / 2 - entropy).sum()


@problem("smooth", {"means": [0.3, -0.4], "log_scale": 0.2}, _elbo_of_means)
def elbo_whose_cost_holds_the_guide(context: Context, parameters: Parameters, batch: Any) -> None:
    """pyro-ppl/pyro#2894, pyro-ppl/numpyro#1512: without a path, the derivative of log q within the cost was lost."""
    guide = Normal(parameters["means"], parameters["log_scale"].exp())
    z = context.sample("z", guide)
    model = Normal(0.0, 1.0).log_prob(z) + Normal(z, 1.0).log_prob(OBSERVED)
    context.cost((guide.log_prob(z) - model).sum(-1))


def _plate_elbo(p: dict[str, Tensor]) -> Tensor:
    q, prior = p["logits"].softmax(-1), torch.tensor([0.2, 0.8])
    kl = (q * (q / prior).log()).sum()
    total = torch.zeros(())
    for first, second in product(range(2), repeat=2):
        fit = Normal(float(first + second), 1.0).log_prob(torch.tensor(1.0))
        total = total + q[0, first] * q[1, second] * fit
    return kl - total


@problem("finite", {"logits": [[0.3, -0.2], [-0.6, 0.5]]}, _plate_elbo)
def plate_under_one_observation(context: Context, parameters: Parameters, batch: Any) -> None:
    """pyro-ppl/numpyro#1537: two draws of a plate meet in one cost; their weights were added where they multiply."""
    guide = Categorical(logits=parameters["logits"])
    a = context.sample("a", guide)
    prior = Categorical(torch.tensor([0.2, 0.8])).log_prob(a)
    context.cost((guide.log_prob(a) - prior).sum(-1))
    context.cost(-Normal(a.sum(-1).float(), 1.0).log_prob(torch.tensor(1.0)))


def _plate_below_a_choice(p: dict[str, Tensor]) -> Tensor:
    total = torch.zeros(())
    for a, at_a in ((0, (-p["a"]).sigmoid()), (1, p["a"].sigmoid())):
        heads = p["b"][a].sigmoid()
        later = heads * p["c"][1].sigmoid() + (1 - heads) * p["c"][0].sigmoid()
        total = total + at_a * (later.sum() + 3 * heads.prod())
    return total


@problem(
    "finite",
    {"a": 0.3, "b": [[0.2, -0.5], [1.0, 0.4]], "c": [-0.7, 0.6]},
    _plate_below_a_choice,
)
def plate_below_a_choice(context: Context, parameters: Parameters, batch: Any) -> None:
    """pyro-ppl/pyro#2724: a -> (b -> c) twice; the choice above the plate was summed out for each member alone."""
    a = context.sample("a", Bernoulli(logits=parameters["a"]))
    b = context.sample("b", Bernoulli(logits=parameters["b"][a.long()]))
    c = context.sample("c", Bernoulli(logits=parameters["c"][b.long()]))
    context.cost(c.sum(-1))
    context.cost(3 * b.prod(-1))


WHERE = torch.tensor([-1.0, 0.5, 2.0])


def _assignments(p: dict[str, Tensor]) -> Tensor:
    total = torch.zeros(())
    for z, at_z in ((0.0, (-p["shared"]).sigmoid()), (1.0, p["shared"].sigmoid())):
        centres = torch.stack([p["centres"][0] + z, p["centres"][1]])
        costs = (WHERE.unsqueeze(1) - centres) ** 2
        weights = (p["logits"] + WHERE.unsqueeze(1) * torch.tensor([0.5, -0.5])).softmax(-1)
        total = total + at_z * (weights * costs).sum(-1).mean()
    return total


@problem(
    "finite",
    {"shared": -0.3, "logits": [0.4, -0.1], "centres": [0.2, 1.1]},
    _assignments,
    batch=WHERE,
    batch_axes=1,
)
def assignments_of_a_batch(context: Context, parameters: Parameters, batch: Tensor) -> None:
    """pyro-ppl/pyro#846: enumerating each datum's assignment below a draw that the batch shares gave wrong results."""
    z = context.sample("z", Bernoulli(logits=parameters["shared"]))
    logits = parameters["logits"] + batch.unsqueeze(-1) * torch.tensor([0.5, -0.5])
    which = context.sample("which", Categorical(logits=logits))
    moved = parameters["centres"] + z.unsqueeze(-1) * torch.tensor([1.0, 0.0])
    centre = torch.where(which == 0, moved[:, :1], moved[:, 1:])
    context.cost((batch - centre) ** 2)


@problem(
    "smooth",
    {"power": 0.6},
    lambda p: (p["power"] ** 2 / 2).exp(),
)
def transform_that_remembers(context: Context, parameters: Parameters, batch: Any) -> None:
    """pytorch/pytorch#59822, found in pyro-ppl/numpyro#1044: with a cached inverse the log-probability of a draw was
    differentiated at the noise behind it instead of at the draw. E[x^a] of a standard log-normal x is exp(a^2 / 2)."""
    power = PowerTransform(parameters["power"], cache_size=1)
    x = context.sample("x", TransformedDistribution(LogNormal(0.0, 1.0), power))
    context.cost(x)


def _own_density(p: dict[str, Tensor]) -> Tensor:
    """E[x log q(x)] = mean E[log q(x)], by symmetry."""
    return -p["mean"] * (0.5 * math.log(2 * math.pi * math.e) + p["log_scale"])


@problem("smooth", {"mean": 0.7, "log_scale": -0.2}, _own_density)
def density_at_its_own_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    """tensorflow/tensorflow#7236, blei-lab/edward#90: along the path, the density's derivative at its own draw in the
    mean vanishes; the score function's must be that of the density, not of the path."""
    distribution = Normal(parameters["mean"], parameters["log_scale"].exp())
    x = context.sample("x", distribution)
    context.cost(x * distribution.log_prob(x))


@problem("smooth", {"logits": [0.4, -0.9]}, lambda p: (p["logits"][0] - p["logits"][1]) / 0.8)
def relaxed_choice_as_the_draw(context: Context, parameters: Parameters, batch: Any) -> None:
    """tensorflow/probability#1132: the path's derivative was zero or tiny. The log-odds of two relaxed choices are
    logistic about the difference of the logits over the temperature."""
    temperature = torch.tensor(0.8)
    y = context.sample("y", RelaxedOneHotCategorical(temperature, logits=parameters["logits"]))
    context.cost(y[..., 0].log() - y[..., 1].log())


def _symmetric(matrix: Tensor) -> Tensor:
    """Of a matrix that is not symmetric, Cholesky's derivatives backwards and forwards read different halves."""
    return (matrix + matrix.T) / 2


def _covariance(p: dict[str, Tensor]) -> Tensor:
    triangle: Tensor = torch.linalg.cholesky(_symmetric(p["covariance"]))
    whole = triangle @ triangle.T
    return whole[0, 1] + 2 * whole[0, 0]


@problem("smooth", {"covariance": [[1.5, 0.4], [0.4, 0.8]]}, _covariance)
def covariance_of_a_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    """pytorch/pytorch#7705, pyro-ppl/pyro#685: without a path, the covariance had no gradient, or a wrong one."""
    x = context.sample(
        "x", MultivariateNormal(torch.zeros(2), _symmetric(parameters["covariance"]))
    )
    context.cost(x[..., 0] * x[..., 1] + 2 * x[..., 0] ** 2)


@problem("smooth", {"mean": 0.6}, lambda p: p["mean"] ** 2 + 1)
def noise_that_torch_draws_itself(context: Context, parameters: Parameters, batch: Any) -> None:
    """pytorch/pytorch#4620: `torch.normal` of a parameter is accepted and has the derivative 0."""
    context.cost(torch.normal(parameters["mean"].expand(context.samples), 1.0) ** 2)


@problem("finite", {"logit": 0.3}, lambda p: 2 * p["logit"].sigmoid())
def coins_that_torch_throws_itself(context: Context, parameters: Parameters, batch: Any) -> None:
    """The same of `torch.bernoulli`."""
    context.cost(2 * torch.bernoulli(parameters["logit"].sigmoid().expand(context.samples)))


@problem(
    "finite",
    {"logits": [0.2, -0.4, 0.1, 0.5, -1.0, 0.0]},
    lambda p: 2 * p["logits"].softmax(0) @ torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, 1.0]),
)
def counts_that_are_mostly_zero(context: Context, parameters: Parameters, batch: Any) -> None:
    """google-deepmind/distrax#277: categories that were not drawn had a share in the gradient of a multinomial."""
    counts = context.sample("counts", Multinomial(2, logits=parameters["logits"]))
    context.cost(counts @ torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, 1.0]))


def _two_terms(p: dict[str, Tensor]) -> Tensor:
    """Over both layers' coins."""
    values = coins(2)
    first = chance(p["first"].expand(1), values[:, :1])
    second = chance((p["weight"] * values[:, 0]).unsqueeze(1), values[:, 1:])
    log_q = first.log() + second.log()
    return (first * second * (log_q + values[:, 0] - 3 * values[:, 1])).sum()


@problem("finite", {"first": 0.4, "weight": -0.8}, _two_terms)
def guide_of_two_layers(context: Context, parameters: Parameters, batch: Any) -> None:
    """pyro-ppl/numpyro#1412: the guide's own log-probability is a cost of both layers, downstream of each."""
    first = Bernoulli(logits=parameters["first"])
    a = context.sample("a", first)
    second = Bernoulli(logits=parameters["weight"] * a)
    b = context.sample("b", second)
    context.cost(first.log_prob(a) + a)
    context.cost(second.log_prob(b) - 3 * b)
