"""The automatic choice takes what measures best, and believes no estimator that is off."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from framework.errors import ProgramError
from framework.gradients.selection.automatic import Automatic
from framework.program import Program
from framework.randomness import seeded
from tests.framework.gradients.problems import PROBLEMS


def chosen(program: Program, parameters, batch=None, *, seed: int = 0, **options) -> Automatic:
    """The estimator after its first call."""
    automatic = Automatic(**options)
    leaves = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    with seeded(seed):
        automatic.backward(program, leaves, batch)
    return automatic


@pytest.mark.parametrize("name", ["two_layers", "coin_for_each_datum", "small_decision_process"])
def test_what_can_be_enumerated_is_enumerated(name):
    problem = PROBLEMS[name]
    assert chosen(problem.program, problem.parameters, problem.batch).chosen == "exact"


def test_a_smooth_cost_of_gaussians_is_reparameterised():
    problem = PROBLEMS["gaussian_quadratic"]
    assert chosen(problem.program, problem.parameters).chosen == "reparameterisation"


@pytest.mark.parametrize("seed", range(5))
def test_reparameterisation_is_refused_where_it_misses_a_jump(seed):
    problem = PROBLEMS["branch"]
    found = chosen(problem.program, problem.parameters, seed=seed)
    assert found.chosen in {"rloo", "measure_valued"}
    refused = {v.name: v.refused for v in found.verdicts}
    assert "standard errors off the reference" in refused["reparameterisation"]


def test_an_unbiased_estimator_is_hardly_ever_suspected():
    problem = PROBLEMS["poisson"]
    for seed in range(20):
        found = chosen(problem.program, problem.parameters, seed=seed, samples=8)
        assert not next(v.refused for v in found.verdicts if v.name == "rloo")


def test_a_biased_estimator_is_taken_only_when_allowed():
    problem = PROBLEMS["rebar_toy"]
    with pytest.raises(ProgramError, match=r"biased, and estimator.bias_tolerance is not set"):
        chosen(problem.program, problem.parameters, candidates=["straight_through"])
    with pytest.raises(ProgramError, match="of the gradient"):
        chosen(
            problem.program,
            problem.parameters,
            candidates=["straight_through"],
            bias_tolerance=0.5,
        )


def test_a_candidate_that_takes_the_log_probability_of_a_relaxed_value_is_left_out():
    def program(context, parameters, batch):
        law = Bernoulli(logits=parameters["logits"])
        z = context.sample("z", law)
        context.cost((law.log_prob(z) - Normal(z, 1.0).log_prob(torch.tensor(0.3))).sum(-1))

    found = chosen(Program(program), {"logits": torch.linspace(-1, 1, 20)}, samples=8)
    refused = {v.name: v.refused for v in found.verdicts}
    assert "log-probability of a relaxed value" in refused["rebar"]
    assert found.chosen in {"rloo", "disarm", "measure_valued"}
