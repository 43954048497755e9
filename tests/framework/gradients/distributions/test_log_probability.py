"""Draws that a number's precision rounds to the end of their support: the score function counts what they stand for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Beta,
    Categorical,
    Dirichlet,
    Distribution,
    Gamma,
    Independent,
    MixtureSameFamily,
    Weibull,
)

import framework
from framework import Context, Program, ProgramError
from framework.gradients.distributions.log_probability import log_probability_of_draw
from framework.gradients.registered import make_estimator
from framework.parameters import Parameters
from tests.framework.gradients.layered import Problem, check_unbiased

WEIGHTS = torch.tensor([1.0, 2.0, 4.0])


def mean_of_beta(p: Parameters) -> Tensor:
    return p["t"][0] / p["t"].sum()


def moment_of_dirichlet(p: Parameters) -> Tensor:
    a, total = p["t"], p["t"].sum()
    return (a * (a + 1) / (total * (total + 1)) * WEIGHTS).sum()


def share_above(p: Parameters) -> Tensor:
    """P(x > 1e-30) of Gamma(t, .) to its first order in 1e-30."""
    a = p["t"].double()
    return 1 - (a * torch.tensor(1e-30).double().log() - (a + 1).lgamma()).exp()


Draw = Callable[[Tensor], Distribution]
TINY: dict[
    str,
    tuple[Draw, Callable[[Tensor], Tensor], float | list[float], Callable[[Parameters], Tensor]],
] = {
    "Beta": (lambda t: Beta(t[0], t[1]), lambda x: x, [0.05, 0.08], mean_of_beta),
    "Beta, less extreme": (lambda t: Beta(t[0], t[1]), lambda x: x, [0.5, 0.4], mean_of_beta),
    "Beta of a mixture": (
        lambda t: MixtureSameFamily(Categorical(torch.ones(1)), Beta(t[:1], t[1:])),
        lambda x: x,
        [0.05, 0.08],
        mean_of_beta,
    ),
    "Dirichlet": (
        Dirichlet,
        lambda x: (x**2 * WEIGHTS).sum(-1),
        [0.01, 0.02, 0.05],
        moment_of_dirichlet,
    ),
    "Gamma": (lambda t: Gamma(t, 1.0), lambda x: (x > 1e-30).float(), 0.01, share_above),
    "Gamma of a small rate": (
        lambda t: Gamma(t, 0.01),
        lambda x: (x > 1e-28).float(),
        0.01,
        share_above,
    ),
}


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_concentration_in_single_precision_is_right(name: str):
    make, cost, t, objective = TINY[name]

    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(cost(context.sample("x", make(p["t"]))))

    leaf = torch.tensor(t, requires_grad=True)
    (truth,) = torch.autograd.grad(objective({"t": leaf}), leaf)
    problem: Problem = (Program(program), {"t": leaf.detach()}, None)
    check_unbiased(make_estimator("rloo", 12_000), problem, truth.reshape(-1))


def test_draws_inside_have_the_log_probability_that_torch_gives_them():
    torch.manual_seed(0)
    a = torch.tensor([[0.7, 2.0], [1.5, 0.9]])
    for distribution in (Beta(a, a + 1), Gamma(a, a), Dirichlet(a), Independent(Gamma(a, a), 1)):
        value = distribution.sample(torch.Size((50,)))
        found = log_probability_of_draw("x", distribution, value)
        assert torch.equal(found, distribution.log_prob(value))


def test_a_vector_of_rounded_draws_sums_its_elements():
    a = torch.tensor([0.01, 0.02])
    value = torch.full((1, 2), torch.finfo(torch.float32).tiny)
    alone = log_probability_of_draw("x", Gamma(a, torch.ones(2)), value)
    together = log_probability_of_draw("x", Independent(Gamma(a, torch.ones(2)), 1), value)
    torch.testing.assert_close(together, alone.sum(-1))


@pytest.mark.parametrize("estimator", ["rloo", "reparameterisation"])
def test_a_draw_rounded_off_its_support_is_refused_in_one_line(estimator: str):
    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("x", Weibull(p["t"][0], p["t"][1])).tanh())

    def found() -> framework.Estimate:
        t = {"t": torch.tensor([1.0, 0.01])}
        return framework.estimate(program, t, estimator=estimator, samples=1000, seed=0)

    if estimator == "rloo":
        with pytest.raises(ProgramError, match="draw 'x' ~ Weibull: a value lies outside") as error:
            found()
        assert "\n" not in str(error.value)
    else:
        with pytest.warns(UserWarning, match="draw 'x' ~ Weibull: a value lies outside"):
            found()
