"""Enumeration where the draws depend on what was drawn, and of the finite draws in a program that has others."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, OneHotCategorical, Poisson

import framework
from framework.errors import ProgramError, UserError
from framework.gradients.estimate import estimate, surrogate
from framework.program import Program
from tests.framework.gradients.problems import PROBLEMS, Problem, assert_unbiased, gradients

FINITE = [p.name for p in PROBLEMS.values() if p.kind == "finite"]


def in_loop_mode(name: str) -> Program:
    """The same program, one sample at a time."""
    known = PROBLEMS[name].program
    return Program(known.function, batch_axes=known.batch_axes, one_sample_at_a_time=True)


def adventure(context, parameters, batch):
    """A branch, a loop of drawn length and a draw that is made on one way only."""
    brave = context.sample("brave", Bernoulli(logits=parameters["brave"])).item()
    if not brave:
        context.cost(1.0, "boredom")
        return
    doors = int(context.sample("doors", Categorical(logits=parameters["doors"]))) + 1
    for number in range(doors):
        if context.sample(f"dragon/{number}", Bernoulli(logits=parameters["dragon"])).item():
            context.cost(5.0 + number, "eaten")
            return
    context.cost(-10.0 * doors, "treasure")


def expected_adventure(p):
    """Its expected cost by hand, over 1 to 3 doors."""
    brave, dragon = p["brave"].sigmoid(), p["dragon"].sigmoid()
    total = 1 - brave
    for doors, chance in enumerate(p["doors"].softmax(0), start=1):
        eaten = sum((1 - dragon) ** i * dragon * (5.0 + i) for i in range(doors))
        total = total + brave * chance * (eaten - 10.0 * doors * (1 - dragon) ** doors)
    return total


ADVENTURE = Problem(
    "adventure",
    Program(adventure, one_sample_at_a_time=True),
    {
        "brave": torch.tensor(0.3),
        "doors": torch.tensor([0.2, -0.4, 0.1]),
        "dragon": torch.tensor(-0.5),
    },
    expected_adventure,
    "finite",
)


@pytest.mark.parametrize("name", FINITE)
def test_the_tree_of_draws_gives_the_closed_form(name):
    problem = PROBLEMS[name]
    found = estimate(in_loop_mode(name), problem.parameters, problem.batch, estimator="exact")
    assert not found.biased
    torch.testing.assert_close(
        found.value, problem.objective(problem.parameters).item(), atol=1e-5, rtol=1e-5
    )
    for parameter, true in problem.gradients().items():
        torch.testing.assert_close(found.gradients[parameter], true, atol=1e-5, rtol=1e-5)


def test_branches_and_bounded_loops_are_enumerated_leaf_by_leaf():
    found = estimate(ADVENTURE.program, ADVENTURE.parameters, estimator="exact")
    assert found.evaluations == 1 + 2 + 3 + 4
    assert not found.biased
    assert found.value == pytest.approx(expected_adventure(ADVENTURE.parameters).item(), rel=1e-5)
    for parameter, true in ADVENTURE.gradients().items():
        torch.testing.assert_close(found.gradients[parameter], true, atol=1e-5, rtol=1e-5)


def test_second_derivatives_of_a_tree_are_exact():
    leaves = {n: p.clone().requires_grad_() for n, p in ADVENTURE.parameters.items()}

    def hessian(loss):
        (slope,) = torch.autograd.grad(loss, leaves["dragon"], create_graph=True)
        return torch.autograd.grad(slope, list(leaves.values()))

    ours = hessian(surrogate(ADVENTURE.program, leaves, estimator="exact"))
    for found, true in zip(ours, hessian(expected_adventure(leaves)), strict=True):
        torch.testing.assert_close(found, true, atol=1e-4, rtol=1e-4)


def test_values_of_probability_0_are_not_walked():
    seen = []

    def program(context, parameters, batch):
        logits = torch.cat([parameters["logits"], torch.tensor([-torch.inf])])
        seen.append(int(context.sample("choice", Categorical(logits=logits))))
        context.cost(float(seen[-1]))

    found = estimate(
        Program(program, one_sample_at_a_time=True),
        {"logits": torch.tensor([0.3, -0.1])},
        estimator="exact",
    )
    assert seen == [0, 1]
    assert found.evaluations == 2


def test_a_loop_without_end_is_refused_at_once():
    problem, runs = PROBLEMS["random_length_loop"], []

    def program(context, parameters, batch):
        runs.append(1)
        problem.program.function(context, parameters, batch)

    with pytest.raises(
        ProgramError,
        match=r"301 or more leaves .* draw 'heads/300', more than estimator.states=300; .*rloo",
    ):
        estimate(
            Program(program, one_sample_at_a_time=True),
            problem.parameters,
            estimator="exact",
            states=300,
        )
    assert len(runs) <= 301


def endless(going_on, rounds=math.inf):
    """A loop that goes on while `going_on` says so of two draws of each round, and the list of its draws."""
    drawn = []

    def program(context, parameters, batch):
        number = 0
        while number < rounds:
            die = context.sample(f"die/{number}", Categorical(logits=parameters["theta"]))
            coin = context.sample(f"coin/{number}", Bernoulli(logits=parameters["theta"][0]))
            drawn.append(int(die) + 10 * int(coin))
            number += 1
            if not going_on(int(die), int(coin)):
                break
        context.cost(float(number))

    return Program(program, one_sample_at_a_time=True), drawn


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "going_on",
    [
        lambda die, coin: coin == 0,
        lambda die, coin: coin == 1,
        lambda die, coin: die == 1,
        lambda die, coin: die == 2 and coin == 1,
        lambda die, coin: die != coin,
    ],
)
def test_an_endless_loop_is_refused_after_as_many_draws_as_leaves(going_on):
    program, drawn = endless(going_on)
    with pytest.raises(ProgramError, match="or more leaves of the tree of draws at draw"):
        estimate(program, {"theta": torch.tensor([0.1, 0.2, 0.3])}, estimator="exact", states=500)
    assert len(drawn) < 500


def test_a_loop_that_ends_has_a_leaf_for_each_of_its_ends():
    program, _ = endless(lambda die, coin: die == 1 and coin == 1, rounds=12)
    theta = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    found = estimate(program, {"theta": theta.detach()}, estimator="exact")
    again = theta.softmax(0)[1] * theta[0].sigmoid()
    value = sum(again**i for i in range(12))
    (gradient,) = torch.autograd.grad(value, theta)  # type: ignore[arg-type]
    assert found.evaluations == 11 * 5 + 6
    assert found.value == pytest.approx(value.item(), rel=1e-5)  # type: ignore[union-attr]
    torch.testing.assert_close(found.gradients["theta"], gradient, rtol=1e-4, atol=1e-6)


def test_a_draw_with_too_many_values_is_refused_before_they_are_listed():
    def program(context, parameters, batch):
        context.cost(context.sample("b", Bernoulli(logits=parameters["theta"])).sum(-1))

    with pytest.raises(ProgramError, match=r"1099511627776 or more leaves"):
        estimate(
            Program(program, one_sample_at_a_time=True),
            {"theta": torch.zeros(40)},
            estimator="exact",
        )


def test_a_program_that_rolls_dice_of_its_own_is_refused():
    turns = iter([True, False, True, False])

    def program(context, parameters, batch):
        if next(turns):
            context.sample("odd", Bernoulli(logits=parameters["theta"]))
        context.cost(context.sample("coin", Bernoulli(logits=parameters["theta"])))

    with pytest.raises(ProgramError, match=r"draw 'odd'.*random by other means"):
        estimate(
            Program(program, one_sample_at_a_time=True),
            {"theta": torch.tensor(0.1)},
            estimator="exact",
        )


def test_a_gaussian_in_a_tree_is_integrated_and_declared_biased():
    found = estimate(
        in_loop_mode("gaussian_quadratic"),
        PROBLEMS["gaussian_quadratic"].parameters,
        estimator="exact",
        nodes=8,
    )
    assert found.biased
    assert found.evaluations == 8
    for parameter, true in PROBLEMS["gaussian_quadratic"].gradients().items():
        torch.testing.assert_close(found.gradients[parameter], true, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("loop", [False, True])
def test_draws_made_earlier_are_refused(loop):
    def program(context, parameters, batch):
        context.observe("action", Bernoulli(logits=parameters["theta"]), torch.ones(1))
        context.cost(1.0)

    with pytest.raises(ProgramError, match="draw 'action' was made earlier, and 'exact'"):
        estimate(
            Program(program, one_sample_at_a_time=loop),
            {"theta": torch.tensor(0.1)},
            estimator="exact",
        )


def mixture(context, parameters, batch):
    """A component by its number, then a Gaussian around that component's mean."""
    which = context.sample("which", OneHotCategorical(logits=parameters["weights"]))
    x = context.sample("x", Normal(which @ parameters["means"], 0.5))
    context.cost((x - 1) ** 2 + which[..., 1])


