"""Smooth operations: their limit, their stated constants, their derivatives, and who sees them hard."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor
from torch.distributions import Normal

from framework import ProgramError, estimate, relaxed
from tests.framework.gradients.problems import PROBLEMS, Problem, assert_unbiased, gradients

Operation = Callable[[Tensor, float], Tensor]

SMOOTH: dict[str, Operation] = {
    "step": relaxed.step,
    "sign": relaxed.sign,
    "greater": lambda x, w: relaxed.greater(x, 0.2, w),
    "less": lambda x, w: relaxed.less(x, 0.2, w),
    "where": lambda x, w: relaxed.where(x, x**2, 3.0, w),
    "abs": relaxed.abs,
    "clamp": lambda x, w: relaxed.clamp(x, -0.5, 1.0, w),
    "ramp": relaxed.ramp,
    "round": relaxed.round,
    "argmax": relaxed.argmax,
    "argmax of columns": lambda x, w: relaxed.argmax(x, w, dim=0),
    "rank": relaxed.rank,
    "permutation": relaxed.permutation,
    "sort": relaxed.sort,
    "top_k": lambda x, w: relaxed.top_k(x, 2, w),
}
HARD: dict[str, Callable[[Tensor], Tensor]] = {
    "step": lambda x: (x > 0).double(),
    "sign": torch.sign,
    "greater": lambda x: (x > 0.2).double(),
    "less": lambda x: (x < 0.2).double(),
    "where": lambda x: torch.where(x > 0, x**2, 3.0),
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.5, 1.0),
    "ramp": torch.relu,
    "round": torch.round,
    "argmax": lambda x: torch.eye(4, dtype=x.dtype)[x.argmax(-1)],
    "argmax of columns": lambda x: torch.eye(3, dtype=x.dtype)[:, x.argmax(0)],
    "rank": lambda x: x.argsort(-1).argsort(-1).double(),
    "permutation": lambda x: torch.eye(4, dtype=x.dtype)[x.argsort(-1)],
    "sort": lambda x: x.sort(-1).values,
    "top_k": lambda x: (x >= x.topk(2).values[:, 1:]).double(),
}


def values() -> Tensor:
    """Values without ties, away from every jump by at least 0.05."""
    return torch.tensor(
        [[0.3, -1.2, 1.9, 0.7], [-0.4, 2.2, -2.3, 1.1], [0.9, 0.65, -0.7, -3.1]],
        dtype=torch.float64,
        requires_grad=True,
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_a_vanishing_width_is_the_hard_operation(name):
    torch.testing.assert_close(
        SMOOTH[name](values(), 1e-3), HARD[name](values()), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_the_distance_to_the_hard_operation_falls_with_the_width(name):
    apart = [
        (SMOOTH[name](values(), w) - HARD[name](values())).abs().sum() for w in (0.5, 0.1, 0.02)
    ]
    assert apart[0] > apart[1] > apart[2]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("width", [0.05, 0.4, 3.0])
def test_derivatives_are_those_of_the_value(name, width):
    torch.autograd.gradcheck(lambda x: SMOOTH[name](x, width), values())


@pytest.mark.parametrize(
    "name", ["step", "where", "abs", "clamp", "argmax", "rank", "sort", "top_k"]
)
def test_second_derivatives_are_those_of_the_first(name):
    torch.autograd.gradgradcheck(lambda x: SMOOTH[name](x, 0.4), values())


@pytest.mark.parametrize("name", SMOOTH)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    some.lists(some.floats(-1e6, 1e6, width=32), min_size=12, max_size=12),
    some.floats(-6, 6),
)
def test_value_and_gradient_are_finite_at_ties_and_far_out(name, numbers, exponent):
    x = torch.tensor(numbers).reshape(3, 4).requires_grad_()
    value = SMOOTH[name](x, 10**exponent)
    value.sum().backward()
    assert value.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", SMOOTH)
def test_operations_are_hard_where_no_gradient_flows_and_at_width_0(name):
    hard = HARD[name](values())
    assert torch.equal(SMOOTH[name](values().detach(), 0.5), hard.detach())
    with torch.no_grad():
        assert torch.equal(SMOOTH[name](values(), 0.5), hard)
    assert torch.equal(SMOOTH[name](values(), 0.0), hard)


def test_a_branch_is_hard_where_a_gradient_flows_through_its_values_only():
    a, margin = torch.tensor(2.0, requires_grad=True), torch.tensor(0.1)
    assert relaxed.where(margin, a, 5.0, 10.0).item() == 2.0


def leaf(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def test_the_stated_constants_hold():
    w = 0.3
    torch.testing.assert_close(relaxed.step(leaf(0.0, 3 * w), w), leaf(0.5, 1 / (1 + math.exp(-3))))
    assert relaxed.abs(leaf(0.0), w).item() == w
    assert math.isclose(relaxed.ramp(leaf(0.0), w).item(), w * math.log(2))
    shares = relaxed.argmax(leaf(1.0, 1.0 - w), w)
    assert math.isclose((shares[0] / shares[1]).item(), math.e)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(some.lists(some.floats(-5, 5), min_size=5, max_size=5), some.floats(0.01, 10))
def test_bounds_and_sums_hold(numbers, width):
    x = leaf(*numbers)
    assert ((relaxed.abs(x, width) - x.abs()) <= width + 1e-12).all()
    assert ((relaxed.clamp(x, -1, 2, width) - x.clamp(-1, 2)).abs() <= 0.7 * width).all()
    whole = leaf(*map(round, numbers))
    torch.testing.assert_close(relaxed.round(whole, width), whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(relaxed.rank(x, width).sum(), leaf(10.0)[0])
    torch.testing.assert_close(relaxed.permutation(x, width).sum(-1), torch.ones_like(x))
    for k in range(1, 6):
        chosen = relaxed.top_k(x, k, width)
        assert ((chosen >= 0) & (chosen <= 1)).all()
        torch.testing.assert_close(chosen.sum(), leaf(k)[0], rtol=1e-6, atol=1e-6)


def test_top_k_in_single_precision_keeps_its_sum_where_the_choice_is_clear():
    x = torch.tensor([0.0, 1.0, 0.4, 3.0, -2.0], requires_grad=True)
    chosen = relaxed.top_k(x, 2, 0.01)
    torch.testing.assert_close(chosen, torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]))


def test_wrong_widths_and_counts_are_refused():
    with pytest.raises(ProgramError, match=r"width = -1.* at least 0"):
        relaxed.step(leaf(1.0), -1)
    with pytest.raises(ProgramError, match="k = 3, expected 1 to 2"):
        relaxed.top_k(leaf(1.0, 2.0), 3, 0.1)


def smoothed_branch(width: float) -> Problem:
    """The problem "branch" with a width at its jump; the truth is still the hard one's."""
    hard = PROBLEMS["branch"]

    def function(context, parameters, batch):
        x = context.sample("x", Normal(parameters["mean"], 0.6))
        context.cost(relaxed.where(x, 2.0, 0.0, width) - x)

    return Problem("", type(hard.program)(function), hard.parameters, hard.objective, "kinked")


