"""Distributions of every family: each has its own way of being drawn, scored, moved and refused."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Beta,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Exponential,
    Gamma,
    Gumbel,
    HalfNormal,
    InverseGamma,
    Kumaraswamy,
    Laplace,
    LKJCholesky,
    LogNormal,
    LowRankMultivariateNormal,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    OneHotCategorical,
    Poisson,
    StudentT,
    VonMises,
    Weibull,
    Wishart,
)

from experiments.problems.problem import Context, Parameters, problem

PRIZES = torch.tensor([1.0, 4.0, -2.0])


def _draw(context: Context, distribution: Distribution) -> Tensor:
    return context.sample("x", distribution)


@problem(
    "finite", {"logit": 0.3}, lambda p: 4 * p["logit"].sigmoid() * (1 + 3 * p["logit"].sigmoid())
)
def binomial(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, Binomial(4, logits=parameters["logit"])) ** 2)


@problem("discrete", {"logit": -0.5}, lambda p: 3 * p["logit"].exp())
def negative_binomial(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, NegativeBinomial(3.0, logits=parameters["logit"])))


@problem(
    "finite",
    {"logits": [0.2, -0.4, 0.7]},
    lambda p: 12 * p["logits"].softmax(0)[0] * p["logits"].softmax(0)[1],
)
def multinomial(context: Context, parameters: Parameters, batch: Any) -> None:
    """E[n_0 n_1] of 4 throws is 4 * 3 p_0 p_1."""
    counts = _draw(context, Multinomial(4, logits=parameters["logits"]))
    context.cost(counts[..., 0] * counts[..., 1])


@problem(
    "finite",
    {"probabilities": [0.5, 0.3, 0.2]},
    lambda p: p["probabilities"] @ PRIZES / p["probabilities"].sum(),
)
def one_hot_by_probabilities(context: Context, parameters: Parameters, batch: Any) -> None:
    choice = _draw(context, OneHotCategorical(parameters["probabilities"]))
    context.cost((choice * PRIZES).sum(-1))


@problem(
    "finite",
    {"logits": [[0.3, -0.2, 0.1], [0.8, 0.0, -0.5]]},
    lambda p: (p["logits"].softmax(-1) @ torch.tensor([0.0, 1.0, 4.0])).prod(),
)
def a_vector_of_choices(context: Context, parameters: Parameters, batch: Any) -> None:
    choices = _draw(context, Categorical(logits=parameters["logits"]))
    context.cost(choices.float().square().prod(-1))


@problem("discrete", {"log_rates": [0.2, -0.3]}, lambda p: p["log_rates"].exp().prod())
def a_vector_of_counts(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, Poisson(parameters["log_rates"].exp())).prod(-1))


@problem("smooth", {"log_rate": 0.4}, lambda p: 2 * (-2 * p["log_rate"]).exp())
def exponential(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, Exponential(parameters["log_rate"].exp())) ** 2)


@problem(
    "smooth",
    {"log_shape": 0.4, "log_rate": 0.3},
    lambda p: p["log_shape"].exp() * (1 + p["log_shape"].exp()) * (-2 * p["log_rate"]).exp(),
)
def gamma_by_shape_and_rate(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(
        _draw(context, Gamma(parameters["log_shape"].exp(), parameters["log_rate"].exp())) ** 2
    )


@problem(
    "smooth", {"concentration": 4.5, "rate": 1.5}, lambda p: p["rate"] / (p["concentration"] - 1)
)
def inverse_gamma(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, InverseGamma(parameters["concentration"], parameters["rate"])))


@problem("smooth", {"a": 0.05, "b": 0.08}, lambda p: p["a"] / (p["a"] + p["b"]))
def beta_at_the_boundary(context: Context, parameters: Parameters, batch: Any) -> None:
    """Most of the mass is nearer to 0 and 1 than single precision can tell."""
    context.cost(_draw(context, Beta(parameters["a"], parameters["b"])))


@problem(
    "smooth",
    {"location": 0.3, "log_scale": -0.5},
    lambda p: p["location"] ** 2 + 2 * (2 * p["log_scale"]).exp(),
)
def laplace(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(
        _draw(context, Laplace(parameters["location"], parameters["log_scale"].exp())) ** 2
    )


@problem("smooth", {"mean": 0.3, "scale": 0.4}, lambda p: (p["mean"] + p["scale"] ** 2 / 2).exp())
def log_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, LogNormal(parameters["mean"], parameters["scale"])))


@problem("smooth", {"scale": 0.7}, lambda p: p["scale"] ** 2)
def half_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, HalfNormal(parameters["scale"])) ** 2)


@problem(
    "smooth", {"location": 0.4, "scale": 0.8}, lambda p: p["location"] + 0.5772156649 * p["scale"]
)
def gumbel_noise(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, Gumbel(parameters["location"], parameters["scale"])))


@problem(
    "smooth",
    {"location": 0.4, "scale": 0.8},
    lambda p: p["location"] ** 2 + 8 / 6 * p["scale"] ** 2,
)
def student_t(context: Context, parameters: Parameters, batch: Any) -> None:
    """8 degrees of freedom: the variance is 8/6 of the scale's square."""
    context.cost(_draw(context, StudentT(8.0, parameters["location"], parameters["scale"])) ** 2)


