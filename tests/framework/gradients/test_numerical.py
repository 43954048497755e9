"""Numerical estimators: shaping by ranks, and many perturbations evaluated at once."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, Normal

from framework import Context, Program, estimate
from framework.errors import ProgramError
from framework.gradients.estimator import Estimator
from framework.gradients.numerical import (
    SPSA,
    EvolutionStrategies,
    FiniteDifference,
    centred_ranks,
)
from framework.gradients.registered import make_estimator
from framework.parameters import Parameters, placed
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


# --- many perturbations at once -------------------------------------------------------------------------------------

ESTIMATORS = [
    partial(FiniteDifference, samples=8),
    partial(SPSA, directions=5, samples=8),
    partial(EvolutionStrategies, directions=5, samples=8),
    partial(EvolutionStrategies, directions=5, samples=8, shaping="ranks"),
]


def network(calls: list[int]) -> tuple[Program, dict[str, torch.Tensor], torch.Tensor]:
    """A small network with dropout and noise about one of its parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 1))

    def fit(context: Context, parameters: Parameters, batch: torch.Tensor) -> None:
        calls.append(1)
        noise = context.sample("noise", Normal(parameters["3.bias"], 1.0))
        with placed(model, parameters):
            context.cost((model(batch).squeeze(-1) - noise).square())

    return Program(fit, batch_axes=1), dict(model.named_parameters()), torch.randn(6, 3)


def gradient(estimator: Estimator, calls: list[int]) -> torch.Tensor:
    program, parameters, batch = network(calls)
    torch.manual_seed(1)
    estimator.backward(program, parameters, batch)
    return torch.cat([p.grad.flatten() for p in parameters.values() if p.grad is not None])


@pytest.mark.parametrize("make", ESTIMATORS)
def test_perturbations_evaluated_at_once_give_the_gradient_of_one_after_the_other(make):
    alone: list[int] = []
    at_once: list[int] = []
    expected = gradient(make(together=1), alone)
    torch.testing.assert_close(gradient(make(together=4), at_once), expected, rtol=1e-3, atol=1e-3)
    assert expected.norm() > 0.1
    assert len(at_once) <= len(alone) / 2  # it was really done


@pytest.mark.parametrize("make", ESTIMATORS)
def test_a_program_that_vmap_cannot_follow_runs_for_one_after_the_other_and_it_is_reported_once(
    make,
):
    def kinked(context: Context, parameters: Parameters, batch: object) -> None:
        shift = context.sample("shift", Normal(parameters["x"], 1.0))
        context.cost(shift.abs() + (1.0 if parameters["x"].sum().item() > 0 else 2.0))

    def estimated(estimator: Estimator) -> torch.Tensor:
        torch.manual_seed(1)
        x = torch.tensor([0.5, 1.5], requires_grad=True)
        estimator.backward(Program(kinked), {"x": x})
        assert x.grad is not None
        return x.grad

    estimator = make(together=4)
    expected = estimated(make(together=1))
    for _ in range(2):
        torch.testing.assert_close(estimated(estimator), expected, rtol=0, atol=0)
    (message,) = estimator.messages()
    assert message.startswith("perturbations run one after the other: ")
    assert estimator.messages() == []


def test_the_mistake_of_a_program_is_reported_as_it_is():
    def wrong(context: Context, parameters: Parameters, batch: object) -> None:
        context.cost(parameters["x"] @ torch.ones(3))

    with pytest.raises(RuntimeError, match="size"):
        estimate(wrong, {"x": torch.ones(2)}, estimator="spsa", directions=4)


