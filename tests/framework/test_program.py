"""The contract of programs: axes, ambiguity, one sample at a time, common random numbers, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, Poisson

import framework
from framework.errors import ProgramError, UserError
from framework.program import Program
from framework.recording.rule import Plain

PLAIN = Plain()


def run(function, parameters=None, samples=4, key=None, **axes):
    program = Program(function, **axes)
    return program, program.run(lambda site: PLAIN, parameters or {}, samples=samples, key=key)


@pytest.mark.parametrize("samples", [1, 2, 3, 7])
def test_a_draw_carries_the_sample_axis_whatever_the_number_of_samples(samples):
    shapes: dict[str, torch.Size] = {}

    def program(context, parameters, batch):
        x = context.sample("x", Normal(torch.zeros(3), 1.0))
        y = context.sample("y", Normal(x, 1.0))
        z = context.sample("z", Normal(torch.zeros(3), 1.0))
        shapes.update(x=x.shape, y=y.shape, z=z.shape)
        context.cost(y.sum(-1))

    run(program, samples=samples)
    assert set(shapes.values()) == {(samples, 3)}


def test_an_ambiguous_batch_shape_is_settled_by_a_run_with_one_sample_more():
    """Three samples, three coins: only the run with four samples shows that the coins do not depend on x."""
    calls = []

    def program(context, parameters, batch):
        calls.append(context.samples)
        x = context.sample("x", Normal(0.0, 1.0))
        coins = context.sample("coins", Bernoulli(torch.full((3,), 0.5)))
        y = context.sample("y", Normal(x, 1.0))
        assert coins.shape == (context.samples, 3)
        assert y.shape == (context.samples,)
        context.cost(y)

    ran, _ = run(program, samples=3)
    assert calls == [3, 7]
    ran.run(lambda site: PLAIN, {}, samples=3)
    assert calls == [3, 7, 3], "what was found out is remembered"


def test_finding_out_does_not_change_what_is_drawn():
    def program(context, parameters, batch):
        x = context.sample("x", Normal(0.0, 1.0))
        context.cost(context.sample("y", Normal(x, 1.0)))

    fresh, known = Program(program), Program(program)
    values = []
    known.run(lambda site: PLAIN, {}, samples=4)
    for each in (fresh, known):
        torch.manual_seed(5)
        values.append(each.run(lambda site: PLAIN, {}, samples=4)[0].draws[1].value)
    assert torch.equal(*values)


def test_saying_per_sample_spares_finding_out():
    calls = []

    def program(context, parameters, batch):
        calls.append(context.samples)
        x = context.sample("x", Normal(0.0, 1.0))
        context.cost(context.sample("y", Normal(x, 1.0), per_sample=True))

    run(program)
    assert calls == [4]


def test_per_sample_without_a_sample_axis_is_refused():
    def program(context, parameters, batch):
        context.sample("x", Normal(torch.zeros(3), 1.0), per_sample=True)

    with pytest.raises(
        ProgramError, match=r"draw 'x': per_sample=True, but .* \[3\] does not begin with the 4"
    ):
        run(program)


def test_a_branch_on_a_drawn_value_asks_for_loop_mode():
    def program(context, parameters, batch):
        if context.sample("b", Bernoulli(torch.tensor(0.5))) > 0:
            context.cost(1.0)

    with pytest.raises(ProgramError, match=r"one_sample_at_a_time=True"):
        run(program)


def test_in_loop_mode_branches_run_once_for_each_sample():
    def program(context, parameters, batch):
        assert context.samples == 1
        heads = context.sample("b", Bernoulli(torch.tensor(0.5))).item() > 0
        context.cost(1.0 if heads else 0.0)

    _, traces = run(program, samples=200, one_sample_at_a_time=True)
    assert len(traces) == 200
    mean = torch.stack([t.objective() for t in traces]).mean()
    assert abs(mean - 0.5) < 4 * 0.5 / 200**0.5


def test_a_cost_that_lacks_the_sample_axis_is_refused_unless_it_is_a_scalar():
    def program(context, parameters, batch):
        context.cost(torch.zeros(5))

    with pytest.raises(
        ProgramError, match=r"cost 'cost' has shape \[5\]; expected a scalar or \[samples"
    ):
        run(program)[1][0].objective()


def test_a_program_without_a_cost_is_refused():
    with pytest.raises(ProgramError, match=r"charged no cost"):
        run(lambda context, parameters, batch: None)[1][0].objective()


def test_with_a_key_two_runs_share_their_draws_though_their_number_differs():
    def program(extra):
        def function(context, parameters, batch):
            if extra:
                context.sample("between", Normal(0.0, 1.0))
            context.cost(context.sample("x", Normal(0.0, 1.0)))

        return function

    first = run(program(False), key=9)[1][0].draws[-1].value
    again = run(program(False), key=9)[1][0].draws[-1].value
    other = run(program(False), key=10)[1][0].draws[-1].value
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_keyed_run_leaves_the_outer_stream_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    run(lambda context, p, b: context.cost(context.sample("x", Normal(0.0, 1.0))), key=4)
    assert torch.equal(torch.rand(3), expected)


def test_samples_of_loop_mode_differ_under_a_key():
    def program(context, parameters, batch):
        context.cost(context.sample("x", Normal(0.0, 1.0)))

    _, traces = run(program, samples=5, key=3, one_sample_at_a_time=True)
    assert len({trace.draws[0].value.item() for trace in traces}) == 5


def test_numerical_directions_are_independent_of_each_other():
    """Common random numbers must not make every perturbation the same."""

    def program(context, parameters, batch):
        context.sample("noise", Normal(0.0, 1.0))
        context.cost((parameters["x"] * torch.arange(1.0, 6.0)).sum())

    for estimator in ("evolution_strategies", "spsa"):
        found = framework.estimate(
            program, {"x": torch.zeros(5)}, estimator=estimator, directions=4000, samples=1, seed=0
        )
        error = (found.gradients["x"] - torch.arange(1.0, 6.0)).abs()
        assert (error < 4 * 55**0.5 * (2 / 4000) ** 0.5).all(), estimator


def test_a_black_box_refuses_to_lose_a_gradient():
    def through_draw(context, parameters, batch):
        x = context.sample("x", Normal(parameters["mean"], 1.0))
        context.cost(context.black_box(lambda v: v.round(), x))

    def through_parameter(context, parameters, batch):
        context.sample("x", Normal(0.0, 1.0))
        context.cost(context.black_box(lambda v: v.round(), parameters["mean"]))

    parameters = {"mean": torch.tensor(0.5)}
    with pytest.raises(ProgramError, match=r"through draw 'x' would be lost.*reinforce, rloo"):
        framework.estimate(through_draw, parameters, estimator="reparameterisation")
    with pytest.raises(ProgramError, match=r"through a parameter would be lost.*finite_difference"):
        framework.estimate(through_parameter, parameters, estimator="rloo")
    assert (
        framework.estimate(through_draw, parameters, estimator="rloo", seed=0).gradients["mean"]
        != 0
    )


@pytest.mark.parametrize(
    ("estimator", "distribution", "words"),
    [
        ("reparameterisation", Poisson, "draw 'x' ~ Poisson has no differentiable path"),
        ("exact", Poisson, "draw 'x' ~ Poisson has no finite set of values"),
    ],
)
def test_a_draw_that_an_estimator_cannot_serve_is_named_with_estimators_that_can(
    estimator, distribution, words
):
    def program(context, parameters, batch):
        context.cost(context.sample("x", distribution(parameters["rate"])))

    with pytest.raises(ProgramError, match=f"{words}; estimators that can serve it: .*rloo"):
        framework.estimate(program, {"rate": torch.tensor(2.0)}, estimator=estimator)


@pytest.mark.parametrize("estimator", ["reparameterisation", "forward_gradient", "alpha_order"])
def test_enumeration_is_not_proposed_for_a_draw_without_end(estimator):
    def program(context, parameters, batch):
        context.cost(context.sample("x", Poisson(parameters["rate"])))

    with pytest.raises(
        ProgramError, match="can serve it: measure_valued, reinforce, rloo, finite_diff"
    ):
        framework.estimate(program, {"rate": torch.tensor(2.0)}, estimator=estimator)


def test_too_many_states_are_refused_with_their_number():
    def program(context, parameters, batch):
        context.cost(context.sample("b", Bernoulli(logits=parameters["theta"])).sum(-1))

    with pytest.raises(ProgramError, match=r"8192 states, more than estimator.states=4096"):
        framework.estimate(program, {"theta": torch.zeros(13)}, estimator="exact")


def test_leave_one_out_needs_two_samples():
    def program(context, parameters, batch):
        context.cost(context.sample("b", Categorical(logits=parameters["theta"])).float())

    with pytest.raises(ProgramError, match=r"there is 1: set estimator.samples to 2 or more"):
        framework.estimate(program, {"theta": torch.zeros(3)}, estimator="rloo", samples=1)


def test_an_objective_without_a_gradient_is_refused():
    def program(context, parameters, batch):
        context.cost(context.sample("x", Normal(0.0, 1.0)))

    with pytest.raises(ProgramError, match=r"depends on no parameter.*finite_difference"):
        framework.estimate(program, {"x": torch.zeros(())}, estimator="reparameterisation")


def test_unknown_estimators_and_options_are_named_with_the_nearest():
    def program(context, parameters, batch):
        context.cost(parameters["x"] ** 2)

    parameters = {"x": torch.tensor(1.0)}
    with pytest.raises(UserError, match=r"unknown estimator 'rlooo'; did you mean 'rloo'"):
        framework.estimate(program, parameters, estimator="rlooo")
    with pytest.raises(UserError, match=r"unknown key .*stp'; did you mean 'step'"):
        framework.estimate(program, parameters, estimator="spsa", stp=0.1)
    with pytest.raises(UserError, match=r"unknown rule 'rlo'"):
        framework.estimate(program, parameters, estimator="rloo", sites={"x": "rlo"})


def test_estimate_is_reproducible_and_leaves_parameters_and_generators_alone():
    def program(context, parameters, batch):
        b = context.sample("b", Bernoulli(logits=parameters["theta"]))
        context.cost((b - 0.45) ** 2)

    theta = torch.zeros(1)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = framework.estimate(program, {"theta": theta}, estimator="rloo", samples=16, seed=0)
    assert torch.equal(torch.rand(2), expected)
    again = framework.estimate(program, {"theta": theta}, estimator="rloo", samples=16, seed=0)
    assert torch.equal(first.gradients["theta"], again.gradients["theta"])
    assert (first.evaluations, first.biased) == (16, False)
    assert theta.grad is None
    assert not theta.requires_grad


def test_exact_of_a_deterministic_program_is_autodiff():
    def program(context, parameters, batch):
        context.cost((parameters["x"] ** 3).sum())

    found = framework.estimate(program, {"x": torch.tensor([1.0, -2.0])}, estimator="exact")
    assert torch.equal(found.gradients["x"], torch.tensor([3.0, 12.0]))
    assert (found.value, found.evaluations, found.biased) == (-7.0, 1, False)


def datum_costs(context, parameters, batch):
    """A cost of each datum that depends on no draw, a cost of each sample, and one of each sample and datum."""
    shared = context.sample("shared", Bernoulli(logits=parameters["shared"]))  # [n]
    slope = batch @ parameters["weight"]
    coin = context.sample("coin", Bernoulli(logits=slope))  # [n, B]
    context.cost(slope**2, "datum")
    context.cost(2 * shared, "sample")
    context.cost(coin * batch[:, 0], "both")
    context.penalty(slope**3, "penalty")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("estimator", "data", "options"),
    [
        ("exact", 4, {}),  # four joint values of the two draws
        ("rloo", 8, {"samples": 8}),
        ("rebar", 16, {"samples": 8}),  # a run and its partner side by side
        ("rebar", 8, {"samples": 8}),
        ("measure_valued", 16, {"samples": 8}),
    ],
)
def test_one_value_a_datum_is_not_taken_for_one_a_sample_where_they_are_as_many(
    estimator, data, options
):
    batch = torch.randn(data, 2, generator=torch.Generator().manual_seed(0))
    parameters = {"weight": torch.tensor([0.5, -1.2]), "shared": torch.tensor(0.3)}
    program = Program(datum_costs, batch_axes=1)
    found = [
        framework.estimate(program, parameters, batch, estimator=estimator, seed=i, **options)
        for i in range(1 if estimator == "exact" else 300)
    ]

    def objective(weight, shared):
        slope = batch @ weight
        return (slope**2 + slope**3 + slope.sigmoid() * batch[:, 0]).mean() + 2 * shared.sigmoid()

    leaves = [value.clone().requires_grad_() for value in parameters.values()]
    true = torch.autograd.grad(objective(*leaves), leaves)
    for name, expected in zip(parameters, true, strict=True):
        estimates = torch.stack([each.gradients[name] for each in found])
        error = 0.0 if len(found) == 1 else estimates.std(0) / len(found) ** 0.5
        assert ((estimates.mean(0) - expected).abs() < 1e-4 + 4 * error).all()
    if estimator == "exact":
        torch.testing.assert_close(found[0].value, objective(*leaves).item())


def test_enumeration_begins_again_where_an_axis_had_to_be_found_out():
    """The second draw's batch has as many data as the two draws have joint values."""

    def program(context, parameters, batch):
        first = context.sample("first", Bernoulli(logits=parameters["logit"]))
        second = context.sample("second", Bernoulli(logits=batch * parameters["logit"]))
        context.cost((first.unsqueeze(1) + second - 0.3) ** 2)

    batch, logit = torch.tensor([1.0, -1.0, 0.5, 2.0]), torch.tensor(0.4, requires_grad=True)
    p, q = logit.sigmoid(), (batch * logit).sigmoid()
    ones = p * q * 1.7**2 + (p * (1 - q) + (1 - p) * q) * 0.7**2 + (1 - p) * (1 - q) * 0.09
    (true,) = torch.autograd.grad(ones.mean(), logit)
    found = framework.estimate(
        Program(program, batch_axes=1), {"logit": logit}, batch, estimator="exact"
    )
    torch.testing.assert_close(found.gradients["logit"], true)


