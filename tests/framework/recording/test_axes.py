"""Axes of equal length are distinguished: a draw, a cost or a penalty has the axes that it has in other sizes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, OneHotCategorical

import framework
from framework.errors import ProgramError
from framework.program import Program
from framework.recording.axes import ALL, DATA, NONE, SAMPLES, candidates
from framework.recording.context import Context
from framework.recording.rule import Plain

PLAIN = Plain()
# Estimator, options, how many estimates the mean is taken over.
ESTIMATORS = [
    ("exact", {}, 1),
    ("rloo", {"samples": 4000}, 1),
    ("reinforce", {"samples": 4000}, 1),
    ("disarm", {"samples": 4000}, 1),
    ("arm", {"samples": 4000}, 1),
    ("measure_valued", {"samples": 2000}, 1),
    ("rebar", {"samples": 2000}, 1),
    ("relax", {"samples": 2000}, 1),
    # n is the batch's size, of which the parameter has as many elements.
    ("rloo", {"samples": 3}, 200),
    ("disarm", {"samples": 3}, 200),
    ("measure_valued", {"samples": 3}, 200),
    ("rebar", {"samples": 3}, 200),
    ("relax", {"samples": 3}, 200),
]


def mean_estimate(program, parameters, batch, estimator, options, repeats):
    """The mean gradient and the mean value of several estimates."""
    found = [
        framework.estimate(program, parameters, batch, estimator=estimator, seed=seed, **options)
        for seed in range(repeats)
    ]
    gradients = torch.stack([each.gradients["theta"] for each in found])
    value = sum(each.value for each in found) / repeats
    return gradients.mean(0), value


def shared_by_the_batch(context, parameters, batch):
    """Three coins tossed once for all data."""
    z = context.sample("z", Bernoulli(logits=parameters["theta"]))
    context.cost((z.sum(-1, keepdim=True) - batch) ** 2)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("estimator", "options", "repeats"), ESTIMATORS)
@pytest.mark.parametrize(
    ("batch", "gradient", "value"),
    [([0.0, 1.0, 2.0], 0.25, 5 / 3), ([0.0, 1.0, 2.0, 0.0], 0.375, 2.0)],
)
def test_a_draw_with_as_many_elements_as_there_are_data_is_shared_by_them(
    estimator, options, repeats, batch, gradient, value
):
    program = Program(shared_by_the_batch, batch_axes=1)
    parameters = {"theta": torch.zeros(3)}
    found, objective = mean_estimate(
        program, parameters, torch.tensor(batch), estimator, options, repeats
    )
    tolerance = 1e-5 if estimator == "exact" else 0.12
    torch.testing.assert_close(found, torch.full((3,), gradient), atol=tolerance, rtol=0)
    assert abs(objective - value) < (1e-5 if estimator == "exact" else 0.25)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("estimator", ["exact", "rloo", "disarm"])
def test_so_is_one_in_a_program_that_runs_one_sample_at_a_time(estimator):
    def function(context, parameters, batch):
        z = context.sample("z", Bernoulli(logits=parameters["theta"]))
        total = sum(float(each) for each in z.flatten())
        context.cost((total - batch) ** 2)

    program = Program(function, batch_axes=1, one_sample_at_a_time=True)
    parameters = {"theta": torch.zeros(3)}
    options = {} if estimator == "exact" else {"samples": 1000}
    found, value = mean_estimate(
        program, parameters, torch.tensor([0.0, 1.0, 2.0]), estimator, options, 1
    )
    tolerance = 1e-5 if estimator == "exact" else 0.2
    torch.testing.assert_close(found, torch.full((3,), 0.25), atol=tolerance, rtol=0)
    assert abs(value - 5 / 3) < (1e-5 if estimator == "exact" else 0.3)


@pytest.mark.parametrize("family", [Bernoulli, OneHotCategorical])
def test_a_draw_for_each_datum_stays_one_where_a_parameter_has_as_many_elements(family):
    """The weight has three elements, too."""

    def function(context, parameters, batch):
        logits = batch @ parameters["theta"]
        if family is OneHotCategorical:
            logits = torch.stack([logits, torch.zeros_like(logits)], -1)
        z = context.sample("z", family(logits=logits))
        ones = z if family is Bernoulli else z[..., 0]
        context.cost(ones * batch[:, 0])

    batch = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    theta = torch.tensor([0.5, -1.0, 0.3], requires_grad=True)
    objective = ((batch @ theta).sigmoid() * batch[:, 0]).mean()
    (true,) = torch.autograd.grad(objective, theta)
    found = framework.estimate(
        Program(function, batch_axes=1), {"theta": theta.detach()}, batch, estimator="exact"
    )
    torch.testing.assert_close(found.gradients["theta"], true)
    torch.testing.assert_close(found.value, objective.item())


def regularised(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["theta"].sum()))
    context.cost(b)
    context.penalty(parameters["theta"] ** 2, "l2")


@pytest.mark.parametrize("samples", [15, 16, 17])
@pytest.mark.parametrize(
    "estimator", ["rloo", "reinforce", "disarm", "arm", "measure_valued", "rebar", "relax"]
)
def test_a_penalty_of_parameters_is_summed_whatever_n_is(estimator, samples):
    parameters = {"theta": torch.ones(16)}
    found = framework.estimate(
        regularised, parameters, estimator=estimator, samples=samples, seed=0
    )
    # The coin is 1 up to a probability of 1e-7.
    torch.testing.assert_close(found.value, 17.0)
    torch.testing.assert_close(found.gradients["theta"], torch.full((16,), 2.0), atol=1e-3, rtol=0)


@pytest.mark.filterwarnings("ignore:.*draw 'b' .* is discrete.* within a small step")
def test_so_it_is_by_enumeration_and_by_numerical_estimators():
    parameters = {"theta": torch.ones(2)}
    found = framework.estimate(regularised, parameters, estimator="exact")
    torch.testing.assert_close(found.value, 2 + torch.tensor(2.0).sigmoid().item())
    found = framework.estimate(
        regularised, {"theta": torch.ones(16)}, estimator="finite_difference", samples=16, seed=0
    )
    torch.testing.assert_close(found.value, 17.0)
    torch.testing.assert_close(found.gradients["theta"], torch.full((16,), 2.0), atol=1e-2, rtol=0)


def test_a_penalty_with_a_batch_of_its_length_is_summed_too():
    def function(context, parameters, batch):
        context.cost(batch)
        context.penalty(parameters["theta"] ** 2, "l2")

    program = Program(function, batch_axes=1)
    found = framework.estimate(
        program, {"theta": torch.ones(4)}, torch.zeros(4), estimator="rloo", samples=7
    )
    assert found.value == 4.0
    assert torch.equal(found.gradients["theta"], torch.full((4,), 2.0))


def test_a_cost_of_as_many_elements_as_there_are_data_is_summed():
    """Each of three coins has a price; the batch holds three data."""

    def function(context, parameters, batch):
        z = context.sample("z", Bernoulli(logits=parameters["theta"]))
        context.cost(z * torch.tensor([1.0, 2.0, 3.0]))
        context.cost(batch * parameters["theta"].sum(), "datum")

    found = framework.estimate(
        Program(function, batch_axes=1),
        {"theta": torch.zeros(3)},
        torch.tensor([0.0, 1.0, 2.0]),
        estimator="exact",
    )
    torch.testing.assert_close(found.value, 3.0)
    torch.testing.assert_close(found.gradients["theta"], torch.tensor([1.25, 1.5, 1.75]))


@pytest.mark.parametrize("samples", [16, 17])
def test_a_cost_with_neither_axis_is_refused_also_where_n_is_its_length(samples):
    def function(context, parameters, batch):
        b = context.sample("b", Bernoulli(logits=parameters["theta"].sum()))
        context.cost(b)
        context.cost(parameters["theta"] ** 2, "decay")

    with pytest.raises(ProgramError, match=r"cost 'decay' has shape \[16\]; expected a scalar or"):
        framework.estimate(
            function, {"theta": torch.ones(16)}, estimator="rloo", samples=samples, seed=0
        )


def one_row_a_sample(context, parameters, batch):
    """The first draw's parameters are looked up for each sample."""
    state = torch.zeros(context.samples, dtype=torch.long)
    first = context.sample("first", Bernoulli(logits=parameters["theta"][state]))
    assert first.shape == (context.samples,)
    second = context.sample("second", Bernoulli(logits=parameters["theta"][first.long()]))
    context.cost(first + 2 * second)


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        ("exact", {}),
        ("rloo", {"samples": 20000}),
        ("reinforce", {"samples": 20000}),
        ("disarm", {"samples": 20000}),
        ("measure_valued", {"samples": 20000}),
    ],
)
def test_a_first_draw_with_one_row_for_each_sample_is_not_repeated(estimator, options):
    theta = torch.tensor([0.3, 1.0], requires_grad=True)
    p, q = theta.sigmoid()
    objective = p + 2 * ((1 - p) * p + p * q)
    (true,) = torch.autograd.grad(objective, theta)
    found = framework.estimate(
        one_row_a_sample, {"theta": theta.detach()}, estimator=estimator, seed=0, **options
    )
    tolerance = 1e-5 if estimator == "exact" else 0.05
    torch.testing.assert_close(found.gradients["theta"], true, atol=tolerance, rtol=0)


