"""Perturbed solvers agree with the closed forms of their expectations, in value and in gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from framework import ProgramError, estimate, perturbed


def argmax(x: Tensor) -> Tensor:
    return one_hot(x.argmax(-1), x.shape[-1])


def z_score(found: Tensor, true: Tensor) -> Tensor:
    """How many standard errors the mean over the first axis is from the truth, 0 where it is within 1e-3."""
    difference = (found.mean(0) - true).abs()
    z = difference / (found.std(0) / math.sqrt(len(found)) + 1e-12)
    return torch.where(difference < 1e-3, 0.0, z)


def test_the_argmax_perturbed_with_gumbel_noise_is_the_softmax():
    torch.manual_seed(0)
    x = torch.tensor([0.3, -0.2, 0.9])
    weights, sigma = torch.tensor([1.0, -2.0, 0.5]), 0.7
    true = torch.softmax(x / sigma, -1)
    many = x.expand(20_000, 3).clone().requires_grad_()
    found = perturbed(argmax, sigma=sigma, samples=8, noise="gumbel")(many)
    assert (z_score(found.detach(), true) < 4).all()
    (slopes,) = torch.autograd.grad((found * weights).sum(), many)
    assert (z_score(slopes, true * (weights - true @ weights) / sigma) < 4).all()


def test_the_argmax_of_two_perturbed_with_gaussian_noise_is_the_normal_distribution_function():
    torch.manual_seed(1)
    sigma, apart = 0.5, 0.4
    x = torch.tensor([apart, 0.0]).expand(20_000, 2).clone().requires_grad_()
    found = perturbed(argmax, sigma=sigma, samples=4)(x)
    spread = sigma * math.sqrt(2)
    normal = torch.distributions.Normal(0.0, spread)
    assert z_score(found[:, 0].detach(), normal.cdf(torch.tensor(apart))) < 4
    (slopes,) = torch.autograd.grad(found[:, 0].sum(), x)
    density = normal.log_prob(torch.tensor(apart)).exp()
    assert (z_score(slopes, torch.stack([density, -density])) < 4).all()


@pytest.mark.parametrize("noise", ["gaussian", "gumbel"])
def test_first_and_second_derivatives_of_a_smoothed_square_are_right(noise):
    torch.manual_seed(2)
    shift = 0.5772157 * 0.5 if noise == "gumbel" else 0.0  # sigma times the noise's mean
    x = torch.full((100_000, 1), 0.8, requires_grad=True)
    found = perturbed(lambda v: v**2, sigma=0.5, samples=4, noise=noise)(x)
    (first,) = torch.autograd.grad(found.sum(), x, create_graph=True)
    assert z_score(first.detach(), torch.tensor([2 * (0.8 + shift)])) < 4
    (second,) = torch.autograd.grad(first.sum(), x)
    assert z_score(second, torch.tensor([2.0])) < 4


def test_a_problem_of_several_axes_is_credited_as_one_and_batches_apart():
    torch.manual_seed(3)

    def cheaper_diagonal(
        costs: Tensor,
    ) -> Tensor:  # [..., 2, 2] -> [...], a solver with a scalar solution
        return torch.minimum(
            costs[..., 0, 0] + costs[..., 1, 1], costs[..., 0, 1] + costs[..., 1, 0]
        )

    costs = torch.tensor([[1.0, 0.0], [0.5, 2.0]]).repeat(5000, 1, 1).requires_grad_()
    found = perturbed(cheaper_diagonal, sigma=0.01, samples=8, axes=2)(costs)
    assert found.shape == (5000,)
    (slopes,) = torch.autograd.grad(found.sum(), costs)
    assert (z_score(slopes, torch.tensor([[0.0, 1.0], [1.0, 0.0]])) < 4).all()


def test_comparing_noisy_solutions_with_each_other_takes_variance_away():
    torch.manual_seed(4)
    x = torch.zeros(5000, 1, requires_grad=True)
    variances = []
    for constant in (0.0, 100.0):  # would cost variance if it were not subtracted

        def shifted(v: Tensor, constant: float = constant) -> Tensor:
            return v + constant

        found = perturbed(shifted, sigma=1.0, samples=4)(x)
        variances.append(torch.autograd.grad(found.sum(), x)[0].var())
    torch.testing.assert_close(variances[0], variances[1], rtol=0.3, atol=0)


def test_the_solver_is_itself_where_no_gradient_flows():
    x = torch.tensor([0.1, 0.2])
    assert perturbed(argmax, sigma=5.0)(x).tolist() == [0, 1]

    def function(context, parameters, batch):
        choice = perturbed(argmax, sigma=0.5)(parameters["scores"])
        context.cost(choice.float() @ torch.tensor([3.0, 1.0]))

    found = estimate(function, {"scores": x}, estimator="exact", seed=0)
    assert found.value == 1.0
    assert found.biased
    assert found.gradients["scores"].isfinite().all()


def test_what_cannot_be_perturbed_is_refused():
    with pytest.raises(ProgramError, match="samples = 1, expected 2 or more"):
        perturbed(argmax, sigma=1.0, samples=1)
    with pytest.raises(ProgramError, match="sigma = 0, expected more than 0"):
        perturbed(argmax, sigma=0)
    with pytest.raises(ProgramError, match=r"returned \[\] for \[4, 2, 3\]"):
        perturbed(torch.sum, sigma=1.0, samples=4)(torch.zeros(2, 3, requires_grad=True))
