"""Estimators against the exact policy gradient of Kuhn poker, by the tree of the game."""

import re
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

from framework import ProgramError, UserError
from framework.batch import map_tensors
from framework.capabilities import estimators
from framework.gradients.registered import make_estimator
from framework.randomness import seeded
from plugins.league.exact import ExactLeague
from plugins.league.league.population import MAIN

# Of episodes with predictions: what is left out of the rewards by neither is the exact gradient.
WHOLE = {"discount": 1.0, "gae_lambda": 1.0, "value_weight": 0.0}
CRITICS = {
    "a2c": WHOLE,
    "vtrace": WHOLE,
    "ppo": {**WHOLE, "epochs": 1, "minibatches": 1, "normalise_advantages": False},
}
OPTIMISTS = {
    "upgo": WHOLE,
    "vtrace_upgo": WHOLE,
}


# What serves a league; the README says so.
SERVED = {
    *("ppo", "a2c", "vtrace", "upgo", "vtrace_upgo", "rloo", "reinforce", "vimco", "automatic"),
    *("spsa", "evolution_strategies", "finite_difference"),
}


def task_with_a_policy(boards=512, hidden=6):
    """A task whose policy is far from uniform."""
    with seeded(11):
        task = ExactLeague(
            game="kuhn",
            mode="self_play",
            boards=boards,
            hidden=[hidden],
            anchors=[],
            tournament_matches=0,
        )
        for parameter in task.model.parameters():
            parameter.data.normal_(0, 0.7)
    return task


def exact_loss(task, fixed):
    """Minus the learner's mean payoff against a table of probabilities, from either side as often."""
    tree, table = task.tree, task.tree.table(task.agent(MAIN))
    return -(tree.value(table, fixed) - tree.value(fixed, table)) / 2


def exact_gradient(task):
    """Of that loss, against the learner's own policy held fixed."""
    loss = exact_loss(task, task.table())
    gradients = torch.autograd.grad(loss, task.parameters.values(), allow_unused=True)
    return flat(task, dict(zip(task.parameters, gradients, strict=True)))


@torch.no_grad()
def exact_difference(task, direction):
    """Half the loss at the parameters moved by `direction` less half of that at those moved the other way."""
    fixed, parameters = task.table(), list(task.parameters.values())
    parts = direction.split([p.numel() for p in parameters])
    losses = []
    for sign in (1, -2):
        for parameter, part in zip(parameters, parts, strict=True):
            parameter += sign * part.view_as(parameter)
        losses.append(float(exact_loss(task, fixed)))
    for parameter, part in zip(parameters, parts, strict=True):
        parameter += part.view_as(parameter)
    return (losses[0] - losses[1]) / 2


def flat(task, gradients):
    parts = [
        torch.zeros_like(p) if gradients[n] is None else gradients[n]
        for n, p in task.parameters.items()
    ]
    return torch.cat([part.flatten() for part in parts])


def estimates(task, estimator, repeats):
    """Gradients of `repeats` batches of whole matches, as means over matches."""
    program = task.program(estimator)
    matches = task.learners[0].matches
    found = []
    for number in range(repeats):
        batch: Any = None
        share = 1.0
        if program.recorded_trajectories:
            batch = matches.episodes(number)
        if program.rollouts is not None:
            # A critic's mean is over steps; its rollouts have an observation after the last.
            share = float(batch.valid.sum()) / matches.count
            longer = map_tensors(lambda part: torch.cat([part, part[-1:]]), batch.observations)
            starts = torch.cat([batch.episode_start, torch.ones_like(batch.episode_start[-1:])])
            batch = replace(batch, observations=longer, episode_start=starts)
            policy, values = matches.agent.policy_and_values(longer, None, starts)
            batch = replace(
                batch, log_prob=policy.log_prob(batch.actions).detach(), values=values[:-1].detach()
            )
        for parameter in task.parameters.values():
            parameter.grad = None
        with seeded(number):
            estimator.backward(program, task.parameters, batch)
        found.append(share * flat(task, {n: p.grad for n, p in task.parameters.items()}))
    return torch.stack(found)


def largest_z(found, exact):
    """The largest departure of the mean from the exact gradient, in standard errors, along it and other directions."""
    with seeded(5):
        directions = torch.cat([exact.unsqueeze(0), torch.randn(5, len(exact)) * (exact != 0)])
    worst = 0.0
    for direction in directions:
        along = (found @ direction).tolist()
        error = stdev(along) / len(along) ** 0.5
        worst = max(worst, abs(fmean(along) - float(exact @ direction)) / error)
    return worst