@pytest.mark.parametrize("estimator", ["rloo", "reinforce", "measure_valued"])
def test_a_first_categorical_draw_with_one_row_for_each_sample(estimator):
    def function(context, parameters, batch):
        rows = parameters["theta"][torch.zeros(context.samples, dtype=torch.long)]
        context.cost(context.sample("k", Categorical(logits=rows)).float())

    found = framework.estimate(
        function, {"theta": torch.zeros(3, 2)}, estimator=estimator, samples=8, seed=0
    )
    assert 0 <= found.value <= 1
    assert torch.equal(found.gradients["theta"][1:], torch.zeros(2, 2))


def calls_of(function, batch=None, samples=4, parameters=None, **axes):
    """The numbers of samples of each run of a program."""
    calls = []

    def counting(context: Context, parameters, batch):
        calls.append(context.samples)
        function(context, parameters, batch)

    program = Program(counting, **axes)
    for _ in range(2):
        program.run(lambda site: PLAIN, parameters or {}, batch, samples=samples)
    return calls


def test_a_probing_run_takes_place_once_with_data_and_else_only_where_sizes_coincide():
    theta = {"theta": torch.zeros(3)}
    three, five = torch.zeros(3), torch.zeros(5)
    assert calls_of(shared_by_the_batch, three, 8, theta, batch_axes=1) == [8, 11, 8]
    assert calls_of(shared_by_the_batch, five[:1], 8, theta, batch_axes=1) == [8, 8]
    assert calls_of(regularised, None, 3, theta) == [3, 7, 3]
    assert calls_of(regularised, None, 4, theta) == [4, 4]


