"""Every unbiased estimator agrees with the closed form on every problem that it serves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from framework.gradients.estimate import estimate
from tests.framework.gradients.problems import PROBLEMS, assert_unbiased, gradients

FINITE = [p.name for p in PROBLEMS.values() if p.kind == "finite"]
SMOOTH = [p.name for p in PROBLEMS.values() if p.kind == "smooth"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", list(PROBLEMS))
@pytest.mark.parametrize("estimator", ["reinforce", "rloo"])
def test_the_score_function_is_unbiased(estimator, name):
    problem = PROBLEMS[name]
    # A loop runs once for each sample.
    size = {"samples": 16} if problem.program.one_sample_at_a_time else {}
    assert_unbiased(gradients(problem, estimator, **size), problem.gradients())


@pytest.mark.parametrize("name", ["rebar_toy", "two_layers", "gaussian_quadratic", "poisson"])
def test_the_score_function_without_a_baseline_is_unbiased(name):
    problem = PROBLEMS[name]
    assert_unbiased(gradients(problem, "reinforce", baseline="none"), problem.gradients())


@pytest.mark.parametrize("name", SMOOTH)
def test_reparameterisation_is_unbiased_for_continuous_draws_and_costs(name):
    problem = PROBLEMS[name]
    assert_unbiased(gradients(problem, "reparameterisation"), problem.gradients())


def test_reparameterisation_does_not_see_the_jump_of_a_branch():
    problem = PROBLEMS["branch"]
    found = gradients(problem, "reparameterisation")["mean"]
    torch.testing.assert_close(found.mean(), torch.tensor(-1.0), atol=1e-5, rtol=0)
    assert problem.gradients()["mean"] > 0


@pytest.mark.parametrize("name", FINITE)
def test_enumeration_is_exact(name):
    problem = PROBLEMS[name]
    found = estimate(problem.program, problem.parameters, problem.batch, estimator="exact")
    assert not found.biased
    for parameter, true in problem.gradients().items():
        torch.testing.assert_close(found.gradients[parameter], true, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        found.value, problem.objective(problem.parameters).item(), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["gaussian_quadratic", "gaussian_cosine", "gaussian_chain"])
def test_quadrature_of_smooth_costs_is_exact_to_rounding_and_declared_biased(name):
    problem = PROBLEMS[name]
    found = estimate(problem.program, problem.parameters, estimator="exact", states=2000)
    assert found.biased
    for parameter, true in problem.gradients().items():
        torch.testing.assert_close(found.gradients[parameter], true, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["gaussian_quadratic", "gaussian_cosine", "gaussian_chain", "gamma"]
)
@pytest.mark.parametrize("estimator", ["finite_difference", "spsa", "evolution_strategies"])
def test_numerical_estimators_agree_up_to_their_step(estimator, name):
    problem = PROBLEMS[name]
    width = {"finite_difference": "step", "spsa": "step", "evolution_strategies": "sigma"}[
        estimator
    ]
    options: dict[str, Any] = {width: 0.02}
    found = gradients(problem, estimator, **options)
    assert_unbiased(found, problem.gradients(), tolerance=5e-3)


def test_rules_by_site_mix_in_one_program_and_stay_unbiased():
    problem = PROBLEMS["gaussian_chain"]
    for sites in ({"x": "reparameterisation"}, {"y": "reparameterisation"}):
        assert_unbiased(gradients(problem, "rloo", sites=sites), problem.gradients())


def test_leave_one_out_has_less_variance_than_no_baseline():
    problem = PROBLEMS["poisson"]
    without = gradients(problem, "reinforce", baseline="none")["log_rate"].var()
    assert gradients(problem, "rloo")["log_rate"].var() < 0.8 * without