@pytest.mark.parametrize(
    ("name", "options"),
    [("rloo", {}), *CRITICS.items()],
)
def test_unbiased_estimators_agree_with_the_exact_gradient(name, options):
    task = task_with_a_policy()
    exact = exact_gradient(task)
    found = estimates(task, make_estimator(name, options=options), 40)
    assert largest_z(found, exact) < 4
    # Not by noise alone: the mean has the exact gradient's size.
    assert float(found.mean(0) @ exact / (exact @ exact)) == pytest.approx(1, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reinforce", "vimco", "automatic"])
def test_other_score_functions_do_too(name):
    task = task_with_a_policy()
    found = estimates(task, make_estimator(name), 200)
    assert largest_z(found, exact_gradient(task)) < 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), OPTIMISTS.items())
def test_upgoing_updates_point_the_same_way(name, options):
    """UPGO is optimistic by construction; it is no estimate of the gradient, but goes up where that does."""
    task = task_with_a_policy()
    exact = exact_gradient(task)
    mean = estimates(task, make_estimator(name, options=options), 40).mean(0)
    assert float(torch.cosine_similarity(mean, exact, 0)) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("spsa", {"step": 0.05, "samples": 256, "directions": 2}),
        ("evolution_strategies", {"sigma": 0.05, "samples": 64, "directions": 2}),
    ],
)
def test_searches_among_parameters_agree_along_the_gradient(name, options):
    task = task_with_a_policy()
    exact = exact_gradient(task)
    found = estimates(task, make_estimator(name, options=options), 60)
    along = (found @ exact / (exact @ exact)).tolist()
    assert abs(fmean(along) - 1) < 4 * stdev(along) / len(along) ** 0.5


@pytest.mark.slow
def test_finite_differences_are_the_exact_ones_of_their_step():
    step, task = 0.3, task_with_a_policy(hidden=2)
    size = sum(parameter.numel() for parameter in task.parameters.values())
    exact = torch.tensor([exact_difference(task, step * row) / step for row in torch.eye(size)])
    options = {"step": step, "samples": 512}
    found = estimates(task, make_estimator("finite_difference", options=options), 36)
    assert largest_z(found, exact) < 4
    along = (found @ exact / (exact @ exact)).tolist()
    assert abs(fmean(along) - 1) < 4 * stdev(along) / len(along) ** 0.5 < 0.2


@pytest.mark.slow
def test_evolution_strategies_have_the_gradient_of_the_loss_smoothed_by_their_width():
    sigma, task = 0.5, task_with_a_policy()
    gradient = exact_gradient(task)
    size = len(gradient)
    with seeded(3):
        moves = torch.randn(2000, size)
    rows = torch.stack([exact_difference(task, sigma * e) / sigma * e for e in moves])
    smoothed = (rows @ gradient / (gradient @ gradient)).tolist()
    options = {"sigma": sigma, "samples": 64, "directions": 8}
    found = estimates(task, make_estimator("evolution_strategies", options=options), 100)
    along = (found @ gradient / (gradient @ gradient)).tolist()
    error = (stdev(along) ** 2 / len(along) + stdev(smoothed) ** 2 / len(smoothed)) ** 0.5
    assert abs(fmean(along) - fmean(smoothed)) < 4 * error
    # It is not the gradient's own: so wide a look sees more than the slope.
    assert fmean(smoothed) - 1 > 4 * stdev(smoothed) / len(smoothed) ** 0.5


def refusal(name):
    """What is said of an estimator that does not serve a league; None: it does."""
    task = task_with_a_policy(boards=4, hidden=1)
    try:
        estimates(task, make_estimator(name, 2), 1)
    except (ProgramError, UserError) as refused:
        return str(refused)
    return None


def test_every_other_estimator_is_refused_in_one_line():
    # One that chooses among others is served where they are.
    names = [component.name for component, can in estimators() if not can.delegates]
    said = {name: refusal(name) for name in names}
    assert {name for name in names if said[name] is None} == SERVED - {"automatic"}
    assert not [name for name in names if "\n" in (said[name] or "")]


def test_no_refusal_names_an_estimator_that_is_refused_too():
    named = re.compile(r"(?:serve it(?: as it is)?:|its values:|expected one of) ([\w, ]+)")
    for component, can in estimators():
        said = None if can.delegates else refusal(component.name)
        if said is not None and "estimator.samples" not in said:
            choices = named.search(said)
            assert choices is not None, said
            assert set(choices[1].split(", ")) <= SERVED, said
