"""The Concrete relaxation: the gradient is the relaxed program's, the objective the hard one's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
)

from framework import ProgramError, UserError, estimate
from framework.gradients.distributions.noise import gumbel_noise, logistic_noise
from framework.gradients.registered import make_estimator
from framework.program import Program
from tests.framework.gradients.problems import Problem, assert_unbiased, gradients

LOGITS = torch.tensor([-1.2, 0.6])
SCORES = torch.tensor([0.4, -0.3, 1.1])
PRIZES = torch.tensor([1.0, -2.0, 0.5])


def bernoulli_cubes(context, parameters, batch):
    x = context.sample("x", Bernoulli(logits=parameters["logits"]))
    context.cost((x - 0.3) ** 3)


def prize_squared(context, parameters, batch):
    x = context.sample("x", OneHotCategorical(logits=parameters["scores"]))
    context.cost((x @ PRIZES) ** 2)


def relaxed_cubes(logits: Tensor, temperature: float) -> Tensor:
    """E[(s((l + noise) / t) - 0.3)^3], summed over the logits, by the midpoint rule over the noise's uniforms."""
    uniforms = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    x = torch.sigmoid((logits + torch.logit(uniforms).unsqueeze(1)) / temperature)
    return ((x - 0.3) ** 3).mean(0).sum()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_the_gradient_is_that_of_the_relaxed_expectation(temperature):
    problem = Problem(
        "",
        Program(bernoulli_cubes),
        {"logits": LOGITS},
        lambda p: relaxed_cubes(p["logits"].double(), temperature).float(),
        "finite",
    )
    found = gradients(problem, "gumbel", repeats=100, samples=1024, temperature=temperature)
    assert_unbiased(found, problem.gradients())


def test_two_choices_relax_like_one_bernoulli_draw():
    """softmax((l + g) / t) over two has the law of s((l_1 - l_2 + logistic noise) / t)."""

    def two(context, parameters, batch):
        zero = torch.zeros_like(parameters["logits"])
        choice = OneHotCategorical(logits=torch.stack([parameters["logits"], zero], -1))
        context.cost((context.sample("x", Independent(choice, 1))[..., 0] - 0.3) ** 3)

    problem = Problem(
        "",
        Program(two),
        {"logits": LOGITS},
        lambda p: relaxed_cubes(p["logits"].double(), 0.7).float(),
        "finite",
    )
    found = gradients(problem, "gumbel", repeats=100, samples=1024, temperature=0.7)
    assert_unbiased(found, problem.gradients())


def test_the_bias_falls_and_the_variance_rises_with_a_falling_temperature():
    true = estimate(bernoulli_cubes, {"logits": LOGITS}, estimator="exact").gradients["logits"]
    problem = Problem("", Program(bernoulli_cubes), {"logits": LOGITS}, lambda p: p["logits"], "")
    bias, spread = [], []
    for temperature in (2.0, 0.5, 0.1):
        found = gradients(problem, "gumbel", samples=256, temperature=temperature)["logits"]
        bias.append((found.mean(0) - true).norm().item())
        spread.append(found.std(0).norm().item())
    print("temperature 2, 0.5, 0.1: bias", bias, "standard deviation", spread)
    assert bias[0] > bias[1] > bias[2]
    assert spread[0] < spread[1] < spread[2]


def test_a_cold_draw_is_the_discrete_one():
    torch.manual_seed(0)
    rule = make_estimator("gumbel", options={"temperature": 1e-3}).rules.default  # type: ignore[attr-defined]
    x = rule.draw("x", Bernoulli(logits=LOGITS), torch.Size((50_000,)))
    torch.testing.assert_close(x.round().mean(0), torch.sigmoid(LOGITS), atol=0.01, rtol=0)
    assert ((x - x.round()).abs() < 0.01).float().mean() > 0.99
    z = rule.draw("z", OneHotCategorical(logits=SCORES), torch.Size((50_000,)))
    torch.testing.assert_close(z.mean(0), torch.softmax(SCORES, -1), atol=0.01, rtol=0)
    torch.testing.assert_close(z.sum(-1), torch.ones(50_000))


def test_the_objective_is_the_hard_one():
    def function(context, parameters, batch):
        x = context.sample("x", Bernoulli(logits=parameters["logits"]))
        context.cost(5 + x * (1 - x))  # what is above 5 is seen between the values only

    found = estimate(function, {"logits": LOGITS}, estimator="gumbel", samples=8, temperature=2.0)
    assert found.value == 10.0  # two draws
    assert found.biased
    assert found.evaluations == 16
    assert found.gradients["logits"].abs().sum() > 0


@pytest.mark.parametrize("axes", [0, 1])
def test_batches_and_loops_are_served(axes):
    def function(context, parameters, batch):
        x = context.sample("x", Bernoulli(logits=parameters["logits"] * batch))
        assert x.shape == (context.samples, *batch.shape)
        context.cost(x)

    batch = torch.tensor([1.0, 2.0])
    program = Program(function, batch_axes=axes, one_sample_at_a_time=axes == 0)
    found = estimate(
        program, {"logits": LOGITS}, batch, estimator="gumbel", samples=20_000 if axes else 50
    )
    expected = torch.sigmoid(LOGITS * batch)
    mean = expected.mean() if axes else expected.sum()
    assert abs(found.value - mean.item()) < (0.01 if axes else 0.3)


