"""Alpha-order takes the path where it may be trusted, the score function where the objective jumps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal

from framework.errors import ProgramError, UserError
from framework.gradients.estimate import estimate
from framework.gradients.pathwise.alpha_order import AlphaOrder, share_of_first
from framework.program import Program
from framework.randomness import seeded
from tests.framework.gradients.problems import PROBLEMS, assert_unbiased, gradients

SMOOTH = [p.name for p in PROBLEMS.values() if p.kind == "smooth"]
positive = st.floats(1e-6, 1e6)


def shares(name: str, calls: int, **options) -> list[float]:
    """The first order's share in consecutive calls of one estimator."""
    problem = PROBLEMS[name]
    chosen = AlphaOrder(**options)
    leaves = {n: p.clone().requires_grad_() for n, p in problem.parameters.items()}
    with seeded(1):
        found = [chosen.backward(problem.program, leaves, problem.batch) for _ in range(calls)]
    return [float(one.extras["alpha"]) for one in found]


@given(v1=positive, v0=positive, distance=positive, noise=positive)
def test_the_share_has_the_least_mean_square_error(v1, v0, distance, noise):
    bias = max(0.0, distance - noise)

    def error(share: float) -> float:
        value: float = share**2 * (v1 + bias) + (1 - share) ** 2 * v0
        return value

    share = share_of_first(v1, v0, distance, noise)
    assert 0 <= share <= 1
    best = error(share)
    assert all(best <= error(other) * (1 + 1e-9) for other in (0.0, 0.25, 0.5, 0.75, 1.0))


@given(v1=positive, v0=positive, noise=positive, nearer=positive, farther=positive)
def test_the_share_falls_as_the_gradients_disagree(v1, v0, noise, nearer, farther):
    nearer, farther = sorted((nearer, farther))
    assert share_of_first(v1, v0, farther, noise) <= share_of_first(v1, v0, nearer, noise)


def test_without_disagreement_the_shares_are_as_the_precisions():
    assert share_of_first(1.0, 3.0, 0.0, 0.0) == pytest.approx(0.75)
    assert share_of_first(0.0, 0.0, 0.0, 0.0) == 1.0


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_objectives_are_served_without_visible_bias(name):
    problem = PROBLEMS[name]
    assert_unbiased(
        gradients(problem, "alpha_order", samples=128), problem.gradients(), tolerance=2e-3
    )


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name",
    [
        "gaussian_quadratic",
        pytest.param("gaussian_cosine", marks=pytest.mark.slow),
        pytest.param("gaussian_chain", marks=pytest.mark.slow),
    ],
)
def test_on_smooth_objectives_it_has_less_variance_than_either(name):
    problem = PROBLEMS[name]

    def variance(estimator: str) -> float:
        found = gradients(problem, estimator, repeats=150)
        return float(torch.stack([each.var(0).sum() for each in found.values()]).sum())

    mixed = variance("alpha_order")
    assert mixed < variance("reparameterisation")
    assert mixed < 0.5 * variance("rloo")


def test_on_smooth_objectives_the_first_order_has_most_of_the_share():
    assert sum(shares("beta", 40)) / 40 > 0.9
    assert sum(shares("gaussian_chain", 40)) / 40 > 0.8


def test_it_sees_the_jump_that_reparameterisation_does_not():
    problem = PROBLEMS["branch"]
    true = problem.gradients()
    found = gradients(problem, "alpha_order", samples=512)
    assert_unbiased(found, true, tolerance=0.02)
    off = gradients(problem, "reparameterisation", samples=256)["mean"].mean() - true["mean"]
    assert abs(off) > 1
    assert max(shares("branch", 20, samples=256)) < 0.05


