"""`framework.estimate`: what may be given as parameters, and which defaults an estimator has."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.distributions import Categorical, LKJCholesky, Normal, Wishart

from framework.config.composition import config_folders
from framework.config.validation import options_schema
from framework.errors import ProgramError, UserError
from framework.gradients.estimate import estimate, surrogate
from framework.gradients.registered import make_estimator
from framework.parameters import Parameters
from framework.plugin import registry
from framework.recording.context import Context


def square(context: Context, parameters: Parameters, batch: None) -> None:
    """(x - 2)^2 for x ~ Normal(sum of all parameters, 1)."""
    mean = torch.stack([p.sum() for p in parameters.values()]).sum()
    context.cost((context.sample("x", Normal(mean, 1.0)) - 2) ** 2)


def by_name(parameters: object) -> dict[str, torch.Tensor]:
    return estimate(
        square,
        parameters,  # type: ignore[arg-type]
        estimator="reparameterisation",
        seed=1,
    ).gradients


@pytest.mark.parametrize("container", [list, tuple])
def test_a_sequence_of_tensors_is_named_by_position(container):
    tensors = [torch.tensor(0.5), torch.tensor([0.1, 0.2])]
    expected = by_name({"a": tensors[0], "b": tensors[1]})
    gradients = by_name(container(tensors))
    assert list(gradients) == ["0", "1"]
    assert torch.equal(gradients["0"], expected["a"])
    assert torch.equal(gradients["1"], expected["b"])


def test_a_module_gives_its_parameters_by_name_and_is_not_changed():
    model = nn.Linear(2, 1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    gradients = by_name(model)
    assert gradients.keys() == {"weight", "bias"}
    assert torch.equal(gradients["weight"], by_name(before)["weight"])
    for name, value in model.named_parameters():
        assert value.grad is None
        assert torch.equal(value, before[name])


def test_a_surrogate_is_differentiable_in_a_list_of_tensors():
    theta = torch.tensor(0.5, requires_grad=True)
    loss = surrogate(square, [theta], estimator="reparameterisation", seed=1)
    (gradient,) = torch.autograd.grad(loss, theta)
    assert torch.equal(gradient, by_name([theta])["0"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (torch.tensor(1.0), r"^parameters: Tensor; expected a mapping of names to tensors, .*$"),
        (iter([torch.tensor(1.0)]), r"^parameters: list_iterator; expected a mapping .*$"),
        ({"a": 1.0}, r"^parameters: 'a' is float; expected a tensor, .*$"),
        ([torch.tensor(1.0), None], r"^parameters: '1' is NoneType; expected a tensor, .*$"),
    ],
)
def test_what_is_no_parameter_is_refused_in_one_line(parameters, message):
    with pytest.raises(ProgramError, match=message):
        by_name(parameters)


def sampling() -> list[str]:
    """The estimators with the option `samples`."""
    names = registry().names("estimators")
    schemas = {n: options_schema(registry().component("estimators", n).load()) for n in names}
    return [name for name, schema in schemas.items() if "samples" in schema.model_fields]


@pytest.mark.parametrize("name", sampling())
def test_an_estimator_takes_as_many_samples_from_python_as_from_its_configuration(name):
    """`framework.estimate(..., estimator=NAME)` and `diffobj train estimator=NAME`."""
    file = Path(config_folders()[0]) / "estimator" / f"{name}.yaml"
    assert make_estimator(name).samples == OmegaConf.load(file).samples  # type: ignore[attr-defined]


RENAMED = [
    ("a2c", "decay", "gae_lambda"),
    ("ppo", "decay", "gae_lambda"),
    ("ppo", "normalise", "normalise_advantages"),
    ("ppo", "largest_kl", "target_kl"),
    ("upgo", "decay", "gae_lambda"),
    ("vtrace", "clip_error", "rho_bar"),
    ("vtrace", "clip_trace", "c_bar"),
    ("reinforce", "decay", "baseline_decay"),
    ("alpha_order", "decay", "memory_decay"),
    ("exact", "rest", "non_enumerable"),
]


@pytest.mark.parametrize(("name", "old", "new"), RENAMED)
def test_an_option_under_its_old_name_is_refused_with_the_new_one(name, old, new):
    with pytest.raises(UserError) as refused:
        make_estimator(name, options={old: 0.5})
    assert str(refused.value) == (
        f"unknown key 'estimator.{old}'; it is called 'estimator.{new}' now"
    )
    factory = registry().component("estimators", name).load()
    assert new in inspect.signature(factory).parameters


def above(context: Context, parameters: Parameters, batch: None) -> None:
    context.cost(context.sample("x", Normal(parameters["mean"], 1.0)) > 0)


def index(context: Context, parameters: Parameters, batch: None) -> None:
    context.cost(context.sample("k", Categorical(logits=parameters["logits"])))


@pytest.mark.parametrize("estimator", ["rloo", "reinforce", "measure_valued", "automatic"])
def test_true_counts_as_1(estimator):
    found = estimate(
        above, {"mean": torch.tensor(0.0)}, estimator=estimator, samples=10_000, seed=0
    )
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert float(found.gradients["mean"]) == pytest.approx(0.3989, abs=0.03)


@pytest.mark.parametrize("estimator", ["rloo", "reinforce", "measure_valued", "exact", "automatic"])
def test_whole_numbers_are_costs(estimator):
    found = estimate(index, {"logits": torch.zeros(2)}, estimator=estimator, samples=10_000, seed=0)
    assert found.value == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(
        found.gradients["logits"], torch.tensor([-0.25, 0.25]), rtol=0, atol=0.02
    )


@pytest.mark.parametrize("estimator", ["rloo", "exact", "spsa", "reparameterisation", "automatic"])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameters: there are none"),
        ({"mean": torch.tensor(1)}, "'mean' is of int64, which has no gradient"),
        ({"mean": torch.tensor(1j)}, "'mean' is of complex64, which has no gradient"),
    ],
)
def test_parameters_without_a_gradient_are_refused(estimator, parameters, message):
    with pytest.raises(ProgramError, match=message):
        estimate(above, parameters, estimator=estimator)


@pytest.mark.parametrize("estimator", ["rloo", "finite_difference", "reparameterisation"])
def test_an_lkj_draw_of_three_dimensions_is_refused_because_torch_cannot_draw_it(estimator):
    def program(context: Context, parameters: Parameters, batch: None) -> None:
        factor = context.sample("factor", LKJCholesky(3, parameters["eta"]))
        context.cost(factor.square().sum((-1, -2)))

    with pytest.raises(ProgramError, match="draw 'factor' ~ LKJCholesky: what torch draws"):
        estimate(program, {"eta": torch.tensor(1.5)}, estimator=estimator)


def test_an_lkj_draw_of_two_dimensions_is_served():
    def program(context: Context, parameters: Parameters, batch: None) -> None:
        factor = context.sample("factor", LKJCholesky(2, parameters["eta"]))
        context.cost(factor[..., 1, 0] ** 2)

    found = estimate(program, {"eta": torch.tensor(1.5)}, estimator="rloo", samples=100_000, seed=0)
    # E[r^2] = 1 / (2 eta + 1).
    assert found.value == pytest.approx(0.25, abs=0.005)
    assert float(found.gradients["eta"]) == pytest.approx(-0.125, abs=0.01)


@pytest.mark.filterwarnings("ignore:Singular sample")
def test_a_wishart_draw_refuses_a_second_derivative():
    def program(context: Context, parameters: Parameters, batch: None) -> None:
        scale = parameters["scale"]
        law = Wishart(scale.new_tensor(5.0), covariance_matrix=scale * torch.eye(2).to(scale))
        draw = context.sample("w", law)
        context.cost(draw.diagonal(dim1=-2, dim2=-1).sum(-1))

    scale = torch.tensor(1.3, dtype=torch.double, requires_grad=True)
    loss = surrogate(program, {"scale": scale}, estimator="reparameterisation")
    with pytest.raises(ProgramError, match="draw 'w': 'reparameterisation' knows first deriv"):
        torch.autograd.grad(loss, scale, create_graph=True)


@pytest.mark.parametrize("name", ["disarm", "arm", "rebar", "relax", "spsa", "measure_valued"])
def test_a_refusal_names_the_estimator_as_configurations_do(name):
    with pytest.raises(ProgramError, match=f"'{name}' estimates first derivatives only"):
        surrogate(square, {"a": torch.tensor(0.5)}, estimator=name)
