"""Evolution strategies shaped by ranks: only the order of the values counts."""

from __future__ import annotations

import math

import torch

from framework import Program, estimate
from framework.gradients.numerical import centred_ranks
from tests.framework.gradients.problems import Problem, gradients


def test_ranks_are_spread_evenly_and_ties_share_theirs():
    ranks = centred_ranks(torch.tensor([3.0, -1.0, 100.0, 3.0, 0.0]))
    torch.testing.assert_close(ranks, torch.tensor([0.125, -0.5, 0.5, 0.125, -0.25]))
    assert centred_ranks(torch.ones(4)).tolist() == [0.0] * 4


def test_a_monotone_change_of_the_objective_changes_nothing():
    def squared(context, parameters, batch):
        context.cost((parameters["x"] ** 2).sum())

    def exponential(context, parameters, batch):
        context.cost((parameters["x"] ** 2).sum().exp() * 1000)

    x = {"x": torch.tensor([0.5, -1.0, 2.0])}
    options = {"estimator": "evolution_strategies", "shaping": "ranks", "seed": 3}
    one, other = (estimate(f, x, **options).gradients["x"] for f in (squared, exponential))  # type: ignore[arg-type]
    torch.testing.assert_close(one, other)


def test_the_gradient_of_a_slope_has_the_stated_scale():
    """For F(x) = c x, ranks of 2 m mirrored values: E[rank(e) e] / sigma -> E[(Phi(e) - 1/2) e] / sigma."""

    def slope(context, parameters, batch):
        context.cost(100 * parameters["x"])

    sigma = 0.1
    problem = Problem("", Program(slope), {"x": torch.tensor(1.0)}, lambda p: p["x"], "")
    found = gradients(
        problem,
        "evolution_strategies",
        repeats=60,
        samples=1,
        directions=200,
        sigma=sigma,
        shaping="ranks",
    )["x"]
    expected = 1 / (2 * math.sqrt(math.pi)) / sigma  # E[(Phi(e) - 1/2) e] = 1 / (2 sqrt(pi))
    assert abs(found.mean().item() / expected - 1) < 0.02


def test_without_shaping_the_gradient_has_the_objectives_scale():
    def slope(context, parameters, batch):
        context.cost(100 * parameters["x"])

    found = estimate(
        slope, {"x": torch.tensor(1.0)}, estimator="evolution_strategies", directions=4000, seed=0
    )
    z = abs(found.gradients["x"].item() - 100) / (100 * math.sqrt(2 / 4000))
    assert z < 4
