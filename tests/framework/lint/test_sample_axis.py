"""A draw's sample axis meets what is as long by coincidence: said in one line; what does not fit is refused in one."""

import warnings

import pytest
import torch
from torch.distributions import Normal

import framework
from framework.errors import ProgramError
from framework.recording.context import Context

TARGETS = torch.tensor([1.0, 2.0, 3.0])
ESTIMATORS = ["reparameterisation", "rloo", "spsa", "finite_difference"]
PARAMETERS = {"m": torch.tensor(0.5)}


def elementwise(context: Context, p, batch):
    context.cost((context.sample("x", Normal(p["m"], 1.0)) - TARGETS) ** 2)


def with_an_axis(context: Context, p, batch):
    context.cost((context.sample("x", Normal(p["m"], 1.0)).unsqueeze(-1) - TARGETS) ** 2)


def of_as_many_as_there_are(context: Context, p, batch):
    x = context.sample("x", Normal(p["m"], 1.0))
    context.cost((x - torch.linspace(0.0, 1.0, len(x))) ** 2)


def in_pairs(context: Context, p, batch):
    x = context.sample("x", Normal(p["m"], 1.0))
    signs = torch.ones(len(x) // 2)
    context.cost((x - torch.cat([signs, -signs])) ** 2)


def with_a_parameter(context: Context, p, batch):
    context.cost((context.sample("x", Normal(0.0, 1.0)) - p["w"]) ** 2)


def estimated(function, estimator: str, samples: int) -> framework.Estimate:
    # A function is looked at once; a program of its own is another.
    program = framework.Program(function)
    return framework.estimate(program, PARAMETERS, estimator=estimator, samples=samples, seed=0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_constant_as_long_as_there_are_samples_is_named_with_its_line(estimator: str):
    with pytest.warns(
        UserWarning,
        match=r"runs with 3 samples and not with 5 .*: by `sub` at .*test_sample_axis.py:\d+ a draw meets",
    ):
        estimated(elementwise, estimator, 3)


def test_a_parameter_as_long_is_asked_about():
    with pytest.raises(ProgramError, match="by design or coincidence"):
        framework.estimate(
            with_a_parameter, {"w": torch.zeros(4)}, estimator="reparameterisation", samples=4
        )


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_that_does_not_fit_is_refused_in_one_line(estimator: str, samples: int):
    with pytest.raises(
        ProgramError,
        match=rf"^the program does not run with {samples} samples at .*test_sample_axis.py:\d+ \(The size",
    ) as told:
        estimated(elementwise, estimator, samples)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize("program", [with_an_axis, of_as_many_as_there_are])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_every_sample_has_and_what_is_made_for_each_raises_no_alarm(
    estimator: str, program, samples: int
):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimated(program, estimator, samples)


@pytest.mark.parametrize("samples", [2, 4, 6])
def test_nor_do_samples_in_pairs(samples: int):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimated(in_pairs, "reparameterisation", samples)


def test_an_error_that_one_sample_has_too_stays_as_it_is():
    def wrong(context: Context, p, batch):
        context.sample("x", Normal(p["m"], 1.0))
        context.cost(torch.zeros(2) + torch.zeros(3))

    with pytest.raises(RuntimeError, match="must match the size") as told:
        framework.estimate(wrong, PARAMETERS, estimator="rloo", samples=4)
    assert not isinstance(told.value, ProgramError)