@pytest.mark.parametrize("value", ["dear", None, {"a": 1}])
def test_a_cost_that_is_no_number_is_refused_in_one_line(value):
    def program(context, parameters, batch):
        context.cost(value, "price")

    kind = type(value).__name__
    with pytest.raises(ProgramError, match=rf"cost 'price' is a {kind}; expected a tensor or"):
        run(program)


def one_number(context, parameters, batch):
    x = context.sample("x", Normal(torch.zeros(()), 1.0))
    context.cost(math.sin(x))


def an_index(context, parameters, batch):
    x = context.sample("x", Categorical(logits=torch.zeros(2)))
    context.cost([1.0, 2.0][x])


def no_distribution(context, parameters, batch):
    context.sample("x", torch.zeros(3))


def no_name(context, parameters, batch):
    context.sample(Normal(0.0, 1.0), "x")


def two_arguments(context, parameters):
    """Not called as a program is."""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (one_number, r"calls .item\(\): declare it with .*one_sample_at_a_time=True"),
        (an_index, r"calls .item\(\): declare it with .*one_sample_at_a_time=True"),
        (no_distribution, "^draw 'x' is from a Tensor: expected a name and a distribution"),
        (no_name, r"^context.sample\(Normal, str\): expected a name and a distribution"),
        (two_arguments, r"^program: two_arguments\(context, parameters\) given; expected a fun"),
        (3, r"^program: int given; expected a function \(context, parameters, batch\)$"),
    ],
)
def test_a_program_that_is_none_is_refused_in_one_line(function, message):
    with pytest.raises(ProgramError, match=message):
        run(function, samples=4)