def _von_mises(p: dict[str, Tensor]) -> Tensor:
    i0, i1 = torch.special.i0(p["concentration"]), torch.special.i1(p["concentration"])
    mean: Tensor = i1 / i0 * (p["location"] - 0.3).cos()
    return mean


@problem("smooth", {"location": 0.8, "concentration": 1.7}, _von_mises)
def von_mises(context: Context, parameters: Parameters, batch: Any) -> None:
    angle = _draw(context, VonMises(parameters["location"], parameters["concentration"]))
    context.cost((angle - 0.3).cos())


@problem(
    "smooth",
    {"scale": 0.8, "shape": 2.5},
    lambda p: p["scale"] * torch.lgamma(1 + 1 / p["shape"]).exp(),
)
def weibull(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, Weibull(parameters["scale"], parameters["shape"])))


@problem(
    "smooth",
    {"a": 1.5, "b": 2.5},
    lambda p: (
        p["b"]
        * (
            torch.lgamma(1 + 1 / p["a"])
            + torch.lgamma(p["b"])
            - torch.lgamma(1 + 1 / p["a"] + p["b"])
        ).exp()
    ),
)
def kumaraswamy(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, Kumaraswamy(parameters["a"], parameters["b"])))


@problem(
    "smooth",
    {"probability": 0.3},
    lambda p: (
        p["probability"] / (2 * p["probability"] - 1)
        + 1 / (2 * torch.atanh(1 - 2 * p["probability"]))
    ),
)
def continuous_bernoulli(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, ContinuousBernoulli(parameters["probability"])))


TRIANGLE = [[1.0, 0.0], [0.5, 0.8]]


@problem(
    "smooth",
    {"mean": [0.3, -0.4], "triangle": TRIANGLE},
    lambda p: p["mean"].sum() ** 2 + (p["triangle"].tril() @ p["triangle"].tril().T).sum(),
)
def multivariate_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    """E[(x_0 + x_1)^2]."""
    distribution = MultivariateNormal(parameters["mean"], scale_tril=parameters["triangle"].tril())
    context.cost(_draw(context, distribution).sum(-1) ** 2)


@problem(
    "smooth",
    {"mean": [0.3, -0.4], "factor": [[0.5], [0.2]]},
    lambda p: p["mean"].sum() ** 2 + p["factor"].sum() ** 2 + 2,
)
def low_rank_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    distribution = LowRankMultivariateNormal(
        parameters["mean"], parameters["factor"], torch.ones(2)
    )
    context.cost(_draw(context, distribution).sum(-1) ** 2)


@problem(
    "smooth",
    {"triangle": TRIANGLE},
    lambda p: 4 * (p["triangle"].tril() @ p["triangle"].tril().T).trace(),
)
def wishart(context: Context, parameters: Parameters, batch: Any) -> None:
    """E[trace] of a Wishart matrix with 4 degrees of freedom."""
    drawn = _draw(context, Wishart(torch.tensor(4.0), scale_tril=parameters["triangle"].tril()))
    context.cost(drawn.diagonal(dim1=-2, dim2=-1).sum(-1))


@problem("smooth", {"concentration": 1.5}, lambda p: 1 / (2 * p["concentration"] + 1))
def lkj_of_two(context: Context, parameters: Parameters, batch: Any) -> None:
    """The correlation's square: (1 + r) / 2 ~ Beta(eta, eta), so that E[r^2] = 1 / (2 eta + 1)."""
    context.cost(_draw(context, LKJCholesky(2, parameters["concentration"]))[..., 1, 0] ** 2)


@problem("smooth", {"mean": 0.2}, lambda p: math.exp(-0.5) * p["mean"].sin())
def sine_of_a_normal(context: Context, parameters: Parameters, batch: Any) -> None:
    context.cost(_draw(context, torch.distributions.Normal(parameters["mean"], 1.0)).sin())
