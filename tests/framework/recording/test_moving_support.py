"""Draws whose possible values depend on a parameter: served along their path or by values, otherwise refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Binomial,
    Categorical,
    Distribution,
    Exponential,
    ExpTransform,
    Gumbel,
    HalfNormal,
    Independent,
    Kumaraswamy,
    LogNormal,
    MixtureSameFamily,
    Normal,
    Pareto,
    SigmoidTransform,
    Transform,
    TransformedDistribution,
    Uniform,
    Weibull,
)

from framework.errors import ProgramError
from framework.gradients.estimate import estimate

Make = Callable[[Tensor], Distribution]


def moved(base: Distribution, *transforms: Transform) -> TransformedDistribution:
    return TransformedDistribution(base, list(transforms))


def mixture(t: Tensor) -> Distribution:
    zero = torch.zeros(2)
    parts = Uniform(zero, torch.stack([t, 2 * t]), validate_args=False)
    return MixtureSameFamily(Categorical(logits=zero), parts, validate_args=False)


# (distribution, t, d/dt E[x])
MOVING: dict[str, tuple[Make, float, float]] = {
    "Uniform(0, t)": (lambda t: Uniform(0.0, t), 1.5, 0.5),
    "Uniform(t, 9)": (lambda t: Uniform(t, 9.0), 1.5, 0.5),
    "Independent": (lambda t: Independent(Uniform(torch.zeros(1), t.expand(1)), 1), 1.5, 0.5),
    "Pareto(t, 6)": (lambda t: Pareto(t, 6.0), 1.0, 1.2),
    "t + Exponential": (lambda t: moved(Exponential(1.0), AffineTransform(t, 1.0)), 0.4, 1.0),
    "t Uniform(0, 1)": (lambda t: moved(Uniform(0.0, 1.0), AffineTransform(0.0, t)), 2.0, 0.5),
    "t exp(Exponential)": (
        lambda t: moved(Exponential(6.0), ExpTransform(), AffineTransform(0.0, t)),
        1.0,
        1.2,
    ),
    "mixture of Uniform": (mixture, 1.5, 0.75),
}
CONSTANT: dict[str, Make] = {
    "t Exponential": lambda t: moved(Exponential(1.0), AffineTransform(0.0, t)),
    "t + Logistic": lambda t: moved(
        Uniform(0.0, 1.0), SigmoidTransform().inv, AffineTransform(t, 1.0)
    ),
    "exp(t + Normal)": lambda t: moved(Normal(t, 1.0), ExpTransform()),
    "fixed Uniform": lambda t: Uniform(0.0, 2.0),
    "Gumbel": lambda t: Gumbel(t, 1.0),
    "HalfNormal": HalfNormal,
    "Kumaraswamy": lambda t: Kumaraswamy(t, 2.0),
    "LogNormal": lambda t: LogNormal(t, 1.0),
    "Pareto(1, t)": lambda t: Pareto(torch.ones(()), 2 + t),
    "Weibull": lambda t: Weibull(t, 1.5),
    "Binomial": lambda t: Binomial(3, logits=t),
    "Categorical": lambda t: Categorical(logits=torch.stack([t, -t])),
}


def mean_of(make: Make, t: float, **options: object):
    def program(context, parameters, batch):
        x = context.sample("x", make(parameters["t"]))
        context.cost(x + 0 * parameters["t"])

    return estimate(program, {"t": torch.tensor(t)}, seed=0, **options)  # type: ignore[arg-type]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("estimator", ["rloo", "reinforce", "vimco", "alpha_order"])
@pytest.mark.parametrize("name", MOVING)
def test_the_score_function_refuses_a_support_that_moves(name, estimator):
    make, t, _ = MOVING[name]
    with pytest.raises(ProgramError, match="which values are possible depends on a parameter") as e:
        mean_of(make, t, estimator=estimator)
    assert "\n" not in str(e.value)
    able = str(e.value).rpartition(": ")[2].split(", ")
    assert "spsa" in able
    assert not {"rloo", "reinforce", "vimco", "alpha_order"} & set(able)
    assert ("reparameterisation" in able) == make(torch.tensor(t)).has_rsample


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("estimator", ["reparameterisation", "finite_difference"])
def test_a_path_follows_a_support_that_moves(name, estimator):
    make, t, truth = MOVING[name]
    if (name, estimator) == ("mixture of Uniform", "finite_difference"):
        pytest.skip("a mixture's draws jump from one component to another")
    found = mean_of(make, t, estimator=estimator, samples=40_000)
    assert float(found.gradients["t"]) == pytest.approx(truth, abs=0.03)


@pytest.mark.parametrize("name", CONSTANT)
def test_a_support_that_stays_is_served(name):
    assert mean_of(CONSTANT[name], 0.7, estimator="rloo", samples=8).value


def test_parameters_that_need_no_gradient_may_move_the_support():
    def program(context, parameters, batch):
        x = context.sample("x", Uniform(0.0, torch.tensor(2.0)))
        b = context.sample("b", Normal(parameters["t"] + x, 1.0))
        context.cost(b)

    found = estimate(program, {"t": torch.tensor(0.3)}, estimator="rloo", samples=20_000, seed=0)
    assert float(found.gradients["t"]) == pytest.approx(1.0, abs=0.05)


class Unsupported(Normal):
    """A user's own distribution without a declared support."""

    support = Distribution.support  # type: ignore[assignment]


def test_a_distribution_that_declares_no_support_is_served():
    def program(context, parameters, batch):
        context.cost(context.sample("x", Unsupported(parameters["t"], 1.0, validate_args=False)))

    parameters = {"t": torch.tensor(0.3)}
    found = estimate(program, parameters, estimator="rloo", samples=4000, seed=0)
    assert found.gradients["t"].item() == pytest.approx(1.0, abs=0.1)