def test_numpy_in_the_path_of_a_draw_names_the_black_box():
    def function(context, parameters, batch):
        x = context.sample("x", Normal(parameters["theta"], 1.0))
        context.cost(torch.as_tensor(np.sin(x.numpy())))

    theta = {"theta": torch.tensor(0.5)}
    with pytest.raises(ProgramError, match=r"to NumPy, .*context.black_box\(function, x\)"):
        framework.estimate(function, theta, estimator="reparameterisation", samples=4)
    assert framework.estimate(function, theta, estimator="rloo", samples=4).gradients["theta"] != 0


def test_a_black_box_may_be_written_with_numpy():
    def simulator(x):
        angle = np.asarray(x)
        return np.cos(angle), np.sin(angle).astype(np.float64), (angle > 0).sum(-1)

    seen = []

    def function(context, parameters, batch):
        x = context.sample("x", Normal(parameters["theta"], 1.0))
        along, across, count = context.black_box(simulator, x)
        context.cost((along - across).sum(-1) + 0 * count)
        context.cost(context.black_box(lambda x: x.tolist(), x))
        seen.append((x, along, across, count))

    theta = {"theta": torch.zeros(2)}
    found = framework.estimate(function, theta, estimator="rloo", samples=64, seed=0)
    x, along, across, count = seen[0]
    torch.testing.assert_close(along, x.cos())
    assert across.dtype == torch.float32
    assert torch.equal(count, (x > 0).sum(-1))
    assert found.gradients["theta"].abs().min() > 0


def test_what_a_black_box_returns_besides_numbers_is_named():
    def function(context, parameters, batch):
        context.cost(context.black_box(lambda: "far"))

    with pytest.raises(ProgramError, match=r"black_box: the function returned a str; expected a t"):
        run(function)
