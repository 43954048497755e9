"""The interval for an estimator's bias covers it as often as it says, by references that are not the estimator."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli

import framework
from framework.errors import UserError
from framework.gradients.registered import make_estimator
from framework.gradients.selection.bias_interval import (
    Yardstick,
    bias_interval,
    ratio_interval,
    student_quantile,
    yardstick,
)
from framework.gradients.selection.comparison import compare
from framework.program import Program
from tests.framework.gradients.problems import PROBLEMS


def parameters_of(problem):
    return {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}


def measured(name: str, problem: str, samples: int = 32, repeats: int = 200):
    given = PROBLEMS[problem]
    return bias_interval(
        make_estimator(name, samples),
        given.program,
        parameters_of(given),
        given.batch,
        without=name,
        seed=0,
        repeats=repeats,
    )


@pytest.mark.parametrize(
    ("probability", "degrees", "value"),
    [(0.995, 7, 3.4995), (0.995, 15, 2.9467), (0.975, 1, 12.7062), (0.995, math.inf, 2.5758)],
)
def test_quantiles_are_those_of_the_tables(probability, degrees, value):
    assert student_quantile(probability, degrees) == pytest.approx(value, abs=6e-3)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("k", "r", "noise"),
    [
        (16, 8, 0.3),
        (4, 8, 0.2),
        pytest.param(16, 8, 2.0, marks=pytest.mark.slow),
        pytest.param(32, 1, 0.0, marks=pytest.mark.slow),
    ],
)
def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says(k, r, noise):
    """2,000 experiments: 9 of 10 intervals of 90 % hold the ratio 1.3 of two means, within 4 standard errors.

    More do where the reference is only about 3 of its standard errors from 0: some intervals have no ends.
    """
    random = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(2000):
        above = 1.3 * 2.0 + torch.randn(k, generator=random)
        below = 2.0 + noise * torch.randn(r, generator=random)
        low, high = ratio_interval(above, below, confidence=0.9)
        covered += low <= 1.3 <= high
    error = math.sqrt(0.09 / 2000)
    assert covered / 2000 > 0.9 - 4 * error
    assert covered / 2000 < 0.9 + 4 * error or noise / math.sqrt(r) > 2.0 / 3


def test_a_reference_that_may_be_0_gives_no_ends():
    noise = torch.tensor([1.0, -1.1, 0.9, -0.8])
    assert ratio_interval(torch.tensor([1.0, 1.1, 0.9]), noise) == (-math.inf, math.inf)


def test_both_references_are_inside_and_their_disagreement_is_reported():
    """Estimates of 1; the references say 1 and 2: the bias is 0 or -1/2."""
    exact = {"one": torch.tensor([1.0]), "other": torch.tensor([2.0])}
    found = Yardstick(torch.tensor([1.0]), exact).interval(torch.tensor([0.99, 1.0, 1.01, 1.0]))
    assert found.low < -0.5 < 0 < found.high
    assert found.low == pytest.approx(-0.5, abs=0.02)
    assert found.high == pytest.approx(0.0, abs=0.04)
    assert not found.agree
    assert found.references == ("one", "other")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("problem", ["categorical", "two_layers", "coin_for_each_datum", "poisson"])
@pytest.mark.parametrize("name", ["rloo", "reinforce", "vimco"])
def test_an_unbiased_estimator_has_0_inside(name, problem):
    found = measured(name, problem)
    if found is None:
        # Poisson draws are served by the score function and nothing else that is unbiased.
        assert problem == "poisson"
        return
    assert found.low < 0 < found.high
    assert found.agree
    barred = {name, "rloo"} if name == "vimco" else {name}
    assert barred.isdisjoint(found.references)


def test_a_biased_estimator_has_its_known_bias_inside_and_0_outside():
    """Straight-through of one coin's cube: the mean slope 3 E[b^2] = 3 p stands where the truth has 1."""

    def cube(context, parameters, batch):
        context.cost(context.sample("b", Bernoulli(logits=parameters["logit"])) ** 3)

    parameters = {"logit": torch.tensor(0.4, requires_grad=True)}
    found = bias_interval(
        make_estimator("straight_through", 64),
        Program(cube),
        parameters,
        without="straight_through",
        seed=0,
        repeats=200,
    )
    assert found is not None
    p = torch.tensor(0.4).sigmoid().item()
    assert found.low < 3 * p - 1 < found.high
    assert found.low > 0
    assert found.references == ("exact", "rloo")


def test_a_jump_that_the_path_does_not_see_is_outside_the_interval():
    """The path's derivative is -1, the truth 0.1736."""
    truth = PROBLEMS["branch"].gradients()["mean"].item()
    found = measured("reparameterisation", "branch")
    assert found is not None
    assert set(found.references) == {"rloo", "measure_valued"}
    assert found.low < -1 / truth - 1 < found.high
    assert found.high < 0


def test_framework_estimate_measures_it_on_request_and_only_then():
    given = PROBLEMS["categorical"]
    options: dict[str, Any] = {"estimator": "rloo", "samples": 64, "seed": 0}
    plain = framework.estimate(given.program, given.parameters, **options)
    found = framework.estimate(given.program, given.parameters, **options, bias_repeats=64)
    assert plain.bias_interval is None
    assert found.bias_interval is not None
    assert found.bias_interval[0] < 0 < found.bias_interval[1]
    torch.testing.assert_close(found.gradients, plain.gradients, rtol=0, atol=0)
    with pytest.raises(UserError, match="bias_repeats = 1: expected 0, or 2 or more"):
        framework.estimate(given.program, given.parameters, **options, bias_repeats=1)


def test_the_comparison_and_its_scalars_hold_the_ends():
    given = PROBLEMS["two_layers"]
    found = compare(
        {"rloo": make_estimator("rloo", 32)},
        given.program,
        parameters_of(given),
        None,
        repeats=64,
        seed=0,
    )
    scalars = found["rloo"].scalars("quality/rloo")
    assert scalars["quality/rloo/bias_low"] < 0 < scalars["quality/rloo/bias_high"]


def test_the_estimator_s_other_name_is_no_reference():
    given = PROBLEMS["gaussian_quadratic"]
    stick = yardstick(given.program, parameters_of(given), None, seed=0, without="vimco")
    assert stick is not None
    assert list(stick.along) == ["measure_valued", "reparameterisation"]
    assert stick.direction.norm().item() == pytest.approx(1.0)
