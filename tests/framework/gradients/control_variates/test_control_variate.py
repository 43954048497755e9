"""REBAR and RELAX: unbiased wherever eta, temperature and network stand, less variance once tuned, exact to resume."""

from __future__ import annotations

import copy
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Normal,
    OneHotCategorical,
    Poisson,
)

import framework
from framework import Context, Program, ProgramError, UserError
from framework.gradients.control_variates.control_variate import ControlVariate
from framework.gradients.control_variates.rebar import rebar, relax
from framework.gradients.registered import make_estimator
from framework.parameters import Parameters
from framework.plugin import registry
from framework.training.checkpoints import checkpoint
from tests.framework.gradients.layered import (
    LOGITS,
    PROBLEMS,
    Problem,
    check_unbiased,
    exact_gradient,
    exact_value,
    gradient,
    variance,
)

SETTINGS: dict[str, tuple[Any, dict[str, float]]] = {
    "rebar": (rebar, {"learning_rate": 0.0}),
    "rebar, sharp and too much": (
        rebar,
        {"temperature": 0.2, "eta": 2.0, "learning_rate": 0.0},
    ),
    "rebar while tuned": (rebar, {"learning_rate": 0.1}),
    "relax while tuned": (relax, {"learning_rate": 0.1}),
    "relax with relaxed cost": (
        relax,
        {"relaxed_cost": True, "temperature": 1.5, "learning_rate": 0.05},
    ),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_estimates_agree_with_enumeration(setting: str, problem: str):
    factory, options = SETTINGS[setting]
    truth = exact_gradient(PROBLEMS[problem])
    check_unbiased(factory(samples=750, **options), PROBLEMS[problem], truth)


def indices(context: Context, p: Parameters, batch: None) -> None:
    k = context.sample("k", Categorical(logits=p["logits"]))
    b = context.sample("b", Bernoulli(logits=p["table"][k]))
    table = torch.tensor([1.0, -2.0, 5.0])
    context.cost(context.black_box(lambda k, b: table[k] * (1 + b), k, b))


def test_relax_serves_indices_and_a_black_box_in_two_layers():
    parameters = {"logits": LOGITS, "table": torch.tensor([0.5, -0.5, 1.0])}
    problem: Problem = (Program(indices), parameters, None)
    estimator = relax(samples=3000, learning_rate=0.1)
    check_unbiased(estimator, problem, exact_gradient(problem))


def normal(context: Context, p: Parameters, batch: None) -> None:
    x = context.sample("x", Normal(p["mean"], p["scale"]))
    y = context.sample("y", Normal(x * p["mean"], p["scale"].exp()))
    context.cost((((x - 1) ** 2 + y**2) * p["mean"]).sum(-1))


@pytest.mark.parametrize("relaxed_cost", [False, True])
def test_relax_is_lax_for_normal_draws(relaxed_cost: bool):
    m, s = (torch.tensor(v, requires_grad=True) for v in ([0.5, -0.3], [1.5, 0.7]))
    second = m**2 + s**2
    objective = (((m - 1) ** 2 + s**2 + m**2 * second + (2 * s).exp()) * m).sum()
    truth = torch.cat(torch.autograd.grad(objective, [m, s]))
    problem: Problem = (Program(normal), {"mean": m.detach(), "scale": s.detach()}, None)
    estimator = relax(samples=6000, relaxed_cost=relaxed_cost, learning_rate=0.1)
    check_unbiased(estimator, problem, truth)


def mean_square(estimator: ControlVariate, problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """The mean square of the per-sample gradient, and its derivative as the estimator computes it."""
    program, parameters, batch = problem
    kept: dict[str, Any] = {}
    variance_gradients = estimator.variance_gradients

    def spy(runs: Any, groups: Any, gradients: Any) -> Any:
        squares = [part.detach().square().sum() for parts in gradients for part in parts]
        kept["square"] = sum(squares) / runs.size
        updates = variance_gradients(runs, groups, gradients)
        kept["derivatives"] = [derivative for _, own in updates for derivative in own]
        # Nothing is tuned.
        return []

    torch.manual_seed(5)
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    with patch.object(estimator, "variance_gradients", spy):
        estimator.backward(program, leaves, batch)
    return kept["square"], kept["derivatives"]


def smooth(context: Context, p: Parameters, batch: None) -> None:
    """Three layers of both kinds with a cost that needs its second derivative, in double precision."""
    x = context.sample("x", OneHotCategorical(logits=p["logits"]))
    y = context.sample("y", Bernoulli(logits=p["slope"] * x[:, 0]))
    z = context.sample("z", Bernoulli(logits=p["slope"] * (y - x[:, 1])))
    context.cost(y * x[:, 2].exp())
    context.cost((1 + z + x[:, 1]) ** 3 * (1.5 + y).log())


@pytest.mark.parametrize("factory", [rebar, relax])
def test_tuning_follows_the_derivative_of_the_mean_square(factory: Any):
    """Against central differences along every tuned scalar: the double backward loses nothing on its way."""
    parameters = {"logits": LOGITS.double(), "slope": torch.tensor(0.7, dtype=torch.float64)}
    problem: Problem = (Program(smooth), parameters, None)
    options = {"relaxed_cost": True, "hidden": 3} if factory is relax else {"eta": 0.8}
    estimator = factory(samples=6, learning_rate=0.05, temperature=0.7, **options)
    for scalar in estimator.scalars.tensors.values():
        scalar.data = scalar.data.double()
    # Builds the network and moves it from its flat beginning.
    gradient(estimator, problem)
    gradient(estimator, problem)
    tensors = [*estimator.scalars.tensors.values()]
    if estimator.network is not None:
        assert estimator.network.tuned is not None
        tensors += estimator.network.tuned.tensors.values()
    _, moves = mean_square(estimator, problem)
    for tensor, move in zip(tensors, moves, strict=True):
        for i in range(tensor.numel()):
            sides = []
            for step in (1e-5, -1e-5):
                tensor.data.view(-1)[i] += step
                sides.append(mean_square(estimator, problem)[0])
                tensor.data.view(-1)[i] -= step
            slope = (sides[0] - sides[1]) / 2e-5
            torch.testing.assert_close(move.reshape(-1)[i], slope, rtol=1e-5, atol=1e-7)


def quadratic(target: float) -> Problem:
    def program(context: Context, p: Parameters, batch: None) -> None:
        b = context.sample("b", Bernoulli(logits=p["logit"]))
        context.cost((b - target) ** 2)

    return Program(program), {"logit": torch.tensor(0.0)}, None


def tuned(estimator: ControlVariate, problem: Problem) -> ControlVariate:
    """The same after 100 steps, then left as it is."""
    torch.manual_seed(1)
    for _ in range(100):
        gradient(estimator, problem)
    estimator.rate = 0.0
    return estimator


@pytest.mark.slow
def test_untuned_rebar_can_be_worse_than_plain_reinforce_and_tuning_repairs_it():
    problem = quadratic(0.45)
    plain = variance(make_estimator("reinforce", 96, {"baseline": "none"}), problem, 400)
    untuned = variance(rebar(samples=96, learning_rate=0.0), problem, 400)
    after = variance(tuned(rebar(samples=96, learning_rate=0.1), problem), problem, 400)
    assert untuned > 1.2 * plain
    assert after < untuned / 1.2


@pytest.mark.parametrize("factory", [rebar, relax])
def test_tuned_control_variates_have_a_fifth_of_the_variance_of_plain_reinforce(factory: Any):
    problem = quadratic(0.1)
    plain = variance(make_estimator("reinforce", 96, {"baseline": "none"}), problem, 150)
    after = variance(tuned(factory(samples=96, learning_rate=0.1), problem), problem, 150)
    assert after < plain / 5


@pytest.mark.one_in(2)
@pytest.mark.parametrize("factory", [rebar, relax])
def test_tuning_lowers_the_variance_of_a_layered_program(factory: Any):
    problem = PROBLEMS["categories"]
    before = variance(factory(samples=96, learning_rate=0.0), problem, 100)
    after = variance(tuned(factory(samples=96, learning_rate=0.1), problem), problem, 100)
    assert after < before / 2


@pytest.mark.parametrize("problem", ["network", "layered"])
@pytest.mark.parametrize("options", [{"name": "rebar"}, {"name": "relax", "relaxed_cost": True}])
def test_a_resumed_estimator_continues_to_the_bit(
    options: dict[str, Any], problem: str, tmp_path: Any
):
    options = dict(options)
    name = options.pop("name")

    def steps(estimator: Any, start: int, stop: int) -> list[Tensor]:
        found = []
        for step in range(start, stop):
            torch.manual_seed(step)
            found.append(gradient(estimator, PROBLEMS[problem]))
        return found

    first = make_estimator(name, 4, options)
    steps(first, 0, 4)
    saved = checkpoint.save(tmp_path, "estimator", {"estimator": first.state_dict()})
    expected = steps(first, 4, 8)
    resumed = make_estimator(name, 4, options)
    resumed.load_state_dict(checkpoint.load(saved)["estimator"])
    for found, reference in zip(steps(resumed, 4, 8), expected, strict=True):
        assert torch.equal(found, reference)


def test_loading_a_state_leaves_it_as_it_is():
    first = relax(samples=4)
    gradient(first, PROBLEMS["several"])
    state = copy.deepcopy(first.state_dict())
    before = copy.deepcopy(state)
    second = relax(samples=4)
    second.load_state_dict(state)
    assert second.state_dict()["network"]["tensors"].keys() == {"weight", "bias", "out", "level"}
    gradient(second, PROBLEMS["several"])
    for name, tensor in before["network"]["tensors"].items():
        assert torch.equal(state["network"]["tensors"][name], tensor)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("adam", r"'exp_avg' of 'log_temperature' is torch.float32 \[1\]"),
        ("tensors", r"scalars are .*, expected \{'log_temperature': \[\]\}"),
    ],
)
def test_a_saved_state_that_does_not_fit_is_one_line(part, message):
    first = relax(samples=4)
    gradient(first, PROBLEMS["several"])
    state = copy.deepcopy(first.state_dict())
    if part == "adam":
        state["scalars"]["adam"]["state"]["log_temperature"]["exp_avg"] = torch.zeros(1)
    else:
        state["scalars"]["tensors"]["eta"] = torch.zeros(3)
    with pytest.raises(UserError, match=message):
        relax(samples=4).load_state_dict(state)


