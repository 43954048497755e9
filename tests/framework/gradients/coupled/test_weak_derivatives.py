"""Every weak derivative of measure_valued has the closed form's value, for a cost known only by its values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Distribution,
    Exponential,
    Gamma,
    Geometric,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
)

import framework
from framework import Context, Program
from framework.gradients.coupled.gamma_concentration import concentration_derivative
from framework.gradients.coupled.measure_valued import MeasureValued
from framework.parameters import Parameters
from tests.framework.gradients.layered import Problem, check_unbiased

Numbers = dict[str, Tensor]
Family = tuple[Callable[[Numbers], Distribution], Numbers, Callable[[Numbers], tuple[Tensor, ...]]]


def of(**numbers: float | list[float]) -> Numbers:
    return {name: torch.tensor(number) for name, number in numbers.items()}


def gamma_moments(p: Numbers) -> tuple[Tensor, ...]:
    a, r = p["a"], p["r"]
    return a / r, a * (a + 1) / r**2


def beta_moments(p: Numbers) -> tuple[Tensor, ...]:
    a, s = p["a"], p["a"] + p["b"]
    return a / s, a * (a + 1) / (s * (s + 1))


def binomial_moments(p: Numbers) -> tuple[Tensor, ...]:
    q = p["t"]
    return 5 * q, 5 * q * (1 - q) + 25 * q**2


def geometric_moments(p: Numbers) -> tuple[Tensor, ...]:
    q = p["t"]
    mean = 1 / q - 1
    return mean, (1 - q) / q**2 + mean**2


# A draw, its parameters, and its mean and mean square as functions of them.
FAMILIES: dict[str, Family] = {
    "Exponential": (
        lambda p: Exponential(p["r"]),
        of(r=[0.7, 2.0]),
        lambda p: (1 / p["r"], 2 / p["r"] ** 2),
    ),
    "Gamma": (lambda p: Gamma(p["a"], p["r"]), of(a=[0.4, 2.5], r=[1.5, 0.8]), gamma_moments),
    "Beta": (lambda p: Beta(p["a"], p["b"]), of(a=[0.5, 2.0], b=[1.5, 0.3]), beta_moments),
    "Geometric by logits": (
        lambda p: Geometric(logits=p["t"]),
        of(t=[-0.3, 1.2]),
        lambda p: geometric_moments({"t": p["t"].sigmoid()}),
    ),
    "Geometric by probs": (
        lambda p: Geometric(probs=p["t"]),
        of(t=[0.3, 1.0]),
        geometric_moments,
    ),
    "Binomial by logits": (
        lambda p: Binomial(5, logits=p["t"]),
        of(t=[-0.3, 0.9]),
        lambda p: binomial_moments({"t": p["t"].sigmoid()}),
    ),
    "Binomial by probs": (
        lambda p: Binomial(5, probs=p["t"]),
        of(t=[0.3, 0.0, 1.0]),
        binomial_moments,
    ),
    "Bernoulli by probs": (
        lambda p: Bernoulli(probs=p["t"]),
        of(t=[0.3, 0.0, 1.0]),
        lambda p: (p["t"], p["t"]),
    ),
    "Poisson": (
        lambda p: Poisson(p["r"]),
        of(r=[1.5, 0.0]),
        lambda p: (p["r"], p["r"] + p["r"] ** 2),
    ),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", FAMILIES)
def test_each_parameter_has_the_closed_form(name: str):
    make, numbers, moments = FAMILIES[name]

    def program(context: Context, p: Parameters, batch: None) -> None:
        x = context.sample("x", make(dict(p)))
        context.cost(context.black_box(lambda x: ((x - 1) ** 2).sum(-1), x))

    leaves = {key: value.clone().requires_grad_() for key, value in numbers.items()}
    mean, square = moments(leaves)
    truth = torch.autograd.grad((square - 2 * mean).sum(), list(leaves.values()))
    problem: Problem = (Program(program), numbers, None)
    check_unbiased(MeasureValued(samples=3000), problem, torch.cat([t.reshape(-1) for t in truth]))


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_category_of_probability_0_has_its_derivative(one_hot: bool):
    """Of probabilities p / sum(p): d/dp_k = f(k) - E f, at p_k = 0, too."""
    values = torch.tensor([1.0, 2.0, 5.0])

    def program(context: Context, p: Parameters, batch: None) -> None:
        if one_hot:
            x = context.sample("x", OneHotCategorical(probs=p["p"]))
            context.cost(x @ values)
        else:
            context.cost(values[context.sample("x", Categorical(probs=p["p"]))])

    problem: Problem = (Program(program), of(p=[0.5, 0.5, 0.0]), None)
    check_unbiased(MeasureValued(samples=600), problem, torch.tensor([-0.5, 0.5, 3.5]))


@pytest.mark.slow
def test_draws_with_events_and_later_draws_follow():
    """x ~ Gamma(a, 1), y ~ Gamma(x, 1), w ~ Exponential(1 / y): E x y = a + a^2 and E w = a."""

    def program(context: Context, p: Parameters, batch: None) -> None:
        x = context.sample("x", Independent(Gamma(p["a"], torch.ones(2)), 1))
        y = context.sample("y", Independent(Gamma(x, torch.ones_like(x)), 1))
        context.cost((x * y).sum(-1))
        w = context.sample("w", Exponential(1 / y))
        context.cost(w.sum(-1))

    a = torch.tensor([0.8, 2.0])
    problem: Problem = (Program(program), {"a": a}, None)
    check_unbiased(MeasureValued(samples=1500), problem, 1 + 2 * a + 1)


@pytest.mark.slow
def test_a_batch_is_differentiated_datum_by_datum():
    data = torch.tensor([0.5, 1.0, 3.0])

    def program(context: Context, p: Parameters, batch: Tensor) -> None:
        x = context.sample("x", Beta(p["a"] * batch, torch.ones(3)))
        context.cost(x * batch)

    # E x = a d / (a d + 1).
    a = torch.tensor(1.5)
    truth = (data**2 / (a * data + 1) ** 2).mean().reshape(1)
    problem: Problem = (Program(program, batch_axes=1), {"a": a}, data)
    check_unbiased(MeasureValued(samples=3000), problem, truth)


@pytest.mark.slow
def test_a_loop_draws_one_sample_at_a_time():
    def program(context: Context, p: Parameters, batch: None) -> None:
        total = context.sample("x", Exponential(p["r"]))
        if context.sample("g", Geometric(p["q"])).item() > 1:
            total = total + context.sample("b", Binomial(3, p["q"]))
        context.cost(total)

    r, q = torch.tensor(0.8), torch.tensor(0.6)
    # 1/r + (1 - q)^2 3 q.
    truth = torch.stack([-1 / r**2, 3 * (1 - q) ** 2 - 6 * q * (1 - q)])
    problem: Problem = (Program(program, one_sample_at_a_time=True), {"r": r, "q": q}, None)
    check_unbiased(MeasureValued(samples=40), problem, truth, repeats=60)


@pytest.mark.parametrize("a", [0.01, 0.3, 2.5, 100.0, 1e5])
def test_the_laws_of_a_concentration_have_the_derivatives_of_the_moments(a: float):
    """d E log x / da = psi'(a) and d E x / da = 1, whatever the concentration."""
    torch.manual_seed(0)
    concentration = torch.tensor(a, dtype=torch.float64)
    constant, plus, minus = concentration_derivative(concentration, torch.Size((20000,)))
    assert constant > 0
    assert (plus > minus).all()
    for difference, truth in (
        (plus - minus, torch.polygamma(1, concentration)),
        (plus.exp() - minus.exp(), torch.tensor(1.0)),
    ):
        z = (constant * difference.mean() - truth) / (constant * difference.std() / 20000**0.5)
        assert abs(z) < 4


def test_a_tiny_concentration_in_single_precision_is_right():
    """Beta(0.05, 0.08) rounds most draws to its ends; E x = a / (a + b)."""
    a, b = torch.tensor(0.05), torch.tensor(0.08)

    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("x", Beta(p["a"], p["b"])))

    truth = torch.stack([b, -a]) / (a + b) ** 2
    problem: Problem = (Program(program), {"a": a, "b": b}, None)
    check_unbiased(MeasureValued(samples=3000), problem, truth)


def test_a_parameter_that_needs_no_gradient_costs_nothing():
    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("x", Gamma(2.0, p["r"])))

    found = framework.estimate(program, of(r=1.5), estimator="measure_valued", samples=3, seed=0)
    assert found.evaluations == 3 * 2


def test_a_scale_of_a_normal_draw_keeps_its_derivative():
    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("x", Normal(0.5, p["s"])) ** 2)

    problem: Problem = (Program(program), of(s=0.7), None)
    check_unbiased(MeasureValued(samples=1500), problem, torch.tensor([1.4]))
