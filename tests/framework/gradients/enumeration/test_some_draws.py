"""`estimator.sites: {z: exact}` inside rloo: some draws are summed over, the others sampled."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, Poisson

from framework.errors import ProgramError, UserError
from framework.gradients.estimate import estimate
from framework.program import Program
from tests.framework.gradients.problems import Problem, assert_unbiased, gradients

PRICE = torch.tensor([[1.0, -2.0, 4.0], [0.5, 3.0, -1.0]])


def three_draws(context, parameters, batch):
    """A coin, a die that depends on it, and a coin that depends on the die."""
    coin = context.sample("coin", Bernoulli(logits=parameters["coin"]))
    die = context.sample("die", Categorical(logits=parameters["die"][coin.long()]))
    last = context.sample("last", Bernoulli(logits=parameters["last"] - die))
    context.cost(PRICE[coin.long(), die] * (1 + last) + last)


def expected(p):
    total = torch.zeros(())
    heads = p["coin"].sigmoid()
    for coin, chance in enumerate((1 - heads, heads)):
        for die in range(3):
            last = (p["last"] - die).sigmoid()
            price = PRICE[coin, die]
            total = total + chance * p["die"].softmax(-1)[coin, die] * (price * (1 + last) + last)
    return total


def problem(*, loop: bool = False) -> Problem:
    values = {
        "coin": torch.tensor(0.3),
        "die": torch.tensor([[0.2, -0.4, 0.1], [0.0, 0.5, -0.3]]),
        "last": torch.tensor(0.8),
    }
    program = Program(three_draws, one_sample_at_a_time=loop)
    return Problem("three_draws", program, values, expected, "finite")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(
    "sites",
    [
        {"die": "exact"},
        {"coin": {"name": "exact"}, "last": "score_function"},
        {"last": "exact", "coin": "exact"},
    ],
)
def test_some_draws_are_summed_over_without_bias(sites, loop):
    size = {"repeats": 30, "samples": 2} if loop else {"repeats": 60, "samples": 80}
    found = gradients(problem(loop=loop), "rloo", sites=sites, **size)
    assert_unbiased(found, problem().gradients())


def test_all_draws_summed_over_leave_nothing_to_chance():
    found = estimate(
        problem().program, problem().parameters, estimator="rloo", sites={"*": "exact"}
    )
    assert found.evaluations == 12
    for name, true in problem().gradients().items():
        torch.testing.assert_close(found.gradients[name], true, rtol=1e-5, atol=1e-6)


def test_the_gradient_varies_less_than_that_of_samples():
    summed = gradients(problem(), "rloo", sites={"die": "exact"}, samples=64, repeats=75)
    sampled = gradients(problem(), "rloo", samples=64, repeats=75)
    assert summed["die"].var(0).sum() < 0.5 * sampled["die"].var(0).sum()


def test_a_gaussian_beside_a_draw_that_is_summed_over_keeps_its_path():
    def program(context, parameters, batch):
        which = context.sample("which", Categorical(logits=parameters["weights"]))
        x = context.sample("x", Normal(parameters["means"][which], 0.5))
        context.cost((x - 1) ** 2)

    def objective(p):
        return (p["weights"].softmax(0) * ((p["means"] - 1) ** 2 + 0.25)).sum()

    values = {"weights": torch.tensor([0.2, -0.3]), "means": torch.tensor([-1.0, 2.0])}
    known = Problem("mixture", Program(program), values, objective, "mixed")
    sites = {"which": "exact", "x": "reparameterisation"}
    assert_unbiased(
        gradients(known, "rloo", sites=sites, samples=64, repeats=75), known.gradients()
    )


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (
            {"coin": "exact", "die": "gumbel"},
            r"estimator.sites.die: expected score_function or reparameterisation .* got gumbel",
        ),
        ({"coin": {"name": "exact", "states": 9}}, r"estimator.sites.coin: .* has no options"),
    ],
)
def test_what_cannot_stand_beside_a_sum_is_refused(sites, message):
    with pytest.raises(UserError, match=message):
        estimate(problem().program, problem().parameters, estimator="rloo", sites=sites)


def test_a_draw_without_finitely_many_values_is_not_summed_over():
    def program(context, parameters, batch):
        context.cost(context.sample("count", Poisson(parameters["rate"])))

    with pytest.raises(ProgramError, match=r"draw 'count' ~ Poisson has no finite set of values"):
        estimate(program, {"rate": torch.tensor(2.0)}, estimator="rloo", sites={"count": "exact"})


def test_too_many_joint_values_to_sum_over_are_refused():
    def program(context, parameters, batch):
        context.cost(context.sample("coins", Bernoulli(logits=parameters["theta"])).sum(-1))

    with pytest.raises(
        ProgramError, match=r"estimator.sites: .* 8192 joint values, more than 4096"
    ):
        estimate(program, {"theta": torch.zeros(13)}, estimator="rloo", sites={"coins": "exact"})


@pytest.mark.parametrize("estimator", ["reinforce", "gumbel", "reparameterisation"])
def test_other_estimators_refuse_the_rule_in_one_line(estimator):
    with pytest.raises(UserError, match="exact") as refusal:
        estimate(
            problem().program, problem().parameters, estimator=estimator, sites={"die": "exact"}
        )
    assert "\n" not in str(refusal.value)