def test_making_the_network_draws_nothing_from_the_run():
    """The first call of an estimator must draw what a resumed one's would."""
    torch.manual_seed(0)
    first = gradient(relax(samples=4, learning_rate=0.0), PROBLEMS["several"])
    estimator = relax(samples=4, learning_rate=0.0)
    gradient(estimator, PROBLEMS["several"])
    torch.manual_seed(0)
    assert torch.equal(gradient(estimator, PROBLEMS["several"]), first)


@pytest.mark.parametrize(
    ("name", "options", "problem", "runs"),
    [
        ("rebar", {}, "several", 2),  # one relaxed run serves z and z~
        ("rebar", {}, "layered", 4),
        ("relax", {}, "layered", 1),
        ("relax", {"relaxed_cost": True}, "layered", 4),
    ],
)
def test_evaluations_and_the_hard_objective_are_reported(
    name: str, options: dict[str, Any], problem: str, runs: int
):
    program, parameters, batch = PROBLEMS[problem]
    found = framework.estimate(
        program, parameters, batch, estimator=name, samples=20000, seed=0, **options
    )
    assert found.evaluations == runs * 20000
    assert found.value == pytest.approx(exact_value(PROBLEMS[problem]), rel=0.03)
    assert not found.biased
    assert found.extras["temperature"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "options", "distribution", "served"),
    [
        ("rebar", {}, Normal(torch.zeros(()), 1.0), "relax"),
        ("rebar", {}, Poisson(torch.ones(())), "measure_valued"),
        ("relax", {"relaxed_cost": True}, Poisson(torch.ones(())), "measure_valued"),
        ("relax", {}, Poisson(torch.ones(())), "measure_valued"),
    ],
)
def test_a_draw_that_cannot_be_served_is_refused(
    name: str, options: dict[str, Any], distribution: Distribution, served: str
):
    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.sample("z", distribution) * p["a"])

    with pytest.raises(ProgramError, match=rf"draw 'z' ~ .*{name} serves .*{served}") as error:
        framework.estimate(program, {"a": torch.ones(())}, estimator=name, **options)
    named = str(error.value).partition("can serve it: ")[2].split(", ")
    assert set(named) <= set(registry().names("estimators"))


