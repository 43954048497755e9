"""What estimators declare: claims and behaviour agree, and everything that lists estimators is made from the claims."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Distribution,
    Exponential,
    Gamma,
    Geometric,
    Independent,
    LogNormal,
    MixtureSameFamily,
    Normal,
    OneHotCategorical,
    Poisson,
    VonMises,
)

import framework
from experiments.estimator_table import README, parts, table
from framework import Context, Program, ProgramError, UserError
from framework.capabilities import Capabilities, able, estimators, needing
from framework.gradients.distributions.refusal import families
from framework.gradients.registered import make_estimator
from framework.gradients.selection.automatic import Automatic
from framework.parameters import Parameters
from framework.plugin import registry
from tests.runs import Diffobj, forget_plugins, install

DECLARED = {component.name: declared for component, declared in estimators()}
# One draw of each family, from a scalar parameter or from one for each recorded step.
DRAWS: dict[str, Callable[[Tensor], Distribution]] = {
    "Bernoulli": lambda a: Bernoulli(logits=a),
    "OneHotCategorical": lambda a: OneHotCategorical(logits=scores(a)),
    "Categorical": lambda a: Categorical(logits=scores(a)),
    "Binomial": lambda a: Binomial(3, logits=a),
    "Poisson": lambda a: Poisson(a.exp()),
    "Geometric": lambda a: Geometric(logits=a),
    "Normal": lambda a: Normal(a, 1.0),
    "LogNormal": lambda a: LogNormal(a, 0.5),
    "Exponential": lambda a: Exponential(a.exp()),
    "Gamma": lambda a: Gamma(a.exp(), a.exp()),
    "Beta": lambda a: Beta(a.exp(), torch.ones_like(a)),
    "Dirichlet": lambda a: Dirichlet(scores(a).exp()),
    "VonMises": lambda a: VonMises(a, torch.ones_like(a)),
    "mixture of Normal": lambda a: mixture(Normal(scores(a), 1.0)),
    "mixture of Poisson": lambda a: mixture(Poisson(scores(a).exp())),
    "Normal vector": lambda a: Independent(Normal(scores(a), 1.0), 1),
}
# A family that stands for one that estimators declare.
EXAMPLE = {"any": "Normal", "path": "Normal", "forward path": "Normal", "finite": "Bernoulli"}
STEPS, EPISODES = 3, 4


def scores(a: Tensor) -> Tensor:
    return torch.stack([a, torch.zeros_like(a)], -1)


def mixture(components: Distribution) -> Distribution:
    return MixtureSameFamily(
        Categorical(logits=torch.zeros(components.batch_shape)), components, validate_args=False
    )


def parameter() -> Tensor:
    return torch.tensor(0.2, requires_grad=True)


def cost_of(value: Tensor) -> Tensor:
    return (value.float() - 0.3).square()


def drawing(make: Callable[[Tensor], Distribution]) -> Program:
    """A program of one draw and one cost."""

    def function(context: Context, p: Parameters, batch: None) -> None:
        context.cost(cost_of(context.sample("x", make(p["a"]))))

    return Program(function)


def recorded(make: Callable[[Tensor], Distribution], *, predicts: bool) -> tuple[Program, Tensor]:
    """A program that holds one recorded draw for each step, and its batch."""
    with torch.no_grad():
        values = make(torch.full((STEPS, EPISODES), 0.2)).sample()

    def function(context: Context, p: Parameters, batch: Tensor) -> None:
        distribution = make(p["a"].expand(STEPS, EPISODES))
        behaviour = distribution.log_prob(batch).detach()
        context.observe("x", distribution, batch, behaviour=behaviour)
        context.cost(cost_of(batch).reshape(STEPS, EPISODES, -1).sum(-1))
        if predicts:
            prediction = p["v"].expand(STEPS, EPISODES)
            ended = torch.zeros(STEPS, EPISODES, dtype=torch.bool)
            context.value(prediction, prediction, terminated=ended, truncated=~ended)

    return Program(function, recorded_trajectories=True), values


def estimated(name: str, program: Program, batch: Any = None) -> framework.Estimate:
    parameters = {"a": torch.tensor(0.2)}
    if DECLARED[name].value_predictions:
        parameters["v"] = torch.tensor(0.0)
    options = {"repeats": 4} if name == "automatic" else {}
    return framework.estimate(program, parameters, batch, estimator=name, seed=0, **options)  # type: ignore[arg-type]


def assert_refused(run: Callable[[], object]) -> str:
    with pytest.raises(ProgramError) as error:
        run()
    assert "\n" not in str(error.value)
    return str(error.value)


# --- claims and behaviour -------------------------------------------------------------------------------------------


def test_every_registered_estimator_declares_what_it_serves():
    assert list(DECLARED) == [c.name for c in registry().group("estimators")]


@pytest.mark.one_in(4)
@pytest.mark.filterwarnings("ignore:.*draw 'x' .* is discrete.* within a small step")
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("name", DECLARED)
def test_an_estimator_serves_the_draws_that_it_claims_and_refuses_all_others(name: str, draw: str):
    declared, make = DECLARED[name], DRAWS[draw]
    found = families(make(parameter()))
    program, batch = drawing(make), None
    if declared.action_values:
        # Without replayed steps no draw is served; with them, see gradients/off_policy.
        assert "replayed steps" in assert_refused(lambda: estimated(name, program, batch))
        return
    if declared.value_predictions:
        program, batch = recorded(make, predicts=True)
    if declared.serves_draw(found):
        estimate = estimated(name, program, batch)
        assert estimate.gradients["a"].isfinite()
        if not declared.biased and not declared.bias:
            assert not estimate.biased
        return
    refusal = assert_refused(lambda: estimated(name, program, batch))
    proposed = refusal.partition(": ")[2].rpartition("serve it: ")[2].split(", ")
    for other in (p for p in proposed if p in DECLARED):
        assert other != name
        assert DECLARED[other].serves_draw(found), refusal


def bounding(make: Callable[[Tensor], Distribution]) -> Program:
    def function(context: Context, p: Parameters, batch: None) -> None:
        value = context.sample("x", make(p["a"]))
        context.bound(-cost_of(value))

    return Program(function)


def boxed(make: Callable[[Tensor], Distribution]) -> Program:
    def function(context: Context, p: Parameters, batch: None) -> None:
        context.cost(context.black_box(cost_of, context.sample("x", make(p["a"]))))

    return Program(function)


def boxed_parameter(make: Callable[[Tensor], Distribution]) -> Program:
    def function(context: Context, p: Parameters, batch: None) -> None:
        context.sample("x", make(p["a"]))
        context.cost(context.black_box(cost_of, p["a"]))

    return Program(function)


def looping(make: Callable[[Tensor], Distribution]) -> Program:
    return Program(drawing(make).function, one_sample_at_a_time=True)


NEEDS: dict[str, Callable[[Callable[[Tensor], Distribution]], Program]] = {
    "one_sample_at_a_time": looping,
    "multi_sample_bounds": bounding,
    "black_box": boxed,
    "values_only": boxed_parameter,
}


def example(name: str) -> Callable[[Tensor], Distribution]:
    """A draw that an estimator claims to serve."""
    family = DECLARED[name].draws[0]
    return DRAWS[EXAMPLE.get(family, family)]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("name", [n for n in DECLARED if n != "automatic"])
def test_an_estimator_serves_the_programs_that_it_claims_and_refuses_all_others(
    name: str, need: str
):
    make = example(name)
    program = NEEDS[need](make)
    needs = {need: True}
    if DECLARED[name].multi_sample_bounds == "speciality":
        needs["multi_sample_bounds"] = True
    if DECLARED[name].serves([families(make(parameter()))], **needs):
        assert estimated(name, program).gradients["a"].isfinite()
    else:
        assert_refused(lambda: estimated(name, program))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [n for n in DECLARED if n != "automatic"])
def test_an_estimator_serves_recorded_actions_only_where_it_claims_to(name: str):
    declared = DECLARED[name]
    program, batch = recorded(example(name), predicts=declared.value_predictions)
    assert make_estimator(name).supports_recorded_actions == declared.recorded_actions
    if declared.recorded_actions:
        assert estimated(name, program, batch).gradients["a"].isfinite()
    else:
        assert_refused(lambda: estimated(name, program, batch))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [n for n in DECLARED if not DECLARED[n].value_predictions])
def test_an_estimator_gives_second_derivatives_only_where_it_claims_to(name: str):
    parameters = {"a": parameter()}

    def second() -> Tensor:
        loss = framework.surrogate(drawing(example(name)), parameters, estimator=name, seed=0)
        (first,) = torch.autograd.grad(loss, [parameters["a"]], create_graph=True)
        return torch.autograd.grad(first, [parameters["a"]])[0]

    if DECLARED[name].higher_derivatives:
        assert second().isfinite()
    else:
        assert "first derivatives only" in assert_refused(second)


# --- proposals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "refusing", "expected"),
    [
        ("Bernoulli", "reparameterisation", "arm, disarm, exact, rebar, reinforce, rloo"),
        ("Categorical", "arm", "exact, rebar, relax, measure_valued, reinforce, rloo"),
        ("Dirichlet", "arm", "reparameterisation, reinforce, rloo, finite_difference, spsa, "
         "evolution_strategies"),
        ("Gamma", "exact", "reparameterisation, measure_valued, reinforce, rloo, "
         "finite_difference, spsa"),
    ],
)  # fmt: skip
def test_proposals_are_the_most_specific_first_and_at_most_six(draw, refusing, expected):
    found = families(DRAWS[draw](parameter()))
    assert ", ".join(able([found], without=refusing)) == expected


def test_a_program_of_several_draws_is_served_by_what_serves_them_all():
    kinds = [families(DRAWS[draw](parameter())) for draw in ("Bernoulli", "Poisson")]
    assert able(kinds)[:3] == ["measure_valued", "reinforce", "rloo"]


def test_proposals_hold_what_the_program_needs():
    assert able(recorded_actions=True) == ["reinforce", "rloo"]
    assert able(value_predictions=True) == ["a2c", "ppo", "vtrace", "vtrace_upgo", "upgo"]
    assert able(values_only=True) == ["finite_difference", "spsa", "evolution_strategies"]
    assert able(multi_sample_bounds=True)[0] == "vimco"
    assert able([], recorded_actions=True, values_only=True) == []


@pytest.mark.parametrize(
    ("declaration", "reason"),
    [
        ({"draws": "Normal"}, "draws = 'Normal'; expected names"),
        ({"draws": ()}, r"draws = \(\); expected names"),
        ({"draws": ("any",), "costs": "none"}, "costs = 'none'; expected differentiable, any, val"),
    ],
)
def test_a_declaration_with_a_word_that_means_nothing_is_refused(declaration, reason):
    with pytest.raises(UserError, match=reason):
        Capabilities(evaluations="n", **declaration)


# --- an estimator of somebody else's --------------------------------------------------------------------------------

SOURCE = '''
from framework import Estimator
from framework.capabilities import Capabilities

@Capabilities(draws=("Poisson",), evaluations="3n", automatic=True)
class Hopeful(Estimator):
    """Hopes for the best."""

    def backward(self, program, parameters, batch=None, *, scale=1.0):
        raise NotImplementedError("hope is no plan")
'''
MISTAKES = '''
from framework import Estimator
from framework.capabilities import Capabilities

COSTS = "any"

class Silent(Estimator):
    """Declares nothing."""


@Capabilities(draws=("Poisson",), evaluations="n", costs="cheap")
class Wrong(Estimator):
    """Declares what means nothing."""


@Capabilities(draws=("Poisson",), evaluations="n", costs=COSTS)
class Computed(Estimator):
    """Declares what only running it tells."""
'''


@pytest.fixture
def hopeful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with estimators of its own."""
    home = tmp_path / "hopeful"
    home.mkdir()
    targets = {n: f"hopeful.mistakes:{n.title()}" for n in ("silent", "wrong", "computed")}
    targets["hopeful"] = "hopeful.estimator:Hopeful"
    (home / "__init__.py").write_text(
        "from framework.plugin import Plugin\n"
        f"plugin = Plugin(name='hopeful', summary='S.', estimators={targets!r})\n"
    )
    (home / "estimator.py").write_text(SOURCE)
    (home / "mistakes.py").write_text(MISTAKES)
    install(tmp_path, "hopeful", "hopeful")
    monkeypatch.syspath_prepend(tmp_path)
    forget_plugins()
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] == "hopeful"]:
        del sys.modules[name]
    monkeypatch.undo()
    forget_plugins()