def test_declared_axes_spare_the_probing_run():
    def function(context, parameters, batch):
        z = context.sample("z", Bernoulli(logits=parameters["theta"]), per_datum=False)
        context.cost((z.sum(-1, keepdim=True) - batch) ** 2, per_datum=True)
        context.penalty(parameters["theta"] ** 2, "l2", per_sample=False, per_datum=False)

    theta = {"theta": torch.zeros(3)}
    assert calls_of(function, torch.zeros(3), 8, theta, batch_axes=1) == [8, 8]
    found = framework.estimate(
        Program(function, batch_axes=1), theta, torch.tensor([0.0, 1.0, 2.0]), estimator="exact"
    )
    torch.testing.assert_close(found.value, 5 / 3)


def test_the_probing_run_leaves_the_random_streams_as_they_were():
    program = Program(shared_by_the_batch, batch_axes=1)
    values = []
    for _ in range(2):
        torch.manual_seed(3)
        (trace,) = program.run(
            lambda site: PLAIN, {"theta": torch.zeros(3)}, torch.zeros(3), samples=5
        )
        values.append(trace.draws[0].value)
    assert torch.equal(*values)


def test_the_probing_run_lengthens_every_tensor_of_the_batch():
    sizes = []

    def function(context, parameters, batch):
        sizes.append({len(value) for value in batch.values()})
        z = context.sample("z", Bernoulli(logits=parameters["theta"]))
        context.cost((z.sum(-1, keepdim=True) - batch["x"]) ** 2 + batch["y"].sum(-1))

    batch = {"x": torch.zeros(3), "y": torch.zeros(3, 2)}
    calls_of(function, batch, 8, {"theta": torch.zeros(3)}, batch_axes=1)
    assert sizes == [{3}, {7}, {3}]


def test_parameters_of_one_datum_each_follow_the_batch_and_shared_ones_do_not():
    """Full-batch inference: a parameter for each of three data beside one of three elements that all data share."""

    def function(context, parameters, batch):
        local = context.sample("local", Bernoulli(logits=parameters["local"] * batch))
        shared = context.sample("shared", Bernoulli(logits=parameters["shared"]))
        context.cost(local + shared.sum(-1, keepdim=True))

    batch = torch.tensor([1.0, 2.0, -1.0])
    parameters = {"local": torch.ones(3), "shared": torch.zeros(3)}
    found = framework.estimate(
        Program(function, batch_axes=1), parameters, batch, estimator="exact"
    )
    p = batch.sigmoid()
    torch.testing.assert_close(found.value, (p.mean() + 1.5).item())
    torch.testing.assert_close(found.gradients["local"], p * (1 - p) * batch / 3)
    torch.testing.assert_close(found.gradients["shared"], torch.full((3,), 0.25))


