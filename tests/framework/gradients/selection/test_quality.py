"""The figures of quality agree with those found by hand, and the reference is of the same objective."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from framework.gradients.registered import make_estimator
from framework.gradients.selection.automatic import Automatic
from framework.gradients.selection.comparison import compare
from framework.gradients.selection.quality import measure, reference
from framework.program import Program
from framework.randomness import seeded
from tests.framework.gradients.problems import PROBLEMS


def parameters_of(problem):
    return {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}


def test_the_figures_of_one_coin_are_those_of_its_distribution():
    """Without a baseline one sample's gradient is f(b) (b - p): its moments are sums of two terms."""
    problem = PROBLEMS["rebar_toy"]
    p = problem.parameters["theta"].sigmoid().item()
    values = {1.0: (1 - 0.499) ** 2 * (1 - p), 0.0: 0.499**2 * -p}
    mean = p * values[1.0] + (1 - p) * values[0.0]
    variance = p * values[1.0] ** 2 + (1 - p) * values[0.0] ** 2 - mean**2
    parameters = parameters_of(problem)
    against = reference(problem.program, parameters, None, seed=0)
    assert against is not None
    assert against.source == "exact"
    torch.testing.assert_close(against.gradient, torch.tensor([mean]))
    found = measure(
        make_estimator("reinforce", 1, {"baseline": "none"}),
        problem.program,
        parameters,
        lambda number: None,
        repeats=1000,
        seed=0,
        against=against,
    )
    assert found.variance == pytest.approx(variance, rel=0.05)
    assert found.bias_z < 4
    noise = math.sqrt(variance / 1000) / abs(mean)  # of the mean, relative
    assert abs(found.norm_ratio * found.cosine - 1) < 4 * noise
    assert found.evaluations == 1
    assert not found.biased


def test_the_variance_of_nearly_equal_estimates_is_not_rounding():
    """Each estimate is 1000 + a hundredth of a coin's toss: the square of 1000 has no digit for that."""

    def program(context, p, batch):
        z = context.sample("z", Bernoulli(0.5))
        context.cost((1000 + 0.01 * z) * p["theta"])

    theta = {"theta": torch.ones((), requires_grad=True)}
    found = measure(
        make_estimator("reinforce", 1),
        Program(program),
        theta,
        lambda number: None,
        repeats=1000,
    )
    assert found.variance == pytest.approx(0.01**2 / 4, rel=0.05)


def test_bias_shows_in_z_and_in_the_norm_ratio():
    """Straight-through of REBAR's toy: its mean is p (1-p) (2 (p - t)), by the page of approximations."""
    problem = PROBLEMS["rebar_toy"]
    p = problem.parameters["theta"].sigmoid().item()
    parameters = parameters_of(problem)
    against = reference(problem.program, parameters, None, seed=0)
    assert against is not None
    found = measure(
        make_estimator("straight_through", 16),
        problem.program,
        parameters,
        lambda number: None,
        repeats=400,
        seed=0,
        against=against,
    )
    ratio = abs(2 * (p - 0.499) / (1 - 2 * 0.499))
    assert found.bias_z > 4
    assert found.biased
    assert found.norm_ratio == pytest.approx(ratio, rel=0.1)


def bound(context, parameters, batch):
    """A multi-sample bound, far from what more samples would make of it."""
    z = context.sample("z", Normal(parameters["mean"] * batch, parameters["log_scale"].exp()))
    context.bound(-2 * (z - 3 * batch) ** 2)


BOUND = Program(bound, batch_axes=1)
DATA = torch.tensor([0.5, -1.5])


def bound_parameters():
    return {
        "mean": torch.tensor(0.8, requires_grad=True),
        "log_scale": torch.tensor(0.2, requires_grad=True),
    }


@pytest.mark.slow
def test_the_reference_of_a_bound_has_as_many_samples_as_the_estimator():
    estimators = {
        "few": make_estimator("rloo", 4),
        "many": make_estimator("reparameterisation", 16),
    }
    found = compare(estimators, BOUND, bound_parameters(), DATA, repeats=100, seed=0)
    assert all(figures.bias_z < 4 for figures in found.values())
    assert reference(BOUND, bound_parameters(), DATA, seed=0) is None  # of which bound?


def test_the_automatic_choice_serves_bounds():
    automatic = Automatic(samples=4)
    with seeded(0):
        automatic.backward(BOUND, bound_parameters(), DATA)
    assert automatic.chosen == "reparameterisation"
