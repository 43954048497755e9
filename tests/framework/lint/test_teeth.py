"""Functions with the teeth of a saw: a cost that is continuous over them is no jump, however fast it changes there."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from framework import Program
from framework.gradients.registered import make_estimator
from framework.lint.teeth import has_teeth, number_and_period, teeth


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("remainder", lambda x: torch.remainder(x, 0.75)),
        ("__mod__", lambda x: x % 0.75),
        ("fmod", lambda x: torch.fmod(x, 0.75)),
        ("frac", lambda x: torch.frac(x / 0.75) * 0.75),
    ],
)
def test_a_result_is_its_number_less_whole_periods(name, call):
    x = torch.linspace(-4, 4, 101)
    result = call(x)
    given = (x / 0.75,) if name == "frac" else (x, 0.75)
    number, period = number_and_period(name, given, {})
    k = teeth(number, period, result / 0.75 if name == "frac" else result)
    expected = (x / 0.75).floor() if name in ("remainder", "__mod__") else (x / 0.75).trunc()
    assert has_teeth(name)
    assert torch.equal(k, expected)


def test_the_period_may_stand_before_and_the_number_may_be_changed_in_place():
    period = torch.tensor([2.0, 0.7])
    number, found = number_and_period("__rmod__", (period, 5.0), {})
    assert teeth(number, found, 5.0 % period).tolist() == [2, 7]
    x = torch.tensor([5.5, -0.5])
    number, found = number_and_period("__imod__", (x, 2.0), {})
    x %= 2.0
    assert teeth(number, found, x).tolist() == [2, -1]
    assert not has_teeth("hardshrink")


def wrapped(angle):
    return (angle + math.pi) % (2 * math.pi) - math.pi


def swung(cost_of, steps):
    """A chaotic map: two angles that are near each other are twice as far apart after about every step."""

    def function(context, parameters, batch):
        angle, cost = torch.full((context.samples,), 1.0), 0.0
        for t in range(steps):
            angle = 3.5 * angle.sin() + context.sample(f"x{t}", Normal(parameters["t"], 0.1))
            cost = cost + cost_of(angle)
        context.cost(cost, per_sample=True)

    return Program(function)


def checked(program, seed):
    torch.manual_seed(seed)
    parameters = {"t": torch.tensor(0.1, requires_grad=True)}
    estimator = make_estimator("reparameterisation", 32)
    estimate = estimator.backward(program, parameters)
    return estimate.biased, program.findings.read()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("steps", [2, 12, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_square_of_a_wrapped_angle_is_no_jump_even_where_its_errors_grow_without_bound(
    steps, seed
):
    program = swung(lambda angle: wrapped(angle) ** 2, steps)
    assert checked(program, seed) == (False, [])


@pytest.mark.parametrize("cost_of", [wrapped, lambda angle: wrapped(angle) ** 3 + angle])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wrapped_angle_itself_jumps(cost_of, seed):
    biased, (line,) = checked(swung(cost_of, 6), seed)
    assert biased
    assert "a cost jumps in draw 'x0' and 'x1' and 'x2' and 3 others by `remainder` at" in line
