"""Multi-sample bounds: VIMCO agrees with the enumerated gradient of the bound itself."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import framework
from framework.errors import ProgramError
from tests.framework.gradients.problems import Problem, assert_unbiased, gradients

PARTICLES = 3
DATA = torch.tensor([0.3, -0.7])
# As many independent bounds in one call as copies of the data.
COPIES = DATA.repeat(40)


def log_weight(z, theta, datum):
    """log p(datum, z) - log q(z), a function of the draw and of the parameter."""
    log_q = Bernoulli(logits=theta, validate_args=False).log_prob(z)  # z may be relaxed
    return Normal(2 * z - 1, 1.0).log_prob(datum) + math.log(0.5) - log_q


def program(context, parameters, batch):
    logits = parameters["theta"].expand(len(batch)) + batch
    z = context.sample("z", Bernoulli(logits=logits))
    context.bound(log_weight(z, logits, batch))


def true_bound(p):
    """The bound's expectation by enumeration of all particles' values, averaged over the data."""
    total = torch.zeros(())
    for datum in DATA:
        logit = p["theta"] + datum
        for values in itertools.product([0.0, 1.0], repeat=PARTICLES):
            z = torch.tensor(values)
            probability = Bernoulli(logits=logit).log_prob(z).sum().exp()
            weights = log_weight(z, logit, datum)
            total = total + probability * (math.log(PARTICLES) - weights.logsumexp(0))
    return total / len(DATA)


PROBLEM = Problem(
    "bound",
    framework.Program(program, batch_axes=1),
    {"theta": torch.tensor(0.4)},
    true_bound,
    "finite",
    COPIES,
)


@pytest.mark.parametrize("estimator", ["rloo", "reinforce"])
def test_bounds_are_unbiased(estimator):
    found = gradients(PROBLEM, estimator, repeats=75, samples=PARTICLES)
    assert_unbiased(found, PROBLEM.gradients())


def test_vimco_has_less_variance_than_no_baseline():
    without = gradients(PROBLEM, "reinforce", repeats=200, samples=PARTICLES, baseline="none")
    with_others = gradients(PROBLEM, "vimco", repeats=200, samples=PARTICLES)
    assert with_others["theta"].var() < 0.7 * without["theta"].var()


def test_the_value_is_the_bound():
    found = framework.estimate(
        PROBLEM.program, PROBLEM.parameters, DATA, estimator="reinforce", samples=20000, seed=0
    )
    evidence = torch.stack(
        [Normal(torch.tensor([-1.0, 1.0]), 1.0).log_prob(x).exp().mean().log() for x in DATA]
    ).mean()
    assert abs(found.value + evidence.item()) < 0.01, "with many samples it is -log p(data)"


def test_estimators_that_compare_samples_refuse_a_bound():
    for estimator in ("exact", "disarm", "rebar"):
        with pytest.raises(ProgramError, match="made of all samples together"):
            framework.estimate(PROBLEM.program, PROBLEM.parameters, DATA, estimator=estimator)


def test_loop_mode_has_no_samples_together():
    looped = framework.Program(program, batch_axes=1, one_sample_at_a_time=True)
    with pytest.raises(ProgramError, match="does not run together"):
        framework.estimate(looped, PROBLEM.parameters, DATA, estimator="vimco", samples=4)
