"""What a baseline remembers of earlier calls is numbers, without the graph they came from."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from framework.gradients.registered import make_estimator
from framework.program import Program
from framework.randomness import seeded


@pytest.mark.parametrize("one_sample_at_a_time", [False, True])
def test_a_moving_average_serves_costs_that_depend_on_a_parameter_in_every_call(
    one_sample_at_a_time,
):
    def function(context, parameters, batch):
        x = context.sample("x", Normal(parameters["mean"], 1.0))
        context.cost(x**2 + parameters["mean"])

    reinforce = make_estimator("reinforce", 16 if one_sample_at_a_time else 64)
    program = Program(function, one_sample_at_a_time=one_sample_at_a_time)
    leaf = torch.tensor(0.3, requires_grad=True)
    found: list[torch.Tensor] = []
    with seeded(0):
        for _ in range(100):
            leaf.grad = None
            reinforce.backward(program, {"mean": leaf})
            found.append(torch.as_tensor(leaf.grad))
    gradients = torch.stack(found)
    error = gradients.std() / len(gradients) ** 0.5
    assert abs(gradients.mean() - 1.6) < 4 * error
    means = reinforce.state_dict()["baseline"]["means"]
    assert means
    assert all(not mean.requires_grad for mean in means.values())
