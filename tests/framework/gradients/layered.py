"""Layered programs with gradients by enumeration, for the estimators that couple runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, OneHotCategorical

import framework
from framework import Context, Estimator, Program
from framework.parameters import Parameters

Problem = tuple[Program, dict[str, Tensor], Tensor | None]


def toy(context: Context, p: Parameters, batch: None) -> None:
    """REBAR's toy at an uneven p."""
    b = context.sample("b", Bernoulli(logits=p["logit"]))
    context.cost((b - 0.45) ** 2)


def several(context: Context, p: Parameters, batch: None) -> None:
    """A cost that is not separable and depends on the parameters directly, too; with a penalty."""
    b = context.sample("b", Independent(Bernoulli(logits=p["logits"]), 1))
    context.cost((b * torch.tensor([1.0, 2.0, -1.0])).sum(-1) ** 2 + p["logits"].sum() * b[:, 0])
    context.penalty(p["logits"].square().sum(), "weights")


def independent(context: Context, p: Parameters, batch: None) -> None:
    """Two sites that do not depend on each other, with a cost between them."""
    a = context.sample("a", Bernoulli(logits=p["a"]))
    context.cost(3 * a, "early")
    c = context.sample("c", Bernoulli(logits=p["c"]))
    context.cost((a[:, None] - 2 * c).square().sum(-1) * c[:, 0], "late")


def layered(context: Context, p: Parameters, batch: None) -> None:
    """Three layers, a draw that depends on none, and costs in between."""
    x = context.sample("x", Bernoulli(logits=p["logits"]))
    context.cost(3 * x[:, 0], "early")
    y = context.sample("y", Bernoulli(logits=x @ p["weight"]))
    w = context.sample("w", Bernoulli(logits=p["v"][0]))
    q = context.sample("q", Bernoulli(logits=y * p["v"][0] - 0.3))
    context.cost((y.sum(-1) * x[:, 1] - w + 2 * q.sum(-1)) ** 2 * p["v"][0].exp(), "late")


def network(context: Context, p: Parameters, batch: Tensor) -> None:
    """A batch axis, logits made by a network, and one draw that all data of a sample share."""
    x = context.sample("x", Bernoulli(logits=batch @ p["weight"]))
    shared = context.sample("shared", Bernoulli(logits=p["shared"]))
    logits = x @ p["weight"].T + batch * shared[:, None, None]
    y = context.sample("y", Bernoulli(logits=logits))
    context.cost((y * x[..., :1]).sum(-1) ** 2 + shared[:, None] * batch[:, 0])


def categories(context: Context, p: Parameters, batch: None) -> None:
    """A one-hot draw, and a Bernoulli draw that depends on it."""
    x = context.sample("x", OneHotCategorical(logits=p["logits"]))
    y = context.sample("y", Bernoulli(logits=x @ p["weight"]))
    context.cost(((x * torch.tensor([1.0, 2.0, 5.0])).sum(-1) * (1 + y)) ** 1.5)


LOGITS = torch.tensor([0.3, -1.0, 0.7])
WEIGHT = torch.tensor([[1.0, -1.0], [0.5, 0.3]])
DATA = torch.tensor([[1.0, 0.5], [-1.0, 0.3], [0.2, 0.7]])
PROBLEMS: dict[str, Problem] = {
    "toy": (Program(toy), {"logit": torch.tensor(0.8)}, None),
    "several": (Program(several), {"logits": LOGITS}, None),
    "independent": (Program(independent), {"a": torch.tensor(-0.4), "c": LOGITS[:2]}, None),
    "layered": (
        Program(layered),
        {"logits": torch.tensor([0.5, -0.5]), "weight": WEIGHT, "v": torch.tensor([0.2])},
        None,
    ),
    "network": (
        Program(network, batch_axes=1),
        {"weight": WEIGHT, "shared": torch.tensor(0.4)},
        DATA,
    ),
    "categories": (
        Program(categories),
        {"logits": LOGITS, "weight": torch.tensor([0.5, -0.5, 1.0])},
        None,
    ),
}


def exact_gradient(problem: Problem) -> Tensor:
    program, parameters, batch = problem
    found = framework.estimate(program, parameters, batch, estimator="exact")
    return torch.cat([found.gradients[name].reshape(-1) for name in parameters])


def exact_value(problem: Problem) -> float:
    program, parameters, batch = problem
    return framework.estimate(program, parameters, batch, estimator="exact").value


def gradient(estimator: Estimator, problem: Problem) -> Tensor:
    """One estimate, all parameters in one vector."""
    program, parameters, batch = problem
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    estimator.backward(program, leaves, batch)
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in leaves.values()]
    )


def gradients(estimator: Estimator, problem: Problem, repeats: int, seed: int = 0) -> Tensor:
    """`[repeats, parameters]`."""
    torch.manual_seed(seed)
    return torch.stack([gradient(estimator, problem) for _ in range(repeats)])


def variance(estimator: Estimator, problem: Problem, repeats: int, seed: int = 0) -> float:
    """The gradient's variance, summed over its elements."""
    return gradients(estimator, problem, repeats, seed).var(0).sum().item()


def check_unbiased(
    estimator: Estimator, problem: Problem, truth: Tensor, repeats: int = 20
) -> None:
    """The mean of the estimates is the truth within 4 standard errors in every element."""
    found = gradients(estimator, problem, repeats)
    difference = (found.mean(0) - truth).abs()
    error = found.std(0) / repeats**0.5
    fine = (difference < 1e-5) | (difference < 4 * error)
    assert fine.all(), f"mean {found.mean(0)}, truth {truth}, z {difference / error}"
