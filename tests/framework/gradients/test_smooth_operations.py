"""What an estimate declares where smooth operations or surrogate gradients were used."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import framework
from framework.gradients.selection.automatic import Automatic
from framework.randomness import seeded
from framework.relaxed import where
from tests.framework.gradients.problems import Problem, assert_unbiased, gradients


def on_the_draw(context, parameters, batch):
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    context.cost(where(z - 0.6, 2.0, -1.0, 0.5) + parameters["theta"] ** 2)


def on_the_parameter(context, parameters, batch):
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    context.cost(where(parameters["theta"] - 0.3, 2.0, -1.0, 0.5) * z)


def objective(p):
    return 3 * p["theta"].sigmoid() - 1 + p["theta"] ** 2


PARAMETERS = {"theta": torch.tensor(0.4)}


@pytest.mark.parametrize(
    ("estimator", "options"),
    [("rebar", {}), ("relax", {"relaxed_cost": True}), ("disarm", {}), ("measure_valued", {})],
)
def test_a_branch_on_a_hard_draw_stays_hard_beside_its_relaxed_partner(estimator, options):
    problem = Problem("z", framework.Program(on_the_draw), PARAMETERS, objective, "finite")
    found = gradients(problem, estimator, **options)
    assert_unbiased(found, problem.gradients())
    assert not framework.estimate(on_the_draw, PARAMETERS, estimator=estimator, **options).biased


@pytest.mark.parametrize("estimator", ["rebar", "relax", "arm", "disarm", "measure_valued", "rloo"])
def test_a_smooth_branch_on_a_parameter_is_declared_and_the_hard_objective_reported(estimator):
    found = framework.estimate(
        on_the_parameter, PARAMETERS, estimator=estimator, samples=20_000, seed=0
    )
    assert found.biased
    assert found.value == pytest.approx(2 * torch.tensor(0.4).sigmoid().item(), abs=0.03)


def rounded(context, parameters, batch):
    near = framework.approximate(torch.round, "straight_through")
    context.cost((near(context.sample("x", Normal(parameters["mean"], 0.5))) - 0.3) ** 2)


def rounded_parameter(context, parameters, batch):
    near = framework.approximate(torch.round, "straight_through")
    context.cost((near(parameters["mean"]) - 0.3) ** 2)


def test_a_lent_derivative_is_declared_where_it_had_a_part():
    mean = {"mean": torch.tensor(0.4)}
    for estimator in ("reparameterisation", "forward_gradient"):
        assert framework.estimate(rounded, mean, estimator=estimator).biased
    assert not framework.estimate(rounded, mean, estimator="rloo").biased
    for estimator in ("exact", "rloo", "forward_gradient", "disarm"):
        found = framework.estimate(rounded_parameter, mean, estimator=estimator)
        assert found.biased
        assert found.value == pytest.approx(0.09)


def test_the_automatic_choice_does_not_take_a_lent_derivative():
    automatic = Automatic()
    with seeded(0):
        automatic.backward(
            framework.Program(rounded), {"mean": torch.tensor(0.4, requires_grad=True)}
        )
    assert automatic.chosen in {"rloo", "measure_valued"}
