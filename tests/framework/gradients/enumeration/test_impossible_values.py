"""Values of probability 0, of a logit of -inf, have no part in the exact value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical

from framework.gradients.estimate import estimate, surrogate
from framework.program import Program

COSTS = torch.tensor([1.0, -2.0, 7.0])
MASK = torch.tensor([0.0, 0.0, -math.inf])

modes = pytest.mark.parametrize("one_sample_at_a_time", [False, True])


def exact(function, theta, batch=None, *, one_sample_at_a_time, batch_axes=0):
    program = Program(function, batch_axes, one_sample_at_a_time=one_sample_at_a_time)
    found = estimate(program, {"theta": torch.as_tensor(theta)}, batch, estimator="exact")
    assert not found.biased
    return found.value, found.gradients["theta"]


@modes
@pytest.mark.parametrize("costs", [COSTS, torch.tensor([1.0, -2.0, math.inf])])
def test_a_masked_action_has_no_part_in_the_gradient(one_sample_at_a_time, costs):
    def program(context, parameters, batch):
        action = context.sample("action", Categorical(logits=parameters["theta"] + MASK))
        context.cost(costs[action])

    value, gradient = exact(program, [0.0, 0.0, 0.0], one_sample_at_a_time=one_sample_at_a_time)
    assert value == pytest.approx(-0.5)
    torch.testing.assert_close(gradient, torch.tensor([0.75, -0.75, 0.0]))


@modes
def test_a_mask_filled_in_serves_one_hot_draws_and_each_datum_has_its_own(one_sample_at_a_time):
    def program(context, parameters, allowed):
        logits = parameters["theta"].masked_fill(~allowed, -math.inf)
        context.cost(context.sample("action", OneHotCategorical(logits=logits)) @ COSTS)

    allowed = torch.tensor([[True, True, False], [True, False, True]])
    value, gradient = exact(
        program,
        [0.0, 0.0, 0.0],
        allowed,
        one_sample_at_a_time=one_sample_at_a_time,
        batch_axes=1,
    )
    # -0.5 of the first datum, 4 of the second; the gradients are (0.75, -0.75, 0) and (-1.5, 0, 1.5).
    assert value == pytest.approx(1.75)
    torch.testing.assert_close(gradient, torch.tensor([-0.375, -0.375, 0.75]))


@modes
def test_sampling_without_replacement(one_sample_at_a_time):
    def program(context, parameters, batch):
        logits = parameters["theta"]
        first = context.sample("first", Categorical(logits=logits))
        taken = torch.nn.functional.one_hot(first, 3).bool()
        rest = logits.masked_fill(taken, -math.inf)
        second = context.sample("second", Categorical(logits=rest))
        context.cost(COSTS[first] * 10 + COSTS[second])

    theta = torch.tensor([0.3, -0.2, 0.5], requires_grad=True)
    p = theta.softmax(0)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    terms = [p[i] * p[j] / (1 - p[i]) * (10 * COSTS[i] + COSTS[j]) for i, j in pairs]
    truth = torch.stack(terms).sum()
    (expected,) = torch.autograd.grad(truth, theta)
    value, gradient = exact(program, theta.detach(), one_sample_at_a_time=one_sample_at_a_time)
    assert value == pytest.approx(truth.item(), abs=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


@modes
@pytest.mark.parametrize("sure", [-math.inf, math.inf])
def test_a_bernoulli_draw_of_an_infinite_logit_is_certain(one_sample_at_a_time, sure):
    def program(context, parameters, batch):
        logits = torch.cat([parameters["theta"], torch.tensor([sure])])
        b = context.sample("b", Independent(Bernoulli(logits=logits), 1))
        context.cost(b @ torch.tensor([1.0, 3.0]))

    value, gradient = exact(program, [0.0], one_sample_at_a_time=one_sample_at_a_time)
    assert value == pytest.approx(0.5 + 3.0 * (sure > 0))
    torch.testing.assert_close(gradient, torch.tensor([0.25]))


def test_second_derivatives_under_a_mask():
    def program(context, parameters, batch):
        action = context.sample("action", Categorical(logits=parameters["theta"] + MASK))
        context.cost(COSTS[action])

    theta = torch.tensor([0.4, 0.1, 0.2], requires_grad=True)
    loss = surrogate(program, {"theta": theta}, estimator="exact")
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
    (second,) = torch.autograd.grad(gradient[0], theta)
    p = torch.tensor(0.3).sigmoid()
    expected = 3 * p * (1 - p) * (1 - 2 * p)
    torch.testing.assert_close(second, torch.stack([expected, -expected, torch.zeros(())]))
