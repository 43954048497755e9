"""The learned baseline: unbiased while it learns, better than a moving average where something is known."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.distributions import Bernoulli

import framework
from framework.errors import UserError
from framework.gradients.registered import make_estimator
from framework.randomness import seeded
from tests.framework.gradients.problems import PROBLEMS, Problem, assert_unbiased, gradients

DATA = torch.linspace(-2, 2, 8).unsqueeze(1)


def program(context, parameters, batch):
    """Each datum has a return of its own that is known beforehand, and a coin that adds a little."""
    coin = context.sample("coin", Bernoulli(logits=parameters["theta"].expand(len(batch))))
    context.cost(10 * batch.squeeze(1) ** 2 + coin)


KNOWN = Problem(
    "known",
    framework.Program(program, batch_axes=1),
    {"theta": torch.tensor(0.3)},
    lambda p: 10 * (DATA**2).mean() + p["theta"].sigmoid(),
    "finite",
    DATA,
)


@pytest.mark.parametrize(
    "name",
    [
        "two_layers",
        "small_decision_process",
        "coin_for_each_datum",
        "poisson",
        "random_length_loop",
    ],
)
def test_it_never_biases_the_gradient(name):
    problem = PROBLEMS[name]
    repeats, samples = (40, 16) if problem.program.one_sample_at_a_time else (50, 256)
    found = gradients(
        problem,
        "reinforce",
        repeats=repeats,
        samples=samples,
        baseline="learned",
        learning_rate=0.05,
    )
    assert_unbiased(found, problem.gradients())


@pytest.mark.slow
def test_it_learns_what_the_data_tells_about_the_return():
    moving = gradients(KNOWN, "reinforce", repeats=800, samples=4)["theta"]
    learned = gradients(
        KNOWN, "reinforce", repeats=800, samples=4, baseline="learned", learning_rate=0.03
    )["theta"]
    assert_unbiased({"theta": learned}, KNOWN.gradients())
    assert learned[400:].var() < 0.05 * moving[400:].var()


def test_it_serves_episodes_by_their_observations():
    observations = torch.tensor([[[0.0], [5.0]], [[1.0], [6.0]]])  # [T, N, 1]
    actions = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    def episodes(context, parameters, batch):
        context.observe("action", Bernoulli(logits=parameters["theta"].expand(2, 2)), actions)
        context.cost(batch.squeeze(-1))

    steps = framework.Program(episodes, recorded_trajectories=True)
    options = {"baseline": "learned", "learning_rate": 0.15}
    estimator = make_estimator("reinforce", None, options)
    parameters = {"theta": torch.zeros((), requires_grad=True)}
    for _ in range(200):
        parameters["theta"].grad = None
        estimator.backward(steps, parameters, observations)
    gradient = parameters["theta"].grad
    assert gradient is not None
    assert abs(gradient.item()) < 0.1, "returns are known from the observations: no credit is left"


def test_it_resumes_with_the_same_bits():
    problem = PROBLEMS["two_layers"]
    parameters = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}

    def go_on(estimator, times):
        with seeded(3):
            for _ in range(times):
                for p in parameters.values():
                    p.grad = None
                estimator.backward(problem.program, parameters)
        gradient = parameters["first"].grad
        assert gradient is not None
        return gradient.clone()

    first = make_estimator("reinforce", 8, {"baseline": "learned"})
    go_on(first, 5)
    second = make_estimator("reinforce", 8, {"baseline": "learned"})
    second.load_state_dict(first.state_dict())
    assert torch.equal(go_on(first, 4), go_on(second, 4))


def test_a_saved_optimiser_or_network_that_does_not_fit_is_one_line():
    problem = PROBLEMS["two_layers"]
    parameters = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}
    first = make_estimator("reinforce", 8, {"baseline": "learned"})
    first.backward(problem.program, parameters)

    def loaded(change):
        state = copy.deepcopy(first.state_dict())
        change(next(iter(state["baseline"].values())))
        make_estimator("reinforce", 8, {"baseline": "learned"}).load_state_dict(state)

    def short(saved):
        saved["optimizer"]["state"]["0.weight"]["exp_avg"] = torch.zeros(1)

    def wide(saved):
        saved["inputs"] = 10**12

    with pytest.raises(UserError, match=r"'exp_avg' of '0.weight' is torch.float32 \[1\]"):
        loaded(short)
    with pytest.raises(
        UserError, match=r"weight' is \[\d+, \d+\], expected \[\d+, 1000000000000\]"
    ):
        loaded(wide)


@pytest.mark.slow
def test_runs_may_come_to_a_draw_by_different_ways():
    """One sample at a time the second draw may have one or two draws before it: what is known has two widths."""

    def branching(context, parameters, batch):
        first = context.sample("first", Bernoulli(logits=parameters["theta"][0]))
        if first.item() > 0:
            context.sample("extra", Bernoulli(logits=parameters["theta"][1]))
        context.cost(2 * first)
        second = context.sample("second", Bernoulli(logits=parameters["theta"][1] + first.item()))
        context.cost(3 * second)

    def objective(p):
        first, either = p["theta"][0].sigmoid(), p["theta"][1]
        return 2 * first + 3 * (first * (either + 1).sigmoid() + (1 - first) * either.sigmoid())

    problem = Problem(
        "branching",
        framework.Program(branching, one_sample_at_a_time=True),
        {"theta": torch.tensor([-0.5, 0.2])},
        objective,
        "finite",
    )
    for samples in (1, 6):  # alone the widths change from call to call
        found = gradients(problem, "reinforce", repeats=150, samples=samples, baseline="learned")
        assert_unbiased(found, problem.gradients())