def test_a_stateful_program_is_never_vmapped_and_one_that_does_not_say_so_is_reported():
    state = torch.zeros(())

    def walk(context: Context, parameters: Parameters, batch: object) -> None:
        nonlocal state
        state = torch.zeros_like(state) + parameters["x"]
        context.cost(state * (1.0 if bool(torch.ones(())) else float(state)))
        if torch._C._functorch.is_batchedtensor(state):
            raise RuntimeError("cannot go on")

    x = {"x": torch.tensor(2.0)}
    with pytest.raises(ProgramError, match=r"declare it with .*stateful=True"):
        estimate(walk, x, estimator="evolution_strategies")
    state = torch.zeros(())
    stateful = estimate(Program(walk, stateful=True), x, estimator="finite_difference")
    assert abs(stateful.gradients["x"].item() - 1) < 1e-3


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        ("finite_difference", {"step": 0.1}),
        ("spsa", {"step": 0.1}),
        ("evolution_strategies", {"directions": 64}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*draw 'b' .* is discrete.* within a small step")
def test_a_draw_that_depends_on_a_draw_is_served(estimator, options, together):
    def chain(context: Context, parameters: Parameters, batch: object) -> None:
        x = context.sample("x", Normal(parameters["mean"], 1.0))
        context.cost(context.sample("b", Bernoulli(logits=x)))

    found = estimate(
        chain,
        {"mean": torch.tensor(0.5)},
        estimator=estimator,
        samples=20_000,
        seed=0,
        together=together,
        **options,
    )
    # E[s(x)] and E[s'(x)] for x ~ Normal(0.5, 1), by quadrature.
    assert found.value == pytest.approx(0.6020, abs=0.01)
    assert float(found.gradients["mean"]) == pytest.approx(0.1990, abs=0.03)


@pytest.mark.parametrize("estimator", ["finite_difference", "spsa", "evolution_strategies"])
def test_where_no_parameter_needs_a_gradient_it_says_so(estimator):
    with pytest.raises(ProgramError, match="parameters: none needs a gradient"):
        make_estimator(estimator).backward(Program(lambda c, p, b: c.cost(1.0)), {})


# --- discrete draws, and the ends of a parameter's range --------------------------------------------------------------


def coin(context: Context, parameters: Parameters, batch: object) -> None:
    context.cost(context.sample("coin", Bernoulli(logits=parameters["x"])))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("estimator", ["finite_difference", "spsa"])
def test_small_steps_of_a_discrete_draw_are_reported_to_be_of_little_use(
    estimator: str, loop: bool
):
    program = Program(coin, one_sample_at_a_time=loop)
    with pytest.warns(
        UserWarning, match=rf"{estimator}: draw 'coin' ~ Bernoulli is discrete.*rloo"
    ):
        found = estimate(program, {"x": torch.tensor(0.3)}, estimator=estimator, seed=0)
    assert "\n" not in found.caution


def test_a_draw_that_becomes_discrete_by_another_is_named():
    def chain(context: Context, parameters: Parameters, batch: object) -> None:
        x = context.sample("x", Normal(parameters["x"], 1.0))
        context.cost(context.sample("b", Bernoulli(logits=x)))

    with pytest.warns(UserWarning, match="draw 'b' ~ Bernoulli is discrete"):
        estimate(chain, {"x": torch.tensor(0.3)}, estimator="finite_difference", seed=0)


def test_it_is_reported_once_in_training():
    estimator, x = FiniteDifference(), torch.tensor(0.3, requires_grad=True)
    for _ in range(3):
        estimator.backward(Program(coin), {"x": x})
    discrete = [message for message in estimator.messages() if "is discrete" in message]
    assert len(discrete) == 1


@pytest.mark.parametrize("loop", [False, True])
def test_discrete_draws_that_no_parameter_moves_are_served_without_a_word(loop: bool):
    def noise(context: Context, parameters: Parameters, batch: object) -> None:
        k = context.sample("k", Categorical(logits=torch.zeros(3)))
        b = context.sample("b", Bernoulli(probs=k / 2))
        x = context.sample("x", Normal(parameters["x"], 1.0))
        context.cost((x - k - b) ** 2)

    program = Program(noise, one_sample_at_a_time=loop)
    found = estimate(
        program, {"x": torch.tensor(0.3)}, estimator="finite_difference", samples=50, seed=0
    )
    assert found.caution == ""


def test_evolution_strategies_serve_a_discrete_draw_honestly():
    """The gradient of s(x) smoothed over 0.5, by quadrature, at an honest cost in evaluations."""
    found = estimate(
        coin,
        {"x": torch.tensor(0.3)},
        estimator="evolution_strategies",
        sigma=0.5,
        directions=1000,
        samples=20_000,
        seed=0,
    )
    assert found.caution == ""
    points = torch.linspace(-4, 4, 4001)
    weights = (-(points**2) / 2).exp()
    p = (0.3 + 0.5 * points).sigmoid()
    truth = float((weights * p * (1 - p)).sum() / weights.sum())
    # (slope e) e has the standard deviation sqrt(2) slope.
    assert abs(float(found.gradients["x"]) - truth) < 4 * truth * math.sqrt(2 / 1000)


@pytest.mark.parametrize("estimator", ["finite_difference", "spsa", "evolution_strategies"])
def test_a_step_out_of_a_parameters_range_is_refused_in_one_line(estimator: str):
    def certain(context: Context, parameters: Parameters, batch: object) -> None:
        context.cost(context.sample("b", Bernoulli(probs=parameters["x"])))

    with pytest.raises(ProgramError, match="moves the parameters, and a distribution is not") as e:
        estimate(certain, {"x": torch.tensor(0.0)}, estimator=estimator, seed=0)
    assert "\n" not in str(e.value)
