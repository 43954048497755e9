"""The forward gradient is unbiased wherever torch differentiates forwards, and refuses the rest."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Gamma, Normal

from framework import Program, ProgramError, estimate
from framework.gradients.registered import make_estimator
from framework.parameters import placed
from tests.framework.gradients.problems import PROBLEMS, assert_unbiased, gradients


@pytest.mark.parametrize(
    "name", ["gaussian_quadratic", "gaussian_cosine", "gaussian_kink", "gaussian_chain"]
)
def test_it_is_unbiased_for_draws_with_a_path(name):
    problem = PROBLEMS[name]
    assert_unbiased(gradients(problem, "forward_gradient", directions=4), problem.gradients())


def network() -> tuple[nn.Module, Program, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def function(context, parameters, batch):
        with placed(model, parameters):
            context.cost((model(batch[0]) - batch[1]).square())

    return model, Program(function, batch_axes=1), (torch.randn(8, 3), torch.randn(8, 1))


def test_it_is_unbiased_for_a_network_and_agrees_in_value():
    model, program, batch = network()
    parameters = dict(model.named_parameters())
    true = estimate(program, parameters, batch, estimator="exact")
    found = estimate(
        program, parameters, batch, estimator="forward_gradient", directions=500, seed=0
    )
    assert found.value == pytest.approx(true.value)
    assert not found.biased
    exact = torch.cat([g.flatten() for g in true.gradients.values()])
    mean = torch.cat([g.flatten() for g in found.gradients.values()])
    # (g . v) v has variance |g|^2 + g_i^2 in element i
    error = ((exact.square().sum() + exact.square()) / 500).sqrt()
    assert ((mean - exact).abs() < 4 * error).all()


def test_the_variance_is_that_of_its_formula():
    problem = PROBLEMS["gaussian_quadratic"]

    def function(context, parameters, batch):
        context.cost((parameters["x"] * torch.tensor([1.0, -2.0])).sum())

    steady = type(problem)("", Program(function), {"x": torch.zeros(2)}, lambda p: p["x"], "")
    found = gradients(steady, "forward_gradient", repeats=1000, directions=1, samples=1)["x"]
    squares = (found - torch.tensor([1.0, -2.0])).square()
    assert_unbiased({"x": squares}, {"x": torch.tensor([6.0, 9.0])})  # |g|^2 + g_i^2


def test_evaluations_are_counted_and_no_graph_is_kept():
    problem = PROBLEMS["gaussian_quadratic"]
    leaves = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}
    found = make_estimator("forward_gradient", 5, {"directions": 3}).backward(
        problem.program, leaves, scale=2.0
    )
    assert found.evaluations == 15
    assert not found.objective.requires_grad
    assert all(leaf.grad is not None and not leaf.grad.requires_grad for leaf in leaves.values())


def refused(function: object, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        estimate(function, {"x": torch.tensor(0.3)}, estimator="forward_gradient")  # type: ignore[arg-type]


def test_draws_without_a_path_are_refused():
    refused(
        lambda c, p, b: c.cost(c.sample("z", Bernoulli(logits=p["x"]))),
        "draw 'z' ~ Bernoulli has no differentiable path; .*reinforce, rloo",
    )
    refused(
        lambda c, p, b: c.cost(c.sample("z", Gamma(p["x"].exp(), 1.0))),
        "draw 'z' ~ Gamma has no forward derivative in torch; .*reparameterisation",
    )
    refused(
        lambda c, p, b: c.observe("z", Normal(p["x"], 1.0), torch.zeros(16)),
        "draw 'z' was made earlier, and 'forward_gradient' needs to draw it itself",
    )


def test_black_boxes_and_objectives_without_parameters_are_refused():
    refused(
        lambda c, p, b: c.cost(c.black_box(torch.square, c.sample("z", Normal(p["x"], 1.0)))),
        "through draw 'z' would be lost in a black box",
    )
    refused(
        lambda c, p, b: c.cost(3.0), "depends on no parameter in a way forward_gradient can see"
    )


class OnlyBackwards(torch.autograd.Function):
    """A user's function without a forward derivative."""

    @staticmethod
    def forward(context, x):
        return x * 2

    @staticmethod
    def backward(context, slope):
        return slope * 2


def test_operations_without_a_forward_derivative_are_refused():
    refused(
        lambda c, p, b: c.cost(OnlyBackwards.apply(p["x"])),
        "forward_gradient: You must implement the jvp function .*reparameterisation, .*spsa",
    )
