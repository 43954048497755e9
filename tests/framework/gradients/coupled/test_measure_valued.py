"""ARM, DisARM and measure-valued derivatives: right in expectation, sparing of variance, and clear refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Dirichlet,
    Gamma,
    Normal,
    OneHotCategorical,
    Poisson,
)

import framework
from framework import Context, Program, ProgramError
from framework.gradients.coupled.arm import Arm, Disarm
from framework.gradients.coupled.measure_valued import MeasureValued
from framework.gradients.registered import make_estimator
from framework.parameters import Parameters
from framework.plugin import registry
from tests.framework.gradients.layered import (
    LOGITS,
    PROBLEMS,
    Problem,
    check_unbiased,
    exact_gradient,
    exact_value,
    gradient,
    gradients,
    variance,
)

NAMES = ("arm", "disarm", "measure_valued")


@pytest.mark.parametrize("problem", ["toy", "several", "independent", "layered", "network"])
@pytest.mark.parametrize("name", NAMES)
def test_bernoulli_programs_agree_with_enumeration(name: str, problem: str):
    truth = exact_gradient(PROBLEMS[problem])
    check_unbiased(make_estimator(name, 3000), PROBLEMS[problem], truth)


def test_measure_valued_agrees_with_enumeration_for_categories():
    truth = exact_gradient(PROBLEMS["categories"])
    check_unbiased(MeasureValued(samples=3000), PROBLEMS["categories"], truth)


def indices(context: Context, p: Parameters, batch: None) -> None:
    k = context.sample("k", Categorical(logits=p["logits"]))
    table = torch.tensor([1.0, -2.0, 5.0])
    context.cost(context.black_box(lambda index: table[index] ** 2, k))


def test_measure_valued_serves_indices_and_a_black_box():
    problem: Problem = (Program(indices), {"logits": LOGITS}, None)
    check_unbiased(MeasureValued(samples=3000), problem, exact_gradient(problem))


def normal(context: Context, p: Parameters, batch: None) -> None:
    x = context.sample("x", Normal(p["mean"], p["scale"]))
    context.cost((x - 1) ** 2)


def test_measure_valued_has_the_closed_form_for_a_normal_draw():
    mean, scale = torch.tensor([0.5, -0.3]), torch.tensor([1.5, 0.7])
    problem: Problem = (Program(normal), {"mean": mean, "scale": scale}, None)
    check_unbiased(MeasureValued(samples=1500), problem, torch.cat([2 * (mean - 1), 2 * scale]))


def jump(context: Context, p: Parameters, batch: None) -> None:
    x = context.sample("x", Normal(p["mean"], 0.8))
    context.cost((x > 0.3).float())


def test_measure_valued_sees_a_jump_that_has_no_derivative():
    problem: Problem = (Program(jump), {"mean": torch.tensor(0.1)}, None)
    density = math.exp(-(((0.3 - 0.1) / 0.8) ** 2) / 2) / (0.8 * math.sqrt(2 * math.pi))
    check_unbiased(MeasureValued(samples=1500), problem, torch.tensor([density]))


def counts(context: Context, p: Parameters, batch: None) -> None:
    x = context.sample("x", Poisson(p["rate"]))
    y = context.sample("y", Normal(x * p["slope"], 1.0))
    z = context.sample("z", Poisson(x + p["rate"]))
    context.cost(x**2 + y**2 * x + z * x)


def test_measure_valued_has_the_closed_form_behind_a_poisson_draw():
    """E x^2 = r + r^2, E x^3 = r^3 + 3 r^2 + r, E[z x] = E[x^2] + r^2."""
    r, a = (torch.tensor(v, requires_grad=True) for v in (1.5, 0.7))
    second, third = r + r**2, r**3 + 3 * r**2 + r
    objective = second + (a**2 * third + r) + (second + r**2)
    truth = torch.stack(torch.autograd.grad(objective, [r, a]))
    problem: Problem = (Program(counts), {"rate": r.detach(), "slope": a.detach()}, None)
    check_unbiased(MeasureValued(samples=6000), problem, truth)


def waiting(context: Context, p: Parameters, batch: None) -> None:
    x = context.sample("x", Gamma(2.5, p["rate"]))
    context.cost(x**2)


def test_measure_valued_has_the_closed_form_for_a_gamma_rate():
    rate = torch.tensor(1.5)
    problem: Problem = (Program(waiting), {"rate": rate}, None)
    truth = (-2 * 2.5 * 3.5 / rate**3).reshape(1)  # E x^2 = a (a + 1) / r^2
    check_unbiased(MeasureValued(samples=1500), problem, truth)


def random_length(context: Context, p: Parameters, batch: None) -> None:
    k = 0
    while k < 3 and context.sample(f"b{k}", Bernoulli(logits=p["logit"])).item() > 0:
        k += 1
    context.cost(float(k) ** 2)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", NAMES)
def test_a_loop_of_random_length_agrees_with_its_sum(name: str):
    logit = torch.tensor(-0.3, requires_grad=True)
    p = logit.sigmoid()
    objective = sum((p**k * (1 - p) * k**2 for k in range(3)), p**3 * 9)
    (truth,) = torch.autograd.grad(objective, logit)
    problem: Problem = (
        Program(random_length, one_sample_at_a_time=True),
        {"logit": logit.detach()},
        None,
    )
    check_unbiased(make_estimator(name, 25), problem, truth.reshape(1))


def test_one_bernoulli_draw_is_differentiated_without_noise():
    """f(1) - f(0) needs no luck: measure-valued always, DisARM where both values are equally likely."""
    found = gradients(MeasureValued(samples=1), PROBLEMS["toy"], 5)
    torch.testing.assert_close(found, exact_gradient(PROBLEMS["toy"]).expand(5, 1))
    program, _, _ = PROBLEMS["toy"]
    even: Problem = (program, {"logit": torch.tensor(0.0)}, None)
    torch.testing.assert_close(
        gradients(Disarm(samples=1), even, 5), exact_gradient(even).expand(5, 1)
    )


@pytest.mark.one_in(2)
@pytest.mark.parametrize("problem", ["toy", "several", "layered"])
def test_disarm_is_arm_averaged_and_has_no_more_variance(problem: str):
    arm = gradients(Arm(samples=4), PROBLEMS[problem], 200)
    disarm = gradients(Disarm(samples=4), PROBLEMS[problem], 200)
    squares = (arm - arm.mean(0)).square().sum(1) - (disarm - disarm.mean(0)).square().sum(1)
    assert squares.mean() > -4 * squares.std() / 200**0.5


def test_arm_has_a_tenth_of_the_variance_of_plain_reinforce_on_the_toy():
    plain = make_estimator("reinforce", 100, {"baseline": "none"})  # two evaluations, as ARM
    arm = variance(Arm(samples=50), PROBLEMS["toy"], 150)
    assert arm < variance(plain, PROBLEMS["toy"], 150) / 10


@pytest.mark.parametrize("name", NAMES)
def test_the_objective_is_that_of_the_hard_program(name: str):
    problem = PROBLEMS["network"]
    program, parameters, batch = problem
    found = framework.estimate(program, parameters, batch, estimator=name, samples=20000, seed=0)
    assert found.value == pytest.approx(exact_value(problem), abs=0.03)
    assert not found.biased


@pytest.mark.parametrize(
    ("name", "problem", "expected"),
    [
        ("arm", "several", 2),  # hard and its partner
        ("disarm", "layered", 4),  # three layers
        ("measure_valued", "several", 4),  # three elements, flipped one by one
        ("measure_valued", "layered", 8),  # seven elements
        ("measure_valued", "network", 6),  # two, one shared, two; the data move together
    ],
)
def test_evaluations_count_every_sample_of_every_run(name: str, problem: str, expected: int):
    program, parameters, batch = PROBLEMS[problem]
    found = framework.estimate(program, parameters, batch, estimator=name, samples=7, seed=0)
    assert found.evaluations == 7 * expected


def test_measure_valued_spends_nothing_on_parameters_that_want_no_gradient():
    def fixed_scale(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("x", Normal(p["mean"], 1.0)) ** 2)

    parameters = {"mean": torch.tensor(0.5)}
    found = framework.estimate(
        fixed_scale, parameters, estimator="measure_valued", samples=3, seed=0
    )
    assert found.evaluations == 3 * 3  # itself, one step up, one down


@pytest.mark.parametrize("name", NAMES)
def test_scale_multiplies_the_gradient_and_calls_accumulate(name: str):
    program, parameters, batch = PROBLEMS["layered"]
    estimator = make_estimator(name, 5)
    torch.manual_seed(3)
    once = gradient(estimator, PROBLEMS["layered"])
    leaves = {n: value.clone().requires_grad_() for n, value in parameters.items()}
    for scale in (0.5, torch.tensor(0.25)):
        torch.manual_seed(3)
        estimator.backward(program, leaves, batch, scale=scale)
    found = torch.cat([p.grad.reshape(-1) for p in leaves.values() if p.grad is not None])
    torch.testing.assert_close(found, 0.75 * once)


def coincidence(context: Context, p: Parameters, batch: None) -> None:
    """The second draw's batch shape is as long as the samples axis of the run, by chance."""
    first = context.sample("first", Bernoulli(logits=p["logit"]))
    second = context.sample("second", Bernoulli(logits=p["logits"]))
    context.cost((first + second.sum(-1)) ** 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_shape_that_is_ambiguous_by_coincidence_is_found_out(name: str):
    samples = 4 if name == "measure_valued" else 2
    parameters = {"logit": torch.tensor(0.5), "logits": torch.linspace(-1, 1, 4)}
    problem: Problem = (Program(coincidence), parameters, None)
    check_unbiased(make_estimator(name, samples), problem, exact_gradient(problem), repeats=300)


@pytest.mark.parametrize(
    ("name", "distribution", "kind", "helper"),
    [
        ("arm", Categorical(logits=LOGITS), "Categorical", "measure_valued"),
        ("arm", OneHotCategorical(logits=LOGITS), "OneHotCategorical", "rebar"),
        ("arm", Poisson(torch.ones(())), "Poisson", "measure_valued"),
        ("disarm", Normal(torch.zeros(()), 1.0), "Normal", "reparameterisation"),
        ("measure_valued", Dirichlet(torch.ones(2)), "Dirichlet", "reparameterisation"),
    ],
)
def test_a_draw_that_cannot_be_served_is_refused_with_estimators_that_can(
    name: str, distribution: torch.distributions.Distribution, kind: str, helper: str
):
    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("z", distribution) * p["a"])

    with pytest.raises(
        ProgramError, match=rf"draw 'z' ~ {kind}: {name} serves .*{helper}"
    ) as error:
        framework.estimate(program, {"a": torch.ones(())}, estimator=name)
    named = str(error.value).partition("can serve it: ")[2].split(", ")
    assert set(named) <= set(registry().names("estimators"))
    assert name not in named
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*NAMES, "rebar", "relax"])
def test_recorded_draws_are_refused(name: str):
    def program(context: Context, p: Parameters, batch: Tensor) -> None:
        context.observe("action", Bernoulli(logits=p["a"]), batch)
        context.cost(batch)

    batch, parameters = torch.ones(3, 4), {"a": torch.ones(())}
    with pytest.raises(ProgramError, match=rf"'{name}' needs to play the episodes itself"):
        framework.estimate(
            Program(program, recorded_trajectories=True), parameters, batch, estimator=name
        )
    with pytest.raises(ProgramError, match=rf"draw 'action' was made earlier, and '{name}'"):
        framework.estimate(program, parameters, torch.ones(()), estimator=name, samples=4)