def test_a_linear_cost_has_the_path_s_exact_gradient():
    def program(context, parameters, batch):
        context.cost(3 * context.sample("x", Normal(parameters["mean"], 1.0)))

    found = estimate(program, {"mean": torch.tensor(0.2)}, estimator="alpha_order", seed=0)
    torch.testing.assert_close(found.gradients["mean"], torch.tensor(3.0))
    assert found.extras["alpha"] == pytest.approx(1.0, abs=1e-6)
    assert found.evaluations == 128
    assert found.biased


def test_a_cost_of_nothing_but_jumps_follows_the_score_function():
    def program(context, parameters, batch):
        context.cost((context.sample("x", Normal(parameters["mean"], 1.0)) > 0).float())

    found = estimate(
        program, {"mean": torch.tensor(0.0)}, estimator="alpha_order", samples=4096, seed=0
    )
    density = 1 / (2 * torch.pi) ** 0.5
    torch.testing.assert_close(found.gradients["mean"], torch.tensor(density), atol=0.03, rtol=0)
    assert found.extras["alpha"] < 0.05


def test_an_exploding_path_is_left_out():
    def program(context, parameters, batch):
        x = context.sample("x", Normal(parameters["mean"], 1.0))
        context.cost((x - x.detach()).sqrt() + x**2)  # the square root's derivative is infinite

    found = estimate(program, {"mean": torch.tensor(1.0)}, estimator="alpha_order", seed=0)
    assert found.extras["alpha"] == 0.0
    assert found.gradients["mean"].isfinite()


def test_nothing_drawn_leaves_the_plain_gradient():
    def program(context, parameters, batch):
        context.cost(parameters["x"] ** 2)

    found = estimate(program, {"x": torch.tensor(1.5)}, estimator="alpha_order")
    torch.testing.assert_close(found.gradients["x"], torch.tensor(3.0))
    assert found.value == 2.25


def test_what_was_measured_survives_a_checkpoint():
    problem, estimators = PROBLEMS["gaussian_kink"], [AlphaOrder(), AlphaOrder()]
    leaves = {n: p.clone().requires_grad_() for n, p in problem.parameters.items()}
    with seeded(0):
        for _ in range(5):
            estimators[0].backward(problem.program, leaves)
    estimators[1].load_state_dict(estimators[0].state_dict())
    alphas = []
    for one in estimators:
        with seeded(7):
            alphas.append(one.backward(problem.program, leaves).extras["alpha"])
    assert alphas[0] == alphas[1]
    with seeded(7):
        assert AlphaOrder().backward(problem.program, leaves).extras["alpha"] != alphas[0]


def test_a_draw_without_a_path_is_refused():
    def program(context, parameters, batch):
        context.cost(context.sample("coin", Bernoulli(logits=parameters["theta"])))

    with pytest.raises(ProgramError, match="draw 'coin' ~ Bernoulli has no differentiable path"):
        estimate(program, {"theta": torch.tensor(0.0)}, estimator="alpha_order")


def test_draws_made_earlier_are_refused():
    def program(context, parameters, batch):
        context.observe("action", Normal(parameters["mean"], 1.0), batch)
        context.cost(batch)

    with pytest.raises(ProgramError, match="'alpha_order' needs to draw it itself"):
        estimate(program, {"mean": torch.tensor(0.0)}, torch.zeros(8), estimator="alpha_order")
    episodes = Program(program, recorded_trajectories=True)
    with pytest.raises(ProgramError, match="the program holds recorded ones"):
        estimate(episodes, {"mean": torch.tensor(0.0)}, torch.zeros(3, 8), estimator="alpha_order")


def test_samples_that_do_not_fill_the_groups_are_refused():
    with pytest.raises(UserError, match=r"estimator.samples = 20: expected a multiple"):
        AlphaOrder(samples=20, groups=8)


def test_a_bound_of_all_samples_is_refused():
    def program(context, parameters, batch):
        context.bound(context.sample("x", Normal(parameters["mean"], 1.0)))

    with pytest.raises(ProgramError, match="'alpha_order' needs each sample's own cost"):
        estimate(program, {"mean": torch.tensor(0.0)}, estimator="alpha_order")