def test_rebar_refuses_a_cost_without_a_derivative_in_a_draw():
    """It would take f(b) itself for the prediction and return no gradient at all."""

    def program(context: Context, p: Parameters, batch: None) -> None:
        a = context.sample("a", Bernoulli(logits=p["a"]))
        b = context.sample("b", Bernoulli(logits=p["a"]))
        context.cost(b * (a > 0.5))

    with pytest.raises(ProgramError, match="draw 'a': no cost has a derivative"):
        framework.estimate(program, {"a": torch.ones(())}, estimator="rebar")


def test_rebar_refuses_a_black_box_and_relax_serves_it():
    def program(context: Context, p: Parameters, batch: None) -> None:
        b = context.sample("b", Bernoulli(logits=p["a"]))
        context.cost(context.black_box(lambda b: b * 2, b))

    parameters = {"a": torch.ones(())}
    with pytest.raises(ProgramError, match="lost in a black box"):
        framework.estimate(program, parameters, estimator="rebar")
    problem: Problem = (Program(program), parameters, None)
    check_unbiased(relax(samples=1500), problem, exact_gradient(problem))


@pytest.mark.parametrize("name", ["rebar", "relax"])
def test_loop_mode_is_refused(name: str):
    program, parameters, _ = PROBLEMS["toy"]
    with pytest.raises(ProgramError, match=r"one sample at a time.*arm"):
        framework.estimate(
            Program(program.function, one_sample_at_a_time=True), parameters, estimator=name
        )


