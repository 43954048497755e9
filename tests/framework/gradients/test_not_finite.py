"""An estimate that is not finite says so, and names the cost or the draw that it comes from."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from framework.gradients.estimate import estimate

ONE = {"theta": torch.tensor(0.0)}


@pytest.mark.filterwarnings("ignore:.*draw 'b' .* is discrete.* within a small step")
@pytest.mark.parametrize("estimator", ["rloo", "reinforce", "exact", "measure_valued", "spsa"])
def test_a_cost_that_is_not_finite_is_named(estimator):
    def program(context, parameters, batch):
        b = context.sample("b", Bernoulli(logits=parameters["theta"]))
        context.cost(b, "fine")
        context.cost(b / 0, "ratio")

    with pytest.warns(UserWarning, match="cost 'ratio' is not: 64 of 64 values, such as (nan|inf)"):
        found = estimate(program, ONE, estimator=estimator, seed=0)
    assert found.not_finite.startswith("not finite: the objective")
    assert "\n" not in found.not_finite


def test_a_draw_whose_log_probability_is_not_finite_is_named():
    def program(context, parameters, batch):
        theta = parameters["theta"]
        logits = torch.stack([theta, (theta + 1) * -math.inf])
        context.cost(context.sample("b", Bernoulli(logits=logits)).sum(-1))

    with pytest.warns(UserWarning, match="the log-probability of draw 'b' is not: 64 of 128"):
        found = estimate(program, ONE, estimator="rloo", seed=0)
    assert "the gradient of 'theta'" in found.not_finite


def test_an_impossible_value_that_no_parameter_moves_does_no_harm():
    def program(context, parameters, batch):
        logits = torch.stack([parameters["theta"], torch.tensor(-math.inf)])
        context.cost(context.sample("b", Bernoulli(logits=logits)).sum(-1))

    found = estimate(program, ONE, estimator="rloo", samples=100_000, seed=0)
    assert not found.not_finite
    assert float(found.gradients["theta"]) == pytest.approx(0.25, abs=0.005)


def test_a_derivative_that_is_not_finite_is_distinguished_from_a_cost():
    def program(context, parameters, batch):
        x = context.sample("x", Normal(parameters["theta"], 1.0))
        context.cost((x - x.detach()).abs().sqrt())

    with pytest.warns(UserWarning, match="a derivative is not"):
        found = estimate(program, ONE, estimator="reparameterisation", seed=0)
    assert found.not_finite.startswith("not finite: the gradient of 'theta'; ")


def test_a_finite_estimate_says_nothing():
    def program(context, parameters, batch):
        context.cost(context.sample("x", Normal(parameters["theta"], 1.0)) ** 2)

    assert estimate(program, ONE, estimator="rloo", seed=0).not_finite == ""
