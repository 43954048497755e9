"""The DiCE surrogate: right to any order, causal, and equal to the objective in value."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import framework
from framework.errors import ProgramError
from framework.randomness import seeded
from tests.framework.gradients.problems import PROBLEMS, assert_unbiased


def second_derivatives(problem, estimator, repeats, samples, **options):
    """`repeats` estimates of the whole Hessian of a problem with one parameter tensor."""
    (name, value), found = next(iter(problem.parameters.items())), []
    with seeded(1):
        for _ in range(repeats):
            leaf = value.clone().requires_grad_()
            loss = framework.surrogate(
                problem.program, {name: leaf}, estimator=estimator, samples=samples, **options
            )
            (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
            rows = [
                torch.autograd.grad(g, leaf, retain_graph=True)[0] for g in gradient.reshape(-1)
            ]
            found.append(torch.stack(rows))
    return torch.stack(found)


def true_hessian(problem):
    (name, value) = next(iter(problem.parameters.items()))
    hessian = torch.autograd.functional.hessian(lambda v: problem.objective({name: v}), value)
    return hessian.reshape(-1, *value.shape)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["rebar_toy", "coins_together", "categorical", "poisson"])
@pytest.mark.parametrize("estimator", ["rloo", "reinforce"])
def test_second_derivatives_of_the_score_function_are_unbiased(estimator, name):
    problem = PROBLEMS[name]
    found = second_derivatives(problem, estimator, repeats=200, samples=200)
    assert_unbiased({"hessian": found}, {"hessian": true_hessian(problem)})


@pytest.mark.parametrize("name", ["rebar_toy", "coins_together", "small_decision_process"])
def test_second_derivatives_by_enumeration_are_exact(name):
    problem = PROBLEMS[name]
    found = second_derivatives(problem, "exact", repeats=1, samples=None)[0]
    torch.testing.assert_close(
        found.reshape(true_hessian(problem).shape), true_hessian(problem), atol=1e-4, rtol=1e-4
    )


def test_second_derivatives_by_reparameterisation_are_unbiased():
    problem = PROBLEMS["gaussian_chain"]
    found = second_derivatives(problem, "reparameterisation", repeats=10, samples=4)
    torch.testing.assert_close(found.mean(0).squeeze(), torch.tensor(4.0), atol=1e-4, rtol=0)


def test_estimators_of_first_derivatives_only_refuse_the_surrogate():
    problem = PROBLEMS["rebar_toy"]
    for estimator in ("finite_difference", "spsa", "evolution_strategies"):
        with pytest.raises(
            ProgramError, match=r"first derivatives only; estimators that know higher"
        ):
            framework.surrogate(problem.program, problem.parameters, estimator=estimator)


def test_the_surrogate_has_the_value_of_the_objective():
    problem = PROBLEMS["two_layers"]
    parameters = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}
    for estimator in ("rloo", "reinforce"):
        loss = framework.surrogate(
            problem.program, parameters, estimator=estimator, samples=32, seed=3
        )
        found = framework.estimate(
            problem.program, parameters, estimator=estimator, samples=32, seed=3
        )
        torch.testing.assert_close(loss.item(), found.value)


def test_a_cost_is_charged_to_earlier_draws_and_to_no_other():
    def program(context, parameters, batch):
        early = context.sample("early", Bernoulli(logits=parameters["early"]))
        context.cost(100.0 + early, "between")
        context.sample("late", Bernoulli(logits=parameters["late"]))

    parameters = {"early": torch.zeros(()), "late": torch.zeros(())}
    found = framework.estimate(program, parameters, estimator="reinforce", baseline="none", seed=0)
    assert found.gradients["early"] != 0
    assert found.gradients["late"] == 0


def test_credit_in_episodes_is_the_reward_to_go():
    """With one episode and no baseline the gradient of each step's logit is (action - p) times the costs from it on."""
    actions = torch.tensor([[1.0], [0.0], [1.0]])
    costs = torch.tensor([[1.0], [10.0], [100.0]])

    def program(context, parameters, batch):
        context.observe("action", Bernoulli(logits=parameters["theta"].unsqueeze(1)), batch)
        context.cost(costs)

    episodes = framework.Program(program, recorded_trajectories=True)
    theta = torch.tensor([0.2, -0.4, 0.9])
    found = framework.estimate(
        episodes, {"theta": theta}, actions, estimator="reinforce", baseline="none"
    )
    expected = (actions.squeeze(1) - theta.sigmoid()) * torch.tensor([111.0, 110.0, 100.0])
    torch.testing.assert_close(found.gradients["theta"], expected)
    assert found.value == 111.0