def test_relax_refuses_another_number_of_draws():
    estimator = relax(samples=4)
    gradient(estimator, PROBLEMS["several"])
    with pytest.raises(ProgramError, match="every run must make the same draws"):
        gradient(estimator, PROBLEMS["toy"])


@pytest.mark.parametrize("name", ["rebar", "relax"])
def test_a_program_without_draws_is_differentiated_plainly(name: str):
    def program(context: Context, p: Parameters, batch: None) -> None:
        context.cost(p["a"] ** 2)

    found = framework.estimate(program, {"a": torch.tensor(3.0)}, estimator=name)
    assert found.gradients["a"] == 6.0


def test_later_draws_stay_hard_where_they_do_not_depend_on_the_layer():
    """In the partner of 'x', 'w' depends on nothing and is what it was; 'y' is relaxed along."""
    seen: dict[str, Tensor] = {}

    def program(context: Context, p: Parameters, batch: None) -> None:
        x = context.sample("x", Bernoulli(logits=p["a"]))
        y = context.sample("y", Bernoulli(logits=p["a"] * x))
        w = context.sample("w", Bernoulli(logits=p["a"]))
        if len(x) == 10 and not context.dry_run:
            seen.update(x=x.detach()[5:], y=y.detach()[5:], w=w.detach())
        context.cost(x + y + w)

    framework.estimate(program, {"a": torch.tensor(0.3)}, estimator="rebar", samples=5, seed=0)
    assert torch.equal(seen["w"][:5], seen["w"][5:])
    assert ((seen["x"] > 0) & (seen["x"] < 1)).all()
    assert ((seen["y"] > 0) & (seen["y"] < 1)).all()