def test_the_temperature_is_annealed_by_calls_reported_and_resumed():
    options = {"temperature": 2.0, "final_temperature": 0.5, "anneal_steps": 4}

    def temperatures(estimator, calls):
        leaves = {"logits": LOGITS.clone().requires_grad_()}
        program = Program(bernoulli_cubes)
        return [estimator.backward(program, leaves).extras["temperature"] for _ in range(calls)]

    estimator = make_estimator("gumbel", 2, options)
    expected = [2.0, math.sqrt(2.0), 1.0, math.sqrt(0.5), 0.5, 0.5]
    assert temperatures(estimator, 3) == pytest.approx(expected[:3])
    resumed = make_estimator("gumbel", 2, options)
    resumed.load_state_dict(estimator.state_dict())
    assert temperatures(resumed, 3) == pytest.approx(expected[3:])


def test_a_rule_by_site_relaxes_that_draw_alone():
    def function(context, parameters, batch):
        b = context.sample("b", Bernoulli(logits=parameters["logits"]))
        z = context.sample("z", Categorical(logits=parameters["logits"]))
        assert z.dtype == torch.int64
        context.cost(b.sum(-1) * (1 + z))

    problem = Problem("", Program(function), {"logits": LOGITS}, lambda p: p["logits"], "")
    sites = {"b": {"name": "gumbel", "temperature": 1e-3}}
    found = estimate(function, problem.parameters, estimator="rloo", samples=4, sites=sites)
    assert found.extras == {"temperature/b": 1e-3}
    assert found.biased
    assert found.evaluations == 8
    # linear in b, so that the mean of a relaxed b has nearly the right derivative
    sites = {"b": {"name": "gumbel", "temperature": 0.2}}
    many = gradients(problem, "rloo", sites=sites)
    true = estimate(function, problem.parameters, estimator="exact").gradients
    assert_unbiased(many, true, tolerance=0.03)


def test_draws_with_a_path_of_their_own_keep_it():
    def function(context, parameters, batch):
        context.cost(context.sample("x", Normal(parameters["mean"], 0.5)) ** 2)

    problem = Problem("", Program(function), {"mean": torch.tensor(0.7)}, lambda p: p["mean"], "")
    found = gradients(problem, "gumbel")
    assert_unbiased(found, {"mean": torch.tensor(1.4)})


@pytest.mark.parametrize("estimator", ["gumbel", "straight_through", "gumbel_rao", "reinmax"])
def test_what_cannot_be_served_is_refused_with_the_draws_name_and_a_way_out(estimator):
    refusals = {
        Categorical(
            logits=SCORES
        ): r"'pick' ~ Categorical is an index.* OneHotCategorical.*exact, rebar, relax, measure_valued, reinforce",
        Poisson(
            SCORES.exp()
        ): r"'pick' ~ Poisson: .* can serve it: measure_valued, reinforce, rloo",
        Binomial(
            3, logits=SCORES
        ): r"'pick' ~ Binomial: .* can serve it: exact, measure_valued, reinforce",
    }
    for distribution, message in refusals.items():

        def function(context, parameters, batch, distribution=distribution):
            context.cost(context.sample("pick", distribution).float())

        with pytest.raises(ProgramError, match=message):
            estimate(function, {"scores": SCORES}, estimator=estimator)


def test_the_log_probability_of_a_relaxed_value_is_explained():
    def function(context, parameters, batch, validate):
        x = context.sample("x", Bernoulli(logits=parameters["logits"]))
        context.cost(-Bernoulli(0.3, validate_args=validate).log_prob(x))

    with pytest.raises(ProgramError, match="validate_args=False"):
        estimate(lambda c, p, b: function(c, p, b, True), {"logits": LOGITS}, estimator="gumbel")
    found = estimate(
        lambda c, p, b: function(c, p, b, False), {"logits": LOGITS}, estimator="gumbel"
    )
    assert found.gradients["logits"].isfinite().all()


def test_temperatures_out_of_range_are_refused():
    for option in ("temperature", "final_temperature", "anneal_steps"):
        with pytest.raises(UserError, match=option):
            make_estimator("gumbel", options={option: 0})


@pytest.mark.parametrize(
    "estimator",
    ["gumbel", "straight_through", "straight_through_gumbel", "gumbel_rao", "reinmax"],
)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    some.lists(some.floats(-200, 200, width=32), min_size=4, max_size=4),
    some.integers(0, 3),
    some.sampled_from([0.01, 0.5, 10.0]),
)
def test_extreme_and_impossible_choices_keep_everything_finite(
    estimator, numbers, possible, temperature
):
    """Choices masked by -inf, logits far out, cold temperatures: no NaN in value or gradient."""
    mask = torch.full((4,), -torch.inf)
    mask[: possible + 1] = 0

    def function(context, parameters, batch):
        z = context.sample("z", OneHotCategorical(logits=parameters["scores"] + mask))
        assert (z[..., possible + 1 :] == 0).all()
        b = context.sample("b", Bernoulli(logits=parameters["scores"]))
        context.cost((z @ torch.arange(4.0) - 1) ** 2 + (b**2).sum(-1))

    options = {} if estimator == "straight_through" else {"temperature": temperature}
    found = estimate(
        function, {"scores": torch.tensor(numbers)}, estimator=estimator, samples=64, **options
    )
    assert math.isfinite(found.value)
    assert found.gradients["scores"].isfinite().all()


def test_noise_has_its_moments_and_is_finite_in_every_precision():
    torch.manual_seed(0)
    euler = 0.5772157
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        like = torch.empty(400_000, dtype=dtype)
        gumbel, logistic = gumbel_noise(like), logistic_noise(like)
        assert gumbel.isfinite().all()
        assert logistic.isfinite().all()
        assert abs(gumbel.mean().item() - euler) < 4 * 1.2826 / math.sqrt(400_000)
        assert abs(gumbel.var().item() - math.pi**2 / 6) < 0.03
        assert abs(logistic.var().item() - math.pi**2 / 3) < 0.05