@pytest.mark.usefixtures("hopeful")
def test_an_installed_estimator_is_proposed_listed_and_tabulated_without_being_imported(
    diffobj: Diffobj,
):
    refusal = assert_refused(lambda: estimated("reparameterisation", drawing(DRAWS["Poisson"])))
    assert "can serve it: hopeful, measure_valued, reinforce, rloo" in refusal
    lines = [" ".join(line.split()) for line in diffobj("plugins").out.splitlines()]
    assert "hopeful Hopes for the best." in lines
    assert "hopeful Poisson draws, any cost; biased: no; 3n" in lines
    assert "| `hopeful` | Hopes for the best | Poisson draws, any cost | no | 3n |\n" in table()
    assert "hopeful.estimator" not in sys.modules


@pytest.mark.usefixtures("hopeful")
def test_an_installed_estimator_is_a_candidate_of_automatic():
    assert list(Automatic().candidates)[-1] == "hopeful"


@pytest.mark.usefixtures("hopeful")
def test_declarations_that_cannot_be_read_are_reported_by_the_listing_alone(diffobj: Diffobj):
    lines = [" ".join(line.split()) for line in diffobj("plugins").out.splitlines()]
    assert "silent (declares no capabilities)" in lines
    expected = "costs = 'cheap'; expected differentiable, any, values"
    assert f"wrong BROKEN: estimator 'wrong': capabilities: {expected}" in lines
    expected = "@Capabilities(...) takes literals only"
    assert f"computed BROKEN: estimator 'computed': {expected}" in lines
    assert not {"silent", "wrong", "computed"} & set(able([{"Poisson"}]))


def test_readmes_table_is_the_generated_one():
    assert parts(README.read_text(encoding="utf-8"))[1] == table()


def test_where_a_program_needs_more_only_those_that_serve_it_are_named():
    draws = [{"Bernoulli", "finite"}]
    assert "exact" in able(draws)
    with needing(own_randomness=True):
        assert "exact" not in able(draws)
        assert "rloo" in able(draws)
    assert "exact" in able(draws)