@pytest.mark.parametrize("name", NAMES)
def test_higher_derivatives_are_refused(name: str):
    program, parameters, _ = PROBLEMS["toy"]
    with pytest.raises(ProgramError, match="first derivatives only"):
        framework.surrogate(program, parameters, estimator=name)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_with_dice_of_its_own_is_refused(name: str):
    def program(context: Context, p: Parameters, batch: None) -> None:
        x = context.sample("x", Bernoulli(logits=p["a"]))
        y = context.sample("y", Bernoulli(logits=p["a"] * torch.randn_like(x)))
        context.cost(x * y)

    with pytest.raises(ProgramError, match="draw 'y': its distribution changed"):
        framework.estimate(program, {"a": torch.ones(())}, estimator=name, samples=5, seed=0)


@pytest.mark.parametrize("name", ["arm", "disarm", "rebar"])
def test_dice_before_the_first_draw_are_refused_too(name: str):
    def program(context: Context, p: Parameters, batch: None) -> None:
        state = torch.randn(context.samples)
        context.cost(context.sample("x", Bernoulli(logits=p["a"] * state), per_sample=True) * state)

    with pytest.raises(ProgramError, match="draw 'x': its distribution changed"):
        framework.estimate(program, {"a": torch.ones(())}, estimator=name, samples=5, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_that_depends_on_no_parameter_is_refused(name: str):
    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("x", Bernoulli(logits=torch.zeros(()))))

    with pytest.raises(ProgramError, match="depends on no parameter"):
        framework.estimate(program, {"a": torch.ones(())}, estimator=name)
