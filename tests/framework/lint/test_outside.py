"""The check of a first run where a program leaves torch: other generators, numbers, calls that hide what they do."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional

import framework

DERIVATIVES = ["rloo", "reparameterisation"]


def estimate(function, estimator, samples=16, **options):
    """The estimate at t = 0.3, and what the warnings say."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = framework.estimate(
            framework.Program(function, **options),
            {"t": torch.tensor(0.3)},
            estimator=estimator,
            samples=samples,
            seed=0,
        )
    return result, [str(w.message) for w in found if "requires_grad=True" not in str(w.message)]


def normal(context, parameters):
    return context.sample("x", Normal(parameters["t"], 1.0))


# Noise by generators that the program holds.


def threshold(noise):
    """A program whose cost jumps in its parameter, at a place drawn by `noise(samples)`."""

    def function(context, parameters, batch):
        below = noise(context.samples) < parameters["t"].sigmoid()
        context.cost(below.float() + parameters["t"])

    return function


@pytest.mark.parametrize("estimator", DERIVATIVES)
def test_a_jump_at_noise_from_the_users_own_generator_makes_the_estimate_biased(estimator):
    generator = torch.Generator().manual_seed(3)
    found, messages = estimate(
        threshold(lambda n: torch.rand(n, generator=generator)), estimator, 64
    )
    assert found.biased
    assert messages[0].startswith("a cost jumps by `lt` at ")


def numpy_array():
    generator = np.random.default_rng(3)
    return lambda n: torch.as_tensor(generator.random(n))


@pytest.mark.parametrize("estimator", DERIVATIVES)
@pytest.mark.parametrize(
    "noise",
    [
        numpy_array(),
        lambda n: torch.as_tensor(np.random.rand(n)),
        lambda n: torch.tensor([random.random() for _ in range(n)]),
    ],
)
def test_a_comparison_with_noise_that_is_not_torchs_is_not_passed_over_in_silence(noise, estimator):
    _, messages = estimate(threshold(noise), estimator)
    (line,) = messages
    assert "`lt` at" in line
    assert "random numbers that are not torch's" in line


def test_a_comparison_of_a_parameter_with_no_noise_raises_no_alarm():
    def function(context, parameters, batch):
        np.random.rand()
        if not bool(parameters["t"] < 5):
            raise ValueError
        context.cost(normal(context, parameters) ** 2)

    found, messages = estimate(function, "reparameterisation")
    assert messages == []
    assert not found.biased


@pytest.mark.parametrize(
    "generator",
    [torch.Generator().manual_seed(3), np.random.default_rng(3), np.random, random],
    ids=["torch", "numpy", "global numpy", "global python"],
)
def test_the_check_takes_nothing_from_a_programs_generators_and_running_statistics(generator):
    """Two estimates of a watched program with a jump, in the bits of an unwatched one."""

    def function(context, parameters, batch):
        x = normal(context, parameters)
        if isinstance(generator, torch.Generator):
            noise = float(torch.rand((), generator=generator))
        else:
            noise = float(generator.random())
        context.cost(torch.where(x > noise, x + 1, x) * layer(x[:, None])[:, 0])

    states = []
    for checked in (True, False):
        layer = nn.BatchNorm1d(1)
        assert layer.running_mean is not None
        if isinstance(generator, torch.Generator):
            generator.manual_seed(4)
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = np.random.PCG64(4).state
        else:
            generator.seed(4)
        runs = [estimate(function, "reparameterisation", checked=checked)[0] for _ in range(2)]
        states.append([*(run.gradients["t"] for run in runs), layer.running_mean.clone()])
        assert layer.num_batches_tracked == 2
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


# Numbers taken out of torch.


@pytest.mark.parametrize("estimator", DERIVATIVES)
@pytest.mark.parametrize("number", [torch.Tensor.item, float, lambda t: t.tolist()])
def test_a_parameter_that_reaches_a_cost_as_a_number_makes_the_estimate_biased(number, estimator):
    """The gradient of E[x t] = t^2 is 0.6; as a number, t counts for half of it."""

    def function(context, parameters, batch):
        context.cost(normal(context, parameters) * number(parameters["t"]))

    found, messages = estimate(function, estimator, 4000)
    assert found.biased
    (line,) = messages
    assert "a cost depends on a parameter by no gradient" in line
    assert "test_outside.py:" in line
    assert float(found.gradients["t"]) == pytest.approx(0.3, abs=0.05)


def test_a_number_for_the_users_eyes_raises_no_alarm():
    seen = []

    def function(context, parameters, batch):
        cost = normal(context, parameters) * parameters["t"]
        seen.append(cost.mean().item())
        context.cost(cost)

    found, messages = estimate(function, "reparameterisation", 40_000)
    assert messages == []
    assert not found.biased
    assert float(found.gradients["t"]) == pytest.approx(0.6, abs=0.02)


def test_a_loop_as_long_as_the_samples_mean_says_jumps():
    def function(context, parameters, batch):
        x = normal(context, parameters)
        total = torch.zeros(context.samples)
        for _ in range(int(20 * x.detach().mean().abs().item())):
            total = total + x
        context.cost(total)

    found, messages = estimate(function, "reparameterisation")
    assert found.biased
    assert "a cost jumps in draw 'x'" in messages[0]


# Calls that hide what they do.

PICTURE = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))


def looked_up(x, mode):
    place = x.tanh().reshape(-1, 1, 1, 1).expand(-1, 1, 1, 2)
    picture = PICTURE.expand(len(x), 1, 5, 5)
    return functional.grid_sample(picture, place, mode=mode, align_corners=True)[:, 0, 0, 0]


@pytest.mark.parametrize(
    "jump",
    [
        torch.vmap(lambda x: torch.where(x > 0, 1.0, 0.0)),
        torch.angle,
        lambda x: torch.atan2(x, -torch.ones_like(x)),
        lambda x: looked_up(x, "nearest"),
        lambda x: torch.fake_quantize_per_tensor_affine(x, 0.5, 0, -8, 7),
        nn.Hardshrink(),
        lambda x: functional.threshold(x, 0.0, 1.0),
    ],
)
def test_a_jump_inside_a_call_makes_the_estimate_biased(jump):
    def function(context, parameters, batch):
        x = normal(context, parameters)
        context.cost(jump(x) + x)

    found, messages = estimate(function, "reparameterisation")
    assert found.biased
    assert "a cost jumps in draw 'x' by" in messages[0]


@pytest.mark.parametrize(
    "smooth",
    [
        torch.vmap(lambda x: torch.where(x > 0, x, 2 * x)),
        lambda x: torch.atan2(x, torch.ones_like(x)),
        lambda x: looked_up(x, "bilinear"),
        nn.Softshrink(),
    ],
)
def test_a_continuous_function_inside_a_call_raises_no_alarm(smooth):
    def function(context, parameters, batch):
        context.cost(smooth(normal(context, parameters)))

    found, messages = estimate(function, "reparameterisation")
    assert messages == []
    assert not found.biased


@pytest.mark.parametrize("estimator", DERIVATIVES)
@pytest.mark.parametrize("hard", [True, False])
def test_a_straight_through_choice_of_the_programs_own_is_biased(hard, estimator):
    def function(context, parameters, batch):
        logits = torch.stack([parameters["t"], -parameters["t"]]).expand(context.samples, 2)
        context.cost(functional.gumbel_softmax(logits, hard=hard)[:, 0])

    found, messages = estimate(function, estimator)
    assert found.biased == hard
    assert [("`gumbel_softmax` at" in line and "hard=True" in line) for line in messages] == (
        [True] if hard else []
    )