def test_a_smooth_branch_lets_a_pathwise_gradient_see_the_jump():
    true = PROBLEMS["branch"].gradients()["mean"]
    assert true > 0  # without a width the pathwise gradient is -1
    for width, tolerance in ((0.3, 0.3), (0.05, 0.02)):
        found = gradients(smoothed_branch(width), "reparameterisation", repeats=100, samples=4000)
        assert abs(found["mean"].mean() - true) < tolerance


@pytest.mark.parametrize("estimator", ["reparameterisation", "exact", "forward_gradient"])
def test_estimators_that_meet_a_smooth_operation_report_the_hard_objective(estimator):
    def function(context, parameters, batch):
        context.cost(relaxed.step(parameters["x"], 1.0).sum() * 4)

    found = estimate(function, {"x": torch.tensor([0.5])}, estimator=estimator, samples=3)
    assert found.value == 4.0
    assert found.biased
    assert found.gradients["x"].item() != 0
    usual = 16 * 3 if estimator == "forward_gradient" else 1 if estimator == "exact" else 3
    assert found.evaluations == usual + (1 if estimator == "exact" else 3)


def test_the_exact_gradient_is_that_of_the_smooth_program():
    def function(context, parameters, batch):
        context.cost(relaxed.step(parameters["x"], 2.0).sum())

    x = leaf(0.5)
    (true,) = torch.autograd.grad(torch.sigmoid(x / 2).sum(), x)
    found = estimate(function, {"x": x}, estimator="exact")
    torch.testing.assert_close(found.gradients["x"], true)


@pytest.mark.parametrize("estimator", ["rloo", "finite_difference", "evolution_strategies"])
def test_estimators_that_need_values_only_see_the_hard_program(estimator):
    widths: dict[str, Any] = {
        "finite_difference": {"step": 0.05},
        "evolution_strategies": {"sigma": 0.05},
    }
    problem = smoothed_branch(width=5.0)
    found = gradients(problem, estimator, repeats=300, **widths.get(estimator, {}))
    assert_unbiased(found, problem.gradients(), tolerance=0.01)
    assert estimate(problem.program, problem.parameters, estimator="rloo").biased is False