def test_leave_one_out_in_episodes_compares_the_same_step_of_the_others():
    actions = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    costs = torch.tensor([[1.0, 5.0], [2.0, 7.0]])

    def program(context, parameters, batch):
        context.observe("action", Bernoulli(logits=parameters["theta"].unsqueeze(1)), batch)
        context.cost(costs)

    episodes = framework.Program(program, recorded_trajectories=True)
    found = framework.estimate(episodes, {"theta": torch.zeros(2)}, actions, estimator="rloo")
    score = actions - 0.5
    to_go = torch.tensor([[3.0, 12.0], [2.0, 7.0]])
    expected = (score * (to_go - to_go.flip(1))).mean(1)
    torch.testing.assert_close(found.gradients["theta"], expected)


def test_masked_steps_count_nothing():
    actions, mask = torch.tensor([[1.0], [0.0]]), torch.tensor([[True], [False]])

    def program(context, parameters, batch):
        context.observe(
            "action", Bernoulli(logits=parameters["theta"].unsqueeze(1)), batch, mask=mask
        )
        context.cost(torch.where(mask, 3.0, 0.0))

    episodes = framework.Program(program, recorded_trajectories=True)
    found = framework.estimate(
        episodes, {"theta": torch.zeros(2)}, actions, estimator="reinforce", baseline="none"
    )
    torch.testing.assert_close(found.gradients["theta"], torch.tensor([1.5, 0.0]))


def test_a_penalty_blames_no_draw_and_keeps_its_own_gradient():
    def program(context, parameters, batch):
        context.sample("b", Bernoulli(logits=parameters["theta"]))
        context.penalty(3 * parameters["theta"], "decay")
        context.cost(torch.zeros(context.samples))

    found = framework.estimate(program, {"theta": torch.tensor(2.0)}, estimator="rloo", seed=0)
    torch.testing.assert_close(found.gradients["theta"], torch.tensor(3.0))
    assert found.value == 6.0


def test_a_baseline_brought_by_the_program_replaces_the_estimators_own_and_lowers_the_variance():
    def program_with(baseline):
        def program(context, parameters, batch):
            b = context.sample("b", Bernoulli(logits=parameters["theta"]), baseline=baseline)
            context.cost(b + 50.0)

        return program

    def gradients(baseline):
        estimates = [
            framework.estimate(
                program_with(baseline),
                {"theta": torch.tensor(0.4)},
                estimator="reinforce",
                baseline="none",
                seed=i,
            ).gradients["theta"]
            for i in range(300)
        ]
        return torch.stack(estimates)

    p = torch.tensor(0.4).sigmoid()
    good, none = gradients(torch.tensor(50.5)), gradients(None)
    assert_unbiased({"good": good, "none": none}, {"good": p * (1 - p), "none": p * (1 - p)})
    assert good.var() < none.var() / 100


def test_observing_asks_for_an_estimator_that_scores():
    def program(context, parameters, batch):
        context.observe("x", Normal(parameters["mean"], 1.0), torch.zeros(context.samples))
        context.cost(torch.zeros(context.samples))

    with pytest.raises(
        ProgramError, match=r"'x' was made earlier.*estimators that can serve it: reinforce, rloo"
    ):
        framework.estimate(program, {"mean": torch.zeros(())}, estimator="reparameterisation")
