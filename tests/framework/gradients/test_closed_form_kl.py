"""A term known in closed form, such as a KL divergence, is a cost charged before the draw that it is about.

`context.cost(kl_divergence(q, p), "kl")` before `context.sample("z", q)`: it is differentiated itself, and charged to
the earlier draws on which q and p depend, but not to z, of which it is independent. A penalty would be charged to none.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal, kl_divergence

from framework import Context, Program
from framework.gradients.registered import make_estimator
from framework.parameters import Parameters
from tests.framework.gradients.layered import Problem, check_unbiased, exact_gradient, variance

PRIOR = torch.tensor([0.4, -1.0])


def coins(logits: Tensor) -> Distribution:
    return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)


def chain(*, closed: bool) -> Callable[[Context, Parameters, Tensor | None], None]:
    """Two layers of coins q(x) q(y | x) against priors, with a likelihood of y."""

    def draw(context: Context, name: str, q: Distribution, prior: Distribution) -> Tensor:
        if closed:
            context.cost(kl_divergence(q, prior), "kl")
            return context.sample(name, q)
        z = context.sample(name, q)
        context.cost(q.log_prob(z) - prior.log_prob(z), "log ratio")
        return z

    def program(context: Context, p: Parameters, batch: Tensor | None) -> None:
        x = draw(context, "x", coins(p["x"]), coins(PRIOR))
        y = draw(context, "y", coins(x @ p["w"]), coins(x - 0.5))
        context.cost((y.sum(-1) - 1.3).square(), "likelihood")

    return program


PARAMETERS = {"x": torch.tensor([0.3, -0.6]), "w": torch.tensor([[1.0, -0.5], [0.2, 0.7]])}


def problem(*, closed: bool) -> Problem:
    return Program(chain(closed=closed)), PARAMETERS, None


def test_the_closed_form_is_the_same_objective():
    torch.testing.assert_close(
        exact_gradient(problem(closed=True)), exact_gradient(problem(closed=False))
    )


@pytest.mark.parametrize("estimator", ["rloo", "disarm", "measure_valued", "rebar"])
def test_it_is_charged_to_the_layer_before(estimator: str):
    truth = exact_gradient(problem(closed=True))
    check_unbiased(make_estimator(estimator, 1200), problem(closed=True), truth)


def test_it_has_less_variance_than_the_sampled_log_ratio():
    estimator = make_estimator("rloo", 16)
    assert variance(estimator, problem(closed=True), 400) < 0.8 * variance(
        estimator, problem(closed=False), 400
    )


@pytest.mark.parametrize("estimator", ["rloo", "reparameterisation", "measure_valued"])
def test_each_datum_is_charged_with_its_own(estimator: str):
    """KL(N(a d, 1) | N(0, 1)) = (a d)^2 / 2 and E (z - 1)^2 = (a d - 1)^2 + 1."""
    data, a = torch.tensor([0.5, -1.0, 2.0]), torch.tensor(0.7)

    def program(context: Context, p: Parameters, batch: Tensor) -> None:
        q = Normal(p["a"] * batch, torch.ones(3))
        context.cost(kl_divergence(q, Normal(torch.zeros(3), torch.ones(3))), "kl")
        context.cost((context.sample("z", q) - 1).square())

    truth = (a * data**2 + 2 * data * (a * data - 1)).mean().reshape(1)
    batched: Problem = (Program(program, batch_axes=1), {"a": a}, data)
    check_unbiased(make_estimator(estimator, 1200), batched, truth)