def test_numbers_written_in_the_program_are_asked_about_where_there_are_as_many_data():
    """Three elements that no parameter and no tensor of the batch tells of, beside three data."""

    def function(context, parameters, batch, **axes):
        z = context.sample("z", Normal(parameters["mean"] + torch.zeros(3), 1.0), **axes)
        context.cost(z, **axes)

    mean = {"mean": torch.ones(())}

    def estimate(data, **axes):
        program = Program(partial(function, **axes), batch_axes=1)
        return framework.estimate(
            program, mean, torch.zeros(data), estimator="reparameterisation", samples=8
        )

    torch.testing.assert_close(estimate(4).gradients["mean"], torch.tensor(3.0))
    with pytest.raises(ProgramError, match=r"draw 'z' has shape \[3\].*per_datum=False"):
        estimate(3)
    torch.testing.assert_close(estimate(3, per_datum=False).gradients["mean"], torch.tensor(3.0))
    torch.testing.assert_close(estimate(3, per_datum=True).gradients["mean"], torch.tensor(1.0))


def test_a_program_that_cannot_be_probed_keeps_the_axes_that_nothing_contradicts():
    weights = torch.tensor([1.0, 2.0, 3.0])

    def function(context, parameters, batch):
        x = context.sample("x", Normal(parameters["mean"] * weights, 1.0))
        context.cost(x * batch)

    program = Program(function, batch_axes=1)
    found = framework.estimate(
        program,
        {"mean": torch.ones(())},
        torch.tensor([1.0, 0.0, 2.0]),
        estimator="reparameterisation",
        samples=64,
    )
    torch.testing.assert_close(found.gradients["mean"], torch.tensor(7 / 3))


def test_a_probing_run_leaves_running_statistics_and_the_recorded_graph_as_they_were():
    model = torch.nn.BatchNorm1d(3)
    steps = []

    class Normalised(framework.Task):
        batch_axes = 1

        def __init__(self):
            self.model = model

        def batches(self, *args, **kwargs):
            raise NotImplementedError

        def evaluate(self, *args, **kwargs):
            raise NotImplementedError

        def objective(self, context, batch):
            steps.append(context.samples)
            mean = self.model(batch)
            context.sample("x", Normal(mean, 1.0))
            context.cost(mean**2)

    task = Normalised()
    batch = torch.arange(12.0).reshape(4, 3)
    program = task.as_program(task.objective)
    (trace,) = program.run(lambda site: PLAIN, task.parameters, batch, samples=4)
    trace.objective().backward()
    assert steps == [4, 7]
    assert model.num_batches_tracked == 1
    torch.testing.assert_close(model.running_mean, 0.1 * batch.mean(0))
    assert model.weight.grad is not None


def test_a_program_that_runs_with_no_other_sizes_is_asked_for_its_axes():
    fixed = torch.tensor([0.0, 1.0, 2.0])

    def function(context, parameters, batch):
        z = context.sample("z", Bernoulli(logits=parameters["theta"]))
        context.cost(z.sum(-1, keepdim=True) - batch - fixed)

    program = Program(function, batch_axes=1)
    with pytest.raises(ProgramError, match=r"draw 'z' has shape \[3\].*per_datum=False"):
        framework.estimate(program, {"theta": torch.zeros(3)}, fixed, estimator="exact")


def test_declared_axes_that_a_shape_does_not_have_are_refused():
    def function(context, parameters, batch):
        z = context.sample("z", Normal(parameters["theta"], 1.0))
        context.cost(z, "price", per_datum=True)

    program = Program(function, batch_axes=1)
    with pytest.raises(
        ProgramError,
        match=r"cost 'price': per_datum=True, but its shape \[5, 2\] does not begin with the batch \[3\]",
    ):
        framework.estimate(
            program, {"theta": torch.zeros(2)}, torch.zeros(3), estimator="rloo", samples=5
        )


def test_an_axis_of_two_elements_inside_the_program_is_not_taken_for_a_probing_run_s_samples():
    """Beside one sample, the next number of samples is 2: as many as there are coins in the first draw."""

    def function(context, parameters, batch):
        a, b = parameters["theta"].unbind()
        first = context.sample("first", Bernoulli(logits=torch.stack([a, b])))
        second = context.sample("second", Bernoulli(logits=first.sum(-1) - 1))
        context.cost(second)

    found = framework.estimate(function, {"theta": torch.zeros(2)}, estimator="exact")
    # first.sum is 0, 1 or 2 with 1/4, 1/2, 1/4
    torch.testing.assert_close(found.value, 0.5)


def test_the_axes_that_a_shape_can_have():
    assert candidates((3, 4), (3, 4)) == (
        ALL,
        SAMPLES,
        NONE,
    )
    assert candidates((4,), (3, 4)) == (
        DATA,
        NONE,
    )
    assert candidates((4, 4), (4, 4)) == (
        ALL,
        SAMPLES,
        DATA,
        NONE,
    )
    assert candidates((5,), (3, 4)) == (NONE,)
    assert candidates((3, 2), (3,)) == (
        ALL,
        NONE,
    )
