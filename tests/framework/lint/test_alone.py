"""A program that goes one way for several samples at once has another objective for each number of them."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import framework
from framework import ProgramError

THETA = {"theta": torch.tensor([0.3])}


def said(program, estimator="rloo", samples=64):
    """What an estimate warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        framework.estimate(program, THETA, estimator=estimator, samples=samples, seed=0)
    return [str(warning.message) for warning in caught]


def any_is_large(context, parameters, batch):
    x = context.sample("x", Normal(parameters["theta"], 1.0))
    context.cost((x**2 if (x > 1).any() else 0 * x + 5).sum(-1))


def all_are_ones(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["theta"]))
    context.cost((0 * b + 5 if b.bool().all() else 2 * b).sum(-1))


def until_none_is_left(context, parameters, batch):
    steps = 0
    while steps < 10 and context.sample(f"b{steps}", Bernoulli(logits=parameters["theta"])).any():
        steps += 1
    context.cost(torch.tensor(float(steps)))


@pytest.mark.parametrize(
    ("program", "estimator"),
    [
        (any_is_large, "rloo"),
        (any_is_large, "reparameterisation"),
        (all_are_ones, "rloo"),
        (until_none_is_left, "reinforce"),
    ],
)
def test_a_branch_on_several_samples_at_once_is_reported(program, estimator):
    (message,) = said(program, estimator)
    assert message.startswith("a sample costs something else when it is run alone, by `a")
    assert "one_sample_at_a_time=True" in message


def test_of_few_samples_moving_the_others_shows_it():
    (message,) = said(all_are_ones, "exact")
    assert message.startswith("cost 'cost' of one sample depends on the draws of others, by `all`")


def masked(context, parameters, batch):
    going, steps = torch.ones(()), 0
    while steps < 30:
        going = going * context.sample(f"b{steps}", Bernoulli(logits=parameters["theta"])).sum(-1)
        context.cost(going)
        steps += 1
        if not going.bool().any():
            break


def solved_together(context, parameters, batch):
    x = context.sample("x", Normal(parameters["theta"], 1.0))
    y = torch.zeros_like(x)
    for _ in range(200):
        change = torch.cos(y + 0.3 * x) - y
        y = y + 0.5 * change
        if not (change.abs() > 1e-4).any():
            break
    context.cost((y**2).sum(-1))


def asserted(context, parameters, batch):
    x = context.sample("x", Normal(parameters["theta"], 1.0))
    assert not x.isnan().any()
    context.cost((x**2).sum(-1))


def with_noise_of_its_own(context, parameters, batch):
    x = context.sample("x", Normal(parameters["theta"], 1.0))
    if not x.isfinite().all():
        raise ValueError("not finite")
    context.cost(((x + torch.randn_like(x)) ** 2).sum(-1))


def with_a_statistic_that_is_meant(context, parameters, batch):
    x = context.sample("x", Normal(parameters["theta"], 1.0))
    b = context.sample("b", Bernoulli(logits=torch.zeros(x.shape[-1]) + parameters["theta"]))
    context.cost(((x - x.mean(0)) ** 2 + b).sum(-1))


def test_a_batch_statistic_of_a_path_is_meant_beside_scored_draws_too():
    sites = {"x": "reparameterisation"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        framework.estimate(
            with_a_statistic_that_is_meant,
            THETA,
            estimator="rloo",
            samples=64,
            seed=0,
            sites=sites,
        )


@pytest.mark.parametrize("program", [masked, solved_together, asserted, with_noise_of_its_own])
def test_a_loop_that_all_samples_share_is_no_fault_where_each_has_its_own_cost(program):
    assert said(program) == []


def test_an_objective_of_other_tensors_than_the_parameters_is_refused():
    other = torch.nn.Parameter(torch.tensor([0.5]))

    def program(context, parameters, batch):
        context.cost((context.sample("x", Normal(other, 1.0)) ** 2).sum(-1))

    for estimator in ("rloo", "reparameterisation"):
        with pytest.raises(
            ProgramError, match="depends on none of the parameters that were given, 'theta'"
        ):
            framework.estimate(program, THETA, estimator=estimator, samples=8, seed=0)