def expected_mixture(p):
    chances = p["weights"].softmax(0)
    return (chances * ((p["means"] - 1) ** 2 + 0.25)).sum() + chances[1]


def reaction(context, parameters, batch):
    """A Gaussian, then a coin whose chance depends on it, then a Gaussian that depends on both."""
    x = context.sample("x", Normal(parameters["mean"], 0.8))
    coin = context.sample("coin", Bernoulli(logits=2 * x + parameters["bias"]))
    y = context.sample("y", Normal(x + coin, 1.0))
    context.cost(y**2 + coin * x)


def expected_reaction(p):
    """By quadrature over x: E[y^2] = (x + coin)^2 + 1."""
    import numpy

    points, weights = numpy.polynomial.hermite.hermgauss(64)
    x = p["mean"] + 0.8 * 2**0.5 * torch.as_tensor(points)
    chance = (2 * x + p["bias"]).sigmoid()
    inner = chance * ((x + 1) ** 2 + x) + (1 - chance) * x**2 + 1
    return (torch.as_tensor(weights) / torch.pi**0.5 * inner).sum()


def mixed(function, objective, parameters, *, one_sample_at_a_time: bool) -> Problem:
    values = {name: torch.tensor(value) for name, value in parameters.items()}
    return Problem(
        function.__name__,
        Program(function, one_sample_at_a_time=one_sample_at_a_time),
        values,
        objective,
        "mixed",
    )


