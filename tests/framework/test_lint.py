"""The check of a program's first run: what makes a gradient wrong in silence is refused, or called biased."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    MultivariateNormal,
    Normal,
    VonMises,
)

import framework
from framework import Program, Task
from framework.errors import ProgramError
from framework.gradients.selection.automatic import Automatic
from framework.program import as_program
from framework.randomness import seeded

PATHWISE = ["reparameterisation", "forward_gradient"]
SCORED = ["exact", "rloo", "reinforce", "arm", "disarm", "measure_valued", "rebar", "relax"]


def estimate(function, value, estimator, samples=None, batch=None, **options):
    parameters = {"t": torch.tensor(value)}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = framework.estimate(
            function, parameters, batch, estimator=estimator, samples=samples, seed=0, **options
        )
    return result, [str(w.message) for w in found if "torch.jit" not in str(w.message)]


def gradient(function, value, estimator, samples):
    return float(estimate(function, value, estimator, samples)[0].gradients["t"])


def normal(context, parameters):
    return context.sample("x", Normal(parameters["t"], 1.0))


# The axes of a cost.


def mean_as_cost(context, parameters, batch):
    context.cost(2 * context.sample("b", Bernoulli(logits=parameters["t"])).mean())


def mean_outside_torch(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["t"]))
    context.cost(2 * sum(b.tolist()) / len(b))


def mean_over_data(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["t"] * batch))
    context.cost((b * batch).mean(-1))


@pytest.mark.parametrize("function", [mean_as_cost, mean_outside_torch])
@pytest.mark.parametrize("estimator", [*SCORED, "spsa"])
def test_a_cost_without_the_sample_axis_is_refused(function, estimator):
    line = r"cost 'cost' has no sample axis, though it depends on draw 'b'.*context\.penalty"
    with pytest.raises(ProgramError, match=line):
        estimate(function, 0.0, estimator)


@pytest.mark.parametrize("estimator", SCORED)
def test_a_cost_without_the_batch_axes_is_refused_where_each_datum_has_a_draw(estimator):
    program = Program(mean_over_data, batch_axes=1)
    with pytest.raises(ProgramError, match=r"cost 'cost' has no batch axes \[3\].*draw 'b'"):
        estimate(program, 0.5, estimator, batch=torch.tensor([1.0, -1.0, 2.0]))


def test_a_path_serves_a_cost_without_the_batch_axes():
    def function(context, parameters, batch):
        x = context.sample("x", Normal(parameters["t"] * batch, 1.0))
        context.cost(x.square().mean(-1))

    batch = torch.tensor([1.0, -1.0, 2.0])
    found, messages = estimate(
        Program(function, batch_axes=1), 0.5, "reparameterisation", 100_000, batch
    )
    assert float(found.gradients["t"]) == pytest.approx(2.0, abs=0.02)
    assert messages == []


def test_one_number_that_depends_on_no_draw_and_one_sample_are_served():
    def function(context, parameters, batch):
        b = context.sample("b", Bernoulli(logits=parameters["t"]))
        float(b.mean())
        context.cost(b)
        context.cost(parameters["t"] ** 2, "weights")
        context.cost(1.0, "constant")

    def single(context, parameters, batch):
        context.cost(2 * context.sample("b", Bernoulli(logits=parameters["t"])).mean())

    assert gradient(function, 0.5, "exact", None) == pytest.approx(1.235, abs=1e-3)
    assert gradient(Program(single, one_sample_at_a_time=True), 0.0, "exact", None) == 0.5


# Tensors changed in place.


def draw_clamped(context, parameters, batch):
    x = normal(context, parameters)
    x.clamp_(-1, 1)
    context.cost(x)


def location_moved(context, parameters, batch):
    x = parameters["t"].expand(context.samples) * 1
    v = context.sample("v", Normal(x, 1.0), per_sample=True)
    x += v
    context.cost(x)


def cost_accumulated(context, parameters, batch):
    total = torch.zeros(context.samples)
    for i in range(3):
        total += context.sample(f"b{i}", Bernoulli(logits=parameters["t"]))
        context.cost(total)


def cost_accumulated_in_numpy(context, parameters, batch):
    total = torch.zeros(context.samples).numpy()
    for i in range(3):
        total += context.sample(f"b{i}", Bernoulli(logits=parameters["t"])).numpy()
        context.cost(torch.from_numpy(total))


def element_overwritten(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["t"].expand(2)))
    b[:, 0] = 1.0
    context.cost(b.sum(-1))


def mask_changed(context, parameters, batch):
    mask = torch.ones(context.samples, dtype=torch.bool)
    value = torch.ones(context.samples)
    context.observe("b", Bernoulli(logits=parameters["t"]), value, mask=mask)
    mask &= False
    context.cost(value)


@pytest.mark.parametrize(
    ("function", "estimator", "what"),
    [
        (draw_clamped, "rloo", "draw 'x'"),
        (draw_clamped, "reinforce", "draw 'x'"),
        (location_moved, "rloo", "a parameter of draw 'v'"),
        (cost_accumulated, "exact", "cost 'cost'"),
        (cost_accumulated, "rloo", "cost 'cost'"),
        (cost_accumulated, "measure_valued", "cost 'cost'"),
        (cost_accumulated, "disarm", "cost 'cost'"),
        (cost_accumulated, "spsa", "cost 'cost'"),
        (element_overwritten, "rloo", "draw 'b'"),
        (mask_changed, "rloo", "the mask of draw 'b'"),
    ],
)
def test_a_tensor_changed_in_place_after_it_was_recorded_is_refused(function, estimator, what):
    line = rf"^{what} was changed in place at .*test_lint\.py:\d+ after"
    with pytest.raises(ProgramError, match=line):
        estimate(function, 0.5, estimator)


@pytest.mark.parametrize("estimator", ["rloo", "exact", "disarm"])
def test_a_record_changed_through_numpy_is_refused(estimator):
    with pytest.raises(ProgramError, match=r"^cost 'cost' was changed in place after"):
        estimate(cost_accumulated_in_numpy, 0.5, estimator)


@pytest.mark.parametrize("estimator", ["rebar", "gumbel"])
def test_where_autograd_refuses_a_change_in_place_it_is_one_line(estimator):
    with pytest.raises(ProgramError, match=r"in place.*x\.clone\(\)") as error:
        estimate(element_overwritten, 0.5, estimator)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("function", "truth"), [(draw_clamped, 0.4772), (location_moved, 2.0)])
def test_in_place_changes_that_leave_a_path_right_are_served(function, truth):
    assert gradient(function, 1.0, "reparameterisation", 200_000) == pytest.approx(truth, abs=0.01)


# Draws without a gradient, and paths that are cut.


def draw_without_grad(context, parameters, batch):
    with torch.no_grad():
        x = context.sample("x", Normal(parameters["t"] * 1, 1.0))
    context.cost(x**2 + parameters["t"])


def distribution_without_grad(context, parameters, batch):
    with torch.no_grad():
        law = Normal(parameters["t"] * 1, 1.0)
    context.cost(context.sample("x", law) ** 2 + parameters["t"])


@pytest.mark.parametrize("function", [draw_without_grad, distribution_without_grad])
@pytest.mark.parametrize("estimator", ["rloo", "reparameterisation", "measure_valued"])
def test_a_draw_that_lost_its_gradient_under_no_grad_is_refused(function, estimator):
    with pytest.raises(ProgramError, match=r"draw 'x' .* under torch\.no_grad\(\)"):
        estimate(function, 0.3, estimator)


@pytest.mark.parametrize("estimator", ["rloo", "reparameterisation"])
def test_noise_drawn_under_no_grad_is_served(estimator):
    def function(context, parameters, batch):
        with torch.no_grad():
            noise = context.sample("e", Normal(torch.zeros(()), 1.0))
        context.cost((parameters["t"] + noise) ** 2)

    assert gradient(function, 0.3, estimator, 200_000) == pytest.approx(0.6, abs=0.02)


def through_numpy(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.from_numpy(x.detach().numpy()) ** 2 + parameters["t"])


def through_a_list(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.tensor((x * 2).tolist()) ** 2 / 4 + parameters["t"])


def through_data(context, parameters, batch):
    context.cost(normal(context, parameters).data ** 2 + parameters["t"])


def cost_without_grad(context, parameters, batch):
    x = normal(context, parameters)
    with torch.no_grad():
        square = x**2
    context.cost(square + parameters["t"])


def as_a_number(context, parameters, batch):
    context.cost(normal(context, parameters).item() ** 2 + parameters["t"])


def location_detached(context, parameters, batch):
    x = normal(context, parameters)
    y = context.sample("y", Normal(x.detach(), 1.0))
    context.cost(y**2 + parameters["t"])


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "function",
    [
        through_numpy,
        through_a_list,
        through_data,
        cost_without_grad,
        Program(as_a_number, one_sample_at_a_time=True),
        location_detached,
    ],
    ids=lambda f: as_program(f).function.__name__,
)
def test_a_path_that_reaches_no_cost_is_refused_by_line_and_a_black_box_is_served(function):
    what = "draw 'y'" if function is location_detached else "cost 'cost'"
    with pytest.raises(ProgramError, match=rf"{what} depends on draw 'x', but by no gradient") as e:
        estimate(function, 0.3, "reparameterisation")
    assert "test_lint.py:" in str(e.value)
    assert "\n" not in str(e.value)
    samples = 1000 if isinstance(function, Program) else 60_000
    tolerance = 0.2 if isinstance(function, Program) else 0.03
    assert gradient(function, 0.3, "rloo", samples) == pytest.approx(1.6, abs=tolerance)


@pytest.mark.parametrize("estimator", PATHWISE)
def test_a_cost_that_follows_a_draw_in_part_makes_the_estimate_biased(estimator):
    def half(context, parameters, batch):
        x = normal(context, parameters)
        context.cost(x * x.detach())

    found, messages = estimate(half, 0.3, estimator, 64)
    assert found.biased
    (line,) = messages
    assert "cost 'cost' follows draw 'x' by more than its gradient" in line
    assert "`detach` at" in line


# Jumps.


def where(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.where(x > 0, x + 3, x))


def mask(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + 3 * (x.detach() > 0))


def assignment(context, parameters, batch):
    cost = normal(context, parameters) * 1
    cost[cost > 0] += 3
    context.cost(cost)


def sign(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + x.sign())


def rounded(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + torch.round(x))


def remainder(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + x % 1)


def rounded_in_place(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + (x * 1).floor_())


def hard_shrink(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.nn.functional.hardshrink(x, 1.0))


def integer(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + x.long())


def argmax(context, parameters, batch):
    x = context.sample("x", Normal(parameters["t"] + torch.tensor([0.2, -0.1]), 1.0))
    context.cost(torch.tensor([4.0, 1.0])[x.argmax(-1)] + x.sum(-1))


def sorting(context, parameters, batch):
    x = context.sample("x", Normal(parameters["t"] + torch.tensor([0.2, -0.1]), 1.0))
    context.cost(torch.tensor([4.0, 1.0])[x.sort().indices[:, 0]] + x.sum(-1))


def searching(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + torch.searchsorted(torch.arange(-9.0, 9.0), x.detach()))


def next_draw(context, parameters, batch):
    x = normal(context, parameters)
    y = context.sample("y", Normal(torch.where(x > 0, 2.0, 0.0), 1.0))
    context.cost(y + x)


def python_branch(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + 3 if x > 0 else x)


def branch_on_a_number(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x + 3 if x.item() > 0 else x)


def another_cost(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x)
    if x > 0:
        context.cost(3.0, "bonus")


def alone(function):
    return Program(function, one_sample_at_a_time=True)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("estimator", PATHWISE)
@pytest.mark.parametrize(
    "function",
    [
        *(
            where,
            mask,
            assignment,
            sign,
            rounded,
            rounded_in_place,
            remainder,
            hard_shrink,
            integer,
            argmax,
            sorting,
            searching,
        ),
        *(next_draw, alone(python_branch), alone(branch_on_a_number), alone(another_cost)),
    ],
    ids=lambda f: as_program(f).function.__name__,
)
def test_a_jump_makes_the_estimate_biased_and_is_named_once(function, estimator):
    program = as_program(function)
    found, messages = estimate(program, 0.3, estimator, 32)
    assert found.biased
    (line,) = messages
    assert "draw 'x'" in line
    assert "test_lint.py:" in line
    assert "\n" not in line
    found, messages = estimate(program, 0.3, estimator, 32)
    assert found.biased
    assert messages == []


def test_a_jump_does_not_concern_the_score_function():
    found, messages = estimate(where, 0.0, "rloo", 400_000)
    assert not found.biased
    assert messages == []
    assert float(found.gradients["t"]) == pytest.approx(1 + 3 / math.sqrt(2 * math.pi), abs=0.02)


def test_rebar_is_biased_where_the_cost_jumps_between_the_values_of_a_draw():
    def jump(context, parameters, batch):
        b = context.sample("b", Bernoulli(logits=parameters["t"]))
        context.cost((b > 0.5) * 2.0 + b)

    def smooth(context, parameters, batch):
        context.cost((context.sample("b", Bernoulli(logits=parameters["t"])) - 0.4) ** 2)

    found, messages = estimate(jump, 0.3, "rebar", 64)
    assert found.biased
    assert "a cost jumps in draw 'b'" in messages[0]
    assert not estimate(jump, 0.3, "disarm", 64)[0].biased
    found, messages = estimate(smooth, 0.3, "rebar", 64)
    assert not found.biased
    assert messages == []


# Programs without a fault.


def absolute(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.where(x > 0, x, -x))


def ramp(context, parameters, batch):
    x = context.sample("x", Normal(parameters["t"].expand(50), 1.0))
    context.cost((x * (x > 0) + torch.where(x > 0, x, 0.0)).sum(-1))


def clamp(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.where(x > 1, 1.0, torch.where(x < -1, -1.0, x)))


def huber(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.where(x.abs() < 1, 0.5 * x * x, x.abs() - 0.5))


def softplus(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.where(x > 20, x, x.exp().log1p()))


def square_root(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(torch.where(x > 0, x.clamp(min=0).sqrt(), -x))


def orders(context, parameters, batch):
    x = context.sample("x", Normal(parameters["t"].expand(5), 1.0))
    largest = x.gather(-1, x.argmax(-1, keepdim=True))[:, 0]
    context.cost(x.max(-1).values + x.sort(-1).values[:, 1] + x.topk(2).values.sum(-1) + largest)


def interpolation(context, parameters, batch):
    table = (torch.arange(40.0) * 0.7).sin() * 3
    place = (normal(context, parameters) * 3 + 15).clamp(0, 38)
    below = place.floor().clamp(max=37)
    i = below.detach().long()
    context.cost((1 - (place - below)) * table[i] + (place - below) * table[i + 1])


def diagnostics(context, parameters, batch):
    x = normal(context, parameters)
    assert x.detach().isfinite().all()
    assert float(x.detach().mean()) < 100
    x.tolist()
    x.detach().numpy()
    context.cost((30 * x).cos())


def bounces(context, parameters, batch):
    position = context.sample("x", Normal(parameters["t"] + 1, 0.3))
    speed = context.sample("v", Normal(0.0, 1.0))
    for _ in range(20):
        position = position + 0.1 * speed
        hit = position < 0
        position, speed = torch.where(hit, -position, position), torch.where(hit, -speed, speed)
    context.cost(position**2)


def families(context, parameters, batch):
    t = parameters["t"]
    g = context.sample("g", Gamma(t.exp(), 1.0))
    b = context.sample("b", Beta(t.exp(), 2.0))
    d = context.sample("d", Dirichlet(torch.stack([t.exp(), t.exp() + 1])))
    m = context.sample("m", MultivariateNormal(t.expand(2), torch.eye(2)))
    v = context.sample("v", VonMises(t, 2.0))  # type: ignore[arg-type]
    y = context.sample("y", Normal(torch.where(m[:, 0] > 0, m[:, 0], 0.0), 1.0))
    context.cost(torch.where(g > b, g, b) + torch.where(d[:, 0] > 0.5, d[:, 0], 0.5))
    context.cost(torch.where(v > 0, v, -v).cos() + torch.where(y > 1, y, 1.0))


def masks_of_data(context, parameters, batch):
    data = torch.tensor([0.5, -1.0, 2.0])
    x = context.sample("x", Normal(parameters["t"] * data, 1.0))
    context.cost((torch.where(data > 0, 2.0, 1.0) * x)[:, data > 0].sum(-1))


def python_absolute(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x if x > 0 else -x)


def number_absolute(context, parameters, batch):
    x = normal(context, parameters)
    context.cost(x if x.item() > 0 else -x)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("samples", [1, 4, 64])
@pytest.mark.parametrize(
    "function",
    [
        *(absolute, ramp, clamp, huber, softplus, square_root, orders, interpolation, diagnostics),
        *(bounces, families, masks_of_data, alone(python_absolute), alone(number_absolute)),
    ],
    ids=lambda f: as_program(f).function.__name__,
)
def test_smooth_programs_and_continuous_branches_raise_no_alarm(function, samples):
    # A fresh program: watched in this very run.
    given = as_program(function)
    program = Program(given.function, one_sample_at_a_time=given.one_sample_at_a_time)
    found, messages = estimate(program, 0.3, "reparameterisation", samples)
    assert program.findings.checked
    assert not found.biased
    assert messages == []


def test_a_continuous_branch_may_still_be_reparameterised_by_automatic():
    program, parameters = Program(absolute), {"t": torch.tensor(0.3)}
    automatic = Automatic(samples=32)
    with seeded(0):
        automatic.backward(program, {"t": parameters["t"].requires_grad_()})
    (verdict,) = (v for v in automatic.verdicts if v.name == "reparameterisation")
    assert verdict.refused == ""
    assert verdict.quality is not None
    assert not verdict.quality.biased


# When it looks, and what it leaves alone.


def test_an_unchecked_program_is_run_as_it_is():
    for options in ({"checked": False}, {}):
        program = Program(where, checked=bool(options))
        found, messages = estimate(program, 0.5, "reparameterisation", 8, **options)
        assert not found.biased
        assert messages == []
        assert program.findings.checked == set()
    assert not estimate(where_again, 0.5, "reparameterisation", 8, checked=False)[0].biased


def where_again(context, parameters, batch):
    where(context, parameters, batch)


def test_only_the_first_run_of_a_kind_is_watched():
    runs = []

    def function(context, parameters, batch):
        runs.append(type(context).__name__)
        context.cost(normal(context, parameters) ** 2)

    for _ in range(3):
        estimate(function, 0.5, "reparameterisation", 8)
    assert runs == ["WatchedContext", "Context", "Context"]


def test_a_watched_run_has_the_bits_of_an_unwatched_one():
    for function in (absolute, where, families):
        found = [
            estimate(Program(function), 0.5, "reparameterisation", 16, checked=checked)[0]
            for checked in (True, False)
        ]
        assert torch.equal(found[0].gradients["t"], found[1].gradients["t"])
        assert found[0].value == found[1].value


def test_a_program_that_cannot_be_run_again_is_warned_where_it_may_jump():
    program = Program(python_branch, one_sample_at_a_time=True, stateful=True)
    found, messages = estimate(program, 0.3, "reparameterisation", 8)
    assert not found.biased
    (line,) = messages
    assert "may jump in a draw" in line
    assert "`gt` at" in line


class Jumping(Task):
    """A task whose cost jumps in its draw."""

    def __init__(self) -> None:
        self.model = torch.nn.Linear(1, 1, bias=False)

    def objective(self, context, batch):
        x = context.sample("x", Normal(self.model.weight[0, 0], 1.0))  # type: ignore[index]
        context.cost(torch.where(x > 0, x + 3, x))


def test_a_training_says_where_its_cost_jumps(tmp_path, capsys):
    framework.train(
        Jumping(),
        estimator="reparameterisation",
        steps=2,
        folder=tmp_path / "run",
        overrides=["monitor.tensorboard=false", "monitor.progress=lines"],
        progress=True,
    )
    assert capsys.readouterr().out.count("a cost jumps in draw 'x' by `gt` at") == 1


def test_categorical_draws_are_watched_in_several_layers():
    def function(context, parameters, batch):
        k = context.sample("k", Categorical(logits=parameters["t"] * torch.arange(3.0)))
        j = context.sample("j", Bernoulli(logits=k * parameters["t"]))
        context.cost((k * j).float().mean())

    with pytest.raises(ProgramError, match="has no sample axis"):
        estimate(function, 0.3, "rloo")


# A jump in a parameter, at a place that is random.


def threshold_of_a_draw(context, parameters, batch):
    x = context.sample("x", Normal(0.0, 1.0))
    context.cost((x < parameters["t"]).float() + parameters["t"] ** 2)


def threshold_of_own_noise(context, parameters, batch):
    noise = torch.empty(context.samples).normal_()
    context.cost((noise < parameters["t"]).float() + parameters["t"] ** 2)


def threshold_one_at_a_time(context, parameters, batch):
    x = context.sample("x", Normal(0.0, 1.0))
    context.cost((1.0 if x < parameters["t"] else 0.0) + parameters["t"] ** 2)


def hinge_of_a_draw(context, parameters, batch):
    x = context.sample("x", Normal(0.0, 1.0))
    below = x < parameters["t"]
    context.cost(torch.where(below, parameters["t"] - x, torch.zeros(())))


def hinge_of_own_noise(context, parameters, batch):
    noise = torch.randn(context.samples)
    context.cost(torch.where(noise < parameters["t"], parameters["t"] - noise, torch.zeros(())))


def fresh(function, **options):
    """A program that has not been watched yet."""
    return Program(lambda *arguments: function(*arguments), **options)


SERVING_NORMAL = ["exact", "rloo", "reinforce", "measure_valued", "relax", *PATHWISE]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("estimator", SERVING_NORMAL)
@pytest.mark.parametrize("function", [threshold_of_a_draw, threshold_of_own_noise])
def test_a_jump_in_a_parameter_at_a_random_place_makes_every_derivative_biased(function, estimator):
    """The derivative of 2t = 0.6 lacks the density of the threshold."""
    found, messages = estimate(fresh(function), 0.3, estimator, 64)
    assert found.biased
    assert "a cost jumps by `lt` at" in messages[0]


@pytest.mark.parametrize("estimator", ["rloo", "measure_valued", "reparameterisation"])
def test_noise_that_all_samples_share_is_not_passed_over_in_silence(estimator):
    def shared(context, parameters, batch):
        noise = torch.randn(3)
        cost = (noise < parameters["t"]).float() + parameters["t"] ** 2
        context.cost(cost.expand(context.samples, 3))

    _, told = estimate(shared, 0.3, estimator, 64)
    assert "a cost may jump in a draw" in told[0]
    assert "`lt` at" in told[0]


@pytest.mark.parametrize("estimator", ["rloo", "measure_valued", "reparameterisation"])
def test_so_does_one_in_a_program_that_runs_one_sample_at_a_time(estimator):
    program = fresh(threshold_one_at_a_time, one_sample_at_a_time=True)
    found, messages = estimate(program, 0.3, estimator, 64)
    assert found.biased
    assert "a cost jumps by `bool` at" in messages[0] or "a cost jumps by `lt` at" in messages[0]


def test_a_jump_in_a_parameter_is_named_by_the_users_line_and_seen_by_values():
    truth = 0.6 + math.exp(-(0.3**2) / 2) / math.sqrt(2 * math.pi)
    line = estimate(fresh(threshold_of_a_draw), 0.3, "rloo", 64)[1][0]
    assert line.startswith("a cost jumps by `lt` at ")
    assert "test_lint.py:" in line
    assert "finite_difference, spsa, evolution_strategies" in line
    found, _ = estimate(threshold_of_a_draw, 0.3, "finite_difference", 400_000, step=0.1)
    assert float(found.gradients["t"]) == pytest.approx(truth, abs=0.02)


@pytest.mark.parametrize("estimator", SERVING_NORMAL)
@pytest.mark.parametrize("function", [hinge_of_a_draw, hinge_of_own_noise])
def test_a_kink_in_a_parameter_at_a_random_place_raises_no_alarm(function, estimator):
    found, messages = estimate(fresh(function), 0.3, estimator, 400)
    # Quadrature of a Normal draw says itself that it is biased; one run with noise is a noisy one.
    if estimator != "exact":
        assert messages == []
        assert not found.biased
        assert float(found.gradients["t"]) == pytest.approx(0.618, abs=0.15)


# Draws that a program makes by itself.


@pytest.mark.parametrize(
    "draw",
    [
        lambda t: torch.bernoulli(t.sigmoid()),
        lambda t: torch.normal(t, 1.0),
        lambda t: torch.poisson(t.exp()),
        lambda t: Normal(t, 1.0).sample(),
        lambda t: torch.distributions.Exponential(t.exp()).sample(),
        lambda t: Categorical(logits=torch.stack([t, -t], -1)).sample().float(),
    ],
)
@pytest.mark.parametrize(
    "estimator", ["rloo", "exact", "reparameterisation", "measure_valued", "forward_gradient"]
)
def test_a_draw_of_the_programs_own_from_a_parameter_is_refused_by_line(draw, estimator):
    def own(context, parameters, batch):
        context.cost(draw(parameters["t"].expand(context.samples)) + parameters["t"])

    with pytest.raises(ProgramError, match="draws from a value that depends on a parameter") as e:
        estimate(own, 0.3, estimator)
    assert "test_lint.py:" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_draw_of_the_programs_own_from_what_is_detached_is_served():
    def own(context, parameters, batch):
        kept = torch.bernoulli(parameters["t"].detach().sigmoid().expand(context.samples))
        context.cost(kept * parameters["t"])

    found, messages = estimate(own, 0.3, "reparameterisation", 40_000)
    assert messages == []
    assert float(found.gradients["t"]) == pytest.approx(1 / (1 + math.exp(-0.3)), abs=0.02)


# A draw is charged with its own sample's costs only, and with no penalty.


def penalty_of_a_draw(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["t"]))
    context.cost(0 * b)
    context.penalty(3 * b, "extra")


def mean_over_samples(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["t"]))
    context.cost((b - b.mean()) ** 2)


def share_of_all_samples(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["t"]))
    context.cost(b.softmax(0))


def later_draw_from_a_mean(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["t"]))
    context.cost(context.sample("x", Normal(b - b.mean(0, keepdim=True), 1.0)) ** 2)


@pytest.mark.parametrize("estimator", SCORED)
def test_a_penalty_of_a_scored_draw_makes_the_estimate_biased(estimator):
    found, messages = estimate(Program(penalty_of_a_draw), 0.3, estimator, samples=16)
    # 3 p (1 - p) is what is left out.
    assert found.gradients["t"] == 0
    assert found.biased
    assert sum("penalty 'extra' depends on draw 'b'" in message for message in messages) == 1


@pytest.mark.parametrize("estimator", SCORED)
@pytest.mark.parametrize("function", [mean_over_samples, share_of_all_samples])
def test_a_cost_that_mixes_samples_is_named_by_line(function, estimator):
    found, messages = estimate(Program(function), 0.3, estimator, samples=64)
    assert found.biased
    line = function.__code__.co_firstlineno + 2
    assert any(f"test_lint.py:{line}" in message for message in messages)
    assert any("'cost' of one sample depends on the draws of others" in m for m in messages)


def mean_of_an_index(context, parameters, batch):
    x = context.sample("x", Categorical(logits=torch.stack([parameters["t"], torch.tensor(0.0)])))
    context.cost(x / (1 + x.sum()))


def test_so_is_one_of_an_index():
    found, messages = estimate(mean_of_an_index, 0.3, "rloo", samples=64)
    assert found.biased
    assert any("'cost' of one sample depends on the draws of others" in m for m in messages)


def test_so_is_a_draw_from_other_samples():
    found, messages = estimate(later_draw_from_a_mean, 0.3, "rloo", samples=64)
    assert found.biased
    assert any("draw 'x' of one sample depends on the draws of others" in m for m in messages)


def penalty_of_a_path(context, parameters, batch):
    context.penalty(normal(context, parameters) ** 2, "extra")


def mean_that_is_only_printed(context, parameters, batch):
    x = normal(context, parameters)
    x.mean(), x.softmax(0), x.sum(0, keepdim=True)
    context.cost(torch.stack([x, x**2]).mean(0))


def sums_of_each_sample(context, parameters, batch):
    x = context.sample("x", Normal(parameters["t"].expand(3), 1.0))
    context.cost(x.softmax(-1).T[0] + x.flatten().reshape(-1, 3).sum(-1))


@pytest.mark.parametrize(
    ("function", "estimator"),
    [
        (penalty_of_a_path, "reparameterisation"),
        (mean_over_samples, "spsa"),
        (mean_that_is_only_printed, "rloo"),
        (sums_of_each_sample, "rloo"),
    ],
)
def test_what_charges_each_sample_with_its_own_raises_no_alarm(function, estimator):
    found, messages = estimate(Program(function), 0.3, estimator, samples=8)
    assert not [m for m in messages if "of others" in m or "penalty" in m]
    assert found.biased == (estimator == "spsa")