MIXTURE = {"weights": [0.2, -0.3, 0.5], "means": [-1.0, 0.5, 2.0]}
REACTION = {"mean": 0.3, "bias": -0.4}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("rule", ["score_function", "reparameterisation"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(
    ("function", "objective", "parameters"),
    [(mixture, expected_mixture, MIXTURE), (reaction, expected_reaction, REACTION)],
)
def test_finite_draws_are_summed_and_the_rest_is_sampled(
    function, objective, parameters, loop, rule
):
    problem = mixed(function, objective, parameters, one_sample_at_a_time=loop)
    size = {"repeats": 40, "samples": 4} if loop else {"repeats": 60, "samples": 160}
    found = gradients(problem, "exact", non_enumerable=rule, **size)
    assert_unbiased(found, problem.gradients())


def test_summing_the_finite_draws_leaves_less_variance_than_scoring_them():
    problem = mixed(mixture, expected_mixture, MIXTURE, one_sample_at_a_time=False)
    summed = gradients(problem, "exact", non_enumerable="score_function")["weights"]
    scored = gradients(problem, "rloo")["weights"]
    assert summed.var(0).sum() < 0.5 * scored.var(0).sum()


def test_sampling_the_rest_is_not_biased_and_counts_all_its_runs():
    problem = mixed(mixture, expected_mixture, MIXTURE, one_sample_at_a_time=False)
    found = estimate(
        problem.program,
        problem.parameters,
        estimator="exact",
        non_enumerable="score_function",
        samples=5,
    )
    assert not found.biased
    assert found.evaluations == 15


def test_a_path_through_the_rest_reaches_the_probabilities_behind_it():
    problem = mixed(reaction, expected_reaction, REACTION, one_sample_at_a_time=False)
    found = gradients(
        problem, "exact", non_enumerable="reparameterisation", samples=4096, repeats=1
    )
    for parameter, true in problem.gradients().items():
        torch.testing.assert_close(found[parameter][0], true.float(), atol=0.1, rtol=0)


def test_without_finite_draws_the_rest_is_all_there_is():
    problem = PROBLEMS["poisson"]
    found = gradients(problem, "exact", non_enumerable="score_function")
    assert_unbiased(found, problem.gradients())


def test_the_rest_must_have_what_its_rule_needs():
    problem = PROBLEMS["poisson"]
    with pytest.raises(ProgramError, match="'count' ~ Poisson has no differentiable path"):
        estimate(
            problem.program,
            problem.parameters,
            estimator="exact",
            non_enumerable="reparameterisation",
        )
    with pytest.raises(UserError, match=r"estimator.samples = 1: expected 2 or more"):
        framework.estimate(
            problem.program,
            problem.parameters,
            estimator="exact",
            non_enumerable="score_function",
            samples=1,
        )


def test_a_poisson_draw_is_refused_with_the_way_to_sample_it():
    def program(context, parameters, batch):
        context.cost(context.sample("x", Poisson(parameters["rate"])))

    with pytest.raises(
        ProgramError, match=r"exact with estimator\.non_enumerable set to sample it"
    ):
        estimate(
            Program(program, one_sample_at_a_time=True),
            {"rate": torch.tensor(2.0)},
            estimator="exact",
        )
