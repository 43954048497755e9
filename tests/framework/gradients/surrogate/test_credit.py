"""Each cost is charged to the draws, and to the elements of draws, that it was made from."""

from __future__ import annotations

import warnings
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal, OneHotCategorical
from torch.nn.functional import binary_cross_entropy_with_logits

import framework
from framework.gradients.registered import make_estimator
from framework.gradients.surrogate.credit import relations_of
from framework.gradients.surrogate.dice import surrogate
from framework.gradients.surrogate.elementwise import elementwise_surrogate
from framework.program import Program
from tests.framework.gradients.layered import exact_gradient, gradients

WEIGHTS = torch.tensor([1.0, -2.0, 0.5])
DATA = torch.tensor([[0.3, -1.0, 0.2], [1.0, 0.4, -0.6], [-0.7, 0.0, 0.9]])


def elements(context, p, batch):
    """A negative ELBO of independent latents."""
    q = Bernoulli(logits=p["a"])
    z = context.sample("z", q)
    context.cost(q.log_prob(z) - Bernoulli(logits=WEIGHTS).log_prob(z) + (z - 0.3) ** 2)


def independent(context, p, batch):
    """The elements are declared to be one event, and are independent all the same."""
    z = context.sample("z", Independent(Bernoulli(logits=p["a"]), 1))
    context.cost((z - 0.3) ** 2 * WEIGHTS)


def with_a_sum(context, p, batch):
    """A cost of each element, one of all together, and one of none."""
    z = context.sample("z", Bernoulli(logits=p["a"]))
    context.cost((z - WEIGHTS) ** 2)
    context.cost(z.sum(-1) ** 2 * p["b"][0], "together")
    context.cost(p["b"].square().sum(), "none")
    context.penalty(p["a"].sum() ** 2, "weights")


def layers(context, p, batch):
    """Each element depends on the same element of the layer before."""
    x = context.sample("x", Bernoulli(logits=p["a"]))
    context.cost(3 * x * WEIGHTS, "early")
    y = context.sample("y", Bernoulli(logits=x * p["b"] - 0.2))
    context.cost((x - 2 * y + WEIGHTS) ** 2, "late")


def mixing_layers(context, p, batch):
    """The second layer's elements depend on all of the first, its costs are of each element."""
    x = context.sample("x", Bernoulli(logits=p["a"]))
    y = context.sample("y", Bernoulli(logits=x.sum(-1, keepdim=True) * p["b"]))
    context.cost(x * WEIGHTS, "first")
    context.cost((y - WEIGHTS) ** 2, "second")


def two_sites(context, p, batch):
    """Two draws that do not know of each other, a cost of each and one of both."""
    x = context.sample("x", Bernoulli(logits=p["a"]))
    y = context.sample("y", Bernoulli(logits=p["b"]))
    context.cost((x - 0.2) ** 2 * WEIGHTS, "of x")
    context.cost((y + WEIGHTS) ** 2, "of y")
    context.cost(x * y * WEIGHTS, "of both")


def two_scalars(context, p, batch):
    """Draws without elements."""
    x = context.sample("x", Bernoulli(logits=p["a"][0]))
    y = context.sample("y", Bernoulli(logits=p["b"][0]))
    context.cost(5 * x, "of x")
    context.cost(y * p["b"][1], "of y")


def crossed(context, p, batch):
    """A matrix of draws with costs of its rows and of its columns."""
    x = context.sample("x", Bernoulli(logits=p["a"][:2, None] + p["b"][:2]))
    context.cost(x.sum(-1) ** 2, "rows")
    context.cost(x.sum(-2) ** 2 * 0.7, "columns")


def outer(context, p, batch):
    """A cost of each pair."""
    x = context.sample("x", Bernoulli(logits=p["a"][:2]))
    y = context.sample("y", Bernoulli(logits=p["b"][:2]))
    context.cost((x.unsqueeze(2) - 0.3 * y.unsqueeze(1)) ** 2 * torch.tensor([[1.0, 2], [3, -1]]))


def categories(context, p, batch):
    """Letters whose alternatives are one event; a network reads each letter by itself."""
    z = context.sample("z", OneHotCategorical(logits=torch.stack([p["a"], p["b"]])))
    context.cost((z @ WEIGHTS.reshape(3, 1)).tanh().squeeze(-1) * torch.tensor([1.0, -3.0]))


def indices(context, p, batch):
    z = context.sample("z", Categorical(logits=torch.stack([p["a"], p["b"]])))
    context.cost(WEIGHTS[z] * torch.tensor([1.0, 2.0]))


def data(context, p, batch):
    """A batch axis, a draw that all data share, and a summed cost besides."""
    shared = context.sample("shared", Bernoulli(logits=p["b"][:2]))
    z = context.sample("z", Bernoulli(logits=p["a"][:2] * batch[:, :2]))
    context.cost(
        binary_cross_entropy_with_logits(z * 0.4, batch[:, :2].expand_as(z), reduction="none")
    )
    context.cost((z * batch[:, 1:] - shared.unsqueeze(1)) ** 2, "both")
    context.cost(z.sum(-1) * batch[:, 0], "together")


PROGRAMS = {
    "elements": (elements, 0, [{0: (0,)}]),
    "independent": (independent, 0, [{0: (0,)}]),
    "with_a_sum": (with_a_sum, 0, [{0: (0,)}, {0: (None,)}, {}]),
    "layers": (layers, 0, [{0: (0,)}, {0: (0,), 1: (0,)}]),
    "mixing_layers": (mixing_layers, 0, [{0: (0,)}, {0: (None,), 1: (0,)}]),
    "two_sites": (two_sites, 0, [{0: (0,)}, {1: (0,)}, {0: (0,), 1: (0,)}]),
    "two_scalars": (two_scalars, 0, [{0: ()}, {1: ()}]),
    "crossed": (crossed, 0, [{0: (0, None)}, {0: (None, 0)}]),
    "outer": (outer, 0, [{0: (0,), 1: (1,)}]),
    "categories": (categories, 0, [{0: (0,)}]),
    "indices": (indices, 0, [{0: (0,)}]),
    "data": (data, 1, [{1: (0,)}, {0: (0,), 1: (0,)}, {1: (None,)}]),
}


def parameters() -> dict[str, Tensor]:
    return {
        "a": torch.tensor([0.3, -0.8, 0.5], requires_grad=True),
        "b": torch.tensor([-0.4, 0.9, 0.1], requires_grad=True),
    }


def problem(name: str):
    function, axes, _ = PROGRAMS[name]
    return Program(function, batch_axes=axes), parameters(), DATA if axes else None


def detached(name: str):
    program, leaves, batch = problem(name)
    return program, {key: leaf.detach() for key, leaf in leaves.items()}, batch


class Given:
    """The rule that takes one of all joint values."""

    name = "given"
    scored = True
    biased = relaxed = False

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}
        self.chosen: dict[str, int] = {}

    def draw(self, site, distribution, shape):
        sample = distribution.sample(shape)
        if site not in self.values:
            self.values[site] = list(all_values(distribution, sample.shape))
        return self.values[site][self.chosen.get(site, 0)]


def all_values(distribution, shape):
    """All joint values of a draw's elements."""
    single = distribution.base_dist if isinstance(distribution, Independent) else distribution
    support = single.enumerate_support(expand=False)
    values = support.reshape(len(support), *single.event_shape)
    count = shape[: len(shape) - len(single.event_shape)].numel()
    for choice in product(range(len(values)), repeat=count):
        yield values[list(choice)].reshape(shape)


def proved(name: str, samples: int = 2):
    program, leaves, batch = problem(name)
    rules = make_estimator("rloo", samples).rules  # type: ignore[attr-defined]
    trace = program.run(rules, leaves, batch, samples=samples)[0]
    return relations_of(program, trace, rules, leaves, batch)


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_cost_is_made_from_is_found(name):
    assert list(proved(name)) == PROGRAMS[name][2]


def expected(name: str, derivative):
    """The exact expectation of a derivative of the surrogate without baseline, over all joint values of the draws."""
    program, leaves, batch = problem(name)
    relations, rule = proved(name), Given()
    program.run(lambda site: rule, leaves, batch)
    total, probability = 0, 0.0
    counts = [range(len(values)) for values in rule.values.values()]
    for chosen in product(*counts):
        rule.chosen = dict(zip(rule.values, chosen, strict=True))
        trace = program.run(lambda site: rule, leaves, batch)[0]
        log_prob = [d.distribution.log_prob(d.value).sum() for d in trace.draws]
        weight = torch.stack(log_prob).sum().exp().item()
        probability += weight
        total = total + weight * derivative(elementwise_surrogate(trace, relations, None), leaves)
    assert probability == pytest.approx(1, abs=1e-5)
    return total


def gradient(loss: Tensor, leaves: dict[str, Tensor]) -> Tensor:
    found = torch.autograd.grad(
        loss, list(leaves.values()), create_graph=True, materialize_grads=True
    )
    return torch.cat(found)


def hessian(loss: Tensor, leaves: dict[str, Tensor]) -> Tensor:
    rows = gradient(loss, leaves)
    return torch.stack(
        [gradient(row, leaves) if row.requires_grad else torch.zeros(len(rows)) for row in rows]
    ).detach()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_expectation_of_the_gradient_is_exact(name):
    program, leaves, batch = problem(name)
    truth = exact_gradient((program, leaves, batch))
    found = expected(name, gradient).detach()
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["elements", "with_a_sum", "layers", "two_sites", "crossed", "outer"]
)
def test_the_expectation_of_second_derivatives_is_exact(name):
    program, leaves, batch = problem(name)
    loss = framework.surrogate(program, leaves, batch, estimator="exact")
    found = expected(name, hessian)
    torch.testing.assert_close(found, hessian(loss, leaves), atol=1e-4, rtol=1e-4)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("estimator", ["rloo", "reinforce"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_estimates_are_unbiased_and_vary_less_than_with_all_costs_charged(
    name, estimator, monkeypatch
):
    program, leaves, batch = problem(name)
    truth = exact_gradient((program, leaves, batch))
    found = gradients(make_estimator(estimator, 64), detached(name), repeats=100)
    difference = (found.mean(0) - truth).abs()
    error = found.std(0) / len(found) ** 0.5
    assert ((difference < 1e-5) | (difference < 4 * error)).all()
    monkeypatch.setattr("framework.gradients.surrogate.sampled.relations_of", lambda *all: None)
    before = gradients(make_estimator(estimator, 64), detached(name), repeats=100)
    assert found.var(0).sum() < before.var(0).sum()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("baseline", ["none", "learned", "moving_average"])
@pytest.mark.parametrize("name", ["elements", "data", "layers"])
def test_every_baseline_serves_elements(name, baseline):
    program, leaves, batch = problem(name)
    truth = exact_gradient((program, leaves, batch))
    estimator = make_estimator("reinforce", 64, {"baseline": baseline})
    found = gradients(estimator, detached(name), repeats=75)
    difference, error = (found.mean(0) - truth).abs(), found.std(0) / len(found) ** 0.5
    assert ((difference < 1e-5) | (difference < 4 * error)).all()


def test_ten_thousand_elements_are_kept_apart_by_few_variables():
    def program(context, p, batch):
        z = context.sample("z", Bernoulli(logits=p["a"]))
        context.cost((z - 0.3) ** 2)
        context.cost(z[:, 1:] * z[:, :-1], "neighbours")

    leaves, estimator = {"a": torch.zeros(10_000)}, make_estimator("rloo", 8)
    trace = Program(program).run(estimator.rules, leaves, samples=8)[0]  # type: ignore[attr-defined]
    found = relations_of(Program(program), trace, estimator.rules, leaves, None)  # type: ignore[attr-defined]
    assert found == ({0: (0,)}, {0: (None,)})


def test_leave_one_out_of_each_element_is_what_one_writes_by_hand():
    program, leaves, _ = problem("elements")
    torch.manual_seed(3)
    make_estimator("rloo", 32).backward(program, leaves)
    by_hand = leaves["a"].detach().clone().requires_grad_()
    torch.manual_seed(3)
    q = Bernoulli(logits=by_hand)
    z = q.sample((32,))
    log_prob = q.log_prob(z)
    cost = log_prob - Bernoulli(logits=WEIGHTS).log_prob(z) + (z - 0.3) ** 2
    others = (cost.sum(0) - cost) / 31
    ((cost - others).detach() * log_prob + cost).sum(-1).mean().backward()
    torch.testing.assert_close(leaves["a"].grad, by_hand.grad)


def test_independent_draws_are_charged_as_one_would_by_hand():
    program, leaves, _ = problem("two_scalars")
    torch.manual_seed(4)
    make_estimator("rloo", 32).backward(program, leaves)
    a = leaves["a"].detach().clone().requires_grad_()
    b = leaves["b"].detach().clone().requires_grad_()
    torch.manual_seed(4)
    total = torch.zeros(())
    for parameter, cost_of in ((a, lambda x: 5 * x), (b, lambda y: y * b[1])):
        q = Bernoulli(logits=parameter[0])
        drawn = q.sample((32,))
        cost = cost_of(drawn)
        others = (cost.sum(0) - cost) / 31
        total = total + ((cost - others).detach() * q.log_prob(drawn) + cost).mean()
    total.backward()
    torch.testing.assert_close(leaves["a"].grad, a.grad)
    torch.testing.assert_close(leaves["b"].grad, b.grad)


def test_a_scored_draw_after_one_with_a_path_is_charged_with_its_own_costs():
    """The path's draw has a cost of its own, which the other is not charged with."""

    def program(context, p, batch):
        x = context.sample("x", Normal(p["mean"], 1.0))
        z = context.sample("z", Bernoulli(logits=x))
        context.cost((x - 2) ** 2, "of x")
        context.cost(z * WEIGHTS, "of z")

    leaves = {"mean": torch.tensor([0.1, 0.5, -0.3], requires_grad=True)}
    estimator = make_estimator("rloo", 64, {"sites": {"x": "reparameterisation"}})
    trace = Program(program).run(estimator.rules, leaves, samples=4)[0]  # type: ignore[attr-defined]
    found = relations_of(Program(program), trace, estimator.rules, leaves, None)  # type: ignore[attr-defined]
    assert list(found) == [{}, {0: (0,)}]  # type: ignore[arg-type]
    torch.manual_seed(0)
    means = []  # type: ignore[var-annotated]
    for _ in range(100):
        leaves["mean"].grad = None
        estimator.backward(Program(program), leaves)
        means.append(leaves["mean"].grad)
    samples = torch.stack(means)
    nodes = torch.linspace(-8, 8, 4001)
    weights = torch.exp(-(nodes**2) / 2)
    x = leaves["mean"].detach().unsqueeze(1) + nodes
    slope = (x.sigmoid() * (1 - x.sigmoid()) * weights).sum(1) / weights.sum()
    truth = 2 * (leaves["mean"].detach() - 2) + WEIGHTS * slope
    error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - truth).abs() < 4 * error).all()


def test_the_run_that_proves_it_leaves_the_random_streams_as_they_were():
    program, leaves, _ = problem("layers")
    estimator = make_estimator("rloo", 8)
    found = []
    for _ in range(2):
        leaves["a"].grad = None
        torch.manual_seed(5)
        estimator.backward(program, leaves)
        found.append((leaves["a"].grad, torch.rand(())))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def branching(context, p, batch):
    z = context.sample("z", Bernoulli(logits=p["a"]))
    context.cost(z if z.mean() > 0.5 else z.flip(-1))


def by_a_parameter(context, p, batch):
    z = context.sample("z", Bernoulli(logits=p["a"]))
    context.cost(z if p["b"][0] > 0 else z.flip(-1))


def by_numpy(context, p, batch):
    z = context.sample("z", Bernoulli(logits=p["a"]))
    context.cost(torch.from_numpy(z.numpy()[:, ::-1].copy()))


def masked(context, p, batch):
    z = context.sample("z", Bernoulli(logits=p["a"]))
    context.cost(torch.ones(context.samples, 3) * z[z > 0].sum())


@pytest.mark.parametrize("function", [branching, by_a_parameter, by_numpy, masked])
def test_where_nothing_is_proved_all_costs_are_charged(function):
    program, leaves = Program(function), parameters()
    estimator = make_estimator("rloo", 8)
    trace = program.run(estimator.rules, leaves, samples=8)[0]  # type: ignore[attr-defined]
    assert relations_of(program, trace, estimator.rules, leaves, None) is None  # type: ignore[attr-defined]
    torch.manual_seed(1)
    loss, _ = estimator.surrogate(program, leaves)
    torch.manual_seed(1)
    trace = program.run(estimator.rules, leaves, samples=8)[0]  # type: ignore[attr-defined]
    assert torch.equal(loss, surrogate([trace], estimator.baseline))  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["closure", "batch"])
def test_a_switch_in_python_is_another_program(where):
    together = False

    def program(context, p, batch):
        z = context.sample("z", Bernoulli(logits=p["a"]))
        switched = together if batch is None else batch["together"]
        context.cost(z * z.sum(-1, keepdim=True) if switched else z * WEIGHTS)

    leaves, estimator = parameters(), make_estimator("rloo", 8)
    found = []
    for switched in (False, True, False):
        together = switched
        batch = None if where == "closure" else {"together": switched}
        trace = Program(program).run(estimator.rules, leaves, batch, samples=8)[0]  # type: ignore[attr-defined]
        found.append(relations_of(Program(program), trace, estimator.rules, leaves, batch))  # type: ignore[attr-defined]
    assert found == [({0: (0,)},), None, ({0: (0,)},)]


def test_a_program_that_has_become_another_one_is_reported_and_charged_in_full():
    calls = []  # type: ignore[var-annotated]

    def program(context, p, batch):
        z = context.sample("z", Bernoulli(logits=p["a"]))
        context.cost(z * z.sum(-1, keepdim=True) if len(calls) > 4 else z * WEIGHTS)

    leaves, estimator, written = parameters(), make_estimator("rloo", 8), Program(program)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(16):
            calls.append(1)
            estimator.backward(written, leaves)
    messages = [str(w.message) for w in caught if "depend on other draws" in str(w.message)]
    assert len(messages) == 1
    trace = written.run(estimator.rules, leaves, samples=8)[0]  # type: ignore[attr-defined]
    assert relations_of(written, trace, estimator.rules, leaves, None) is None  # type: ignore[attr-defined]


def test_running_statistics_count_no_run_more():
    norm = torch.nn.BatchNorm1d(3)

    def program(context, p, batch):
        z = context.sample("z", Bernoulli(logits=p["a"]))
        context.cost(norm(z))

    make_estimator("rloo", 8).backward(Program(program), parameters())
    assert norm.num_batches_tracked == 1


def test_a_program_whose_costs_are_made_from_no_draw_has_gradient_0():
    def program(context, p, batch):
        context.sample("z", Bernoulli(logits=p["a"]))
        context.sample("y", Bernoulli(logits=p["b"]))
        context.cost(torch.full((context.samples,), 7.0))

    found = framework.estimate(program, parameters(), estimator="reinforce", baseline="none")
    assert found.value == 7
    assert found.gradients["a"].eq(0).all()


def unfollowed(context, p, batch, *, elementwise=()):
    """A cost of each element that leaves torch, so that no run can show what it is made from."""
    z = context.sample("z", Bernoulli(logits=p["a"]))
    outside = torch.from_numpy((z.numpy() - 0.3) ** 2)
    context.cost(outside * WEIGHTS, elementwise=elementwise)


def test_what_cannot_be_followed_may_be_declared_element_by_element():
    parameters = {"a": torch.tensor([0.4, -0.3, 0.8])}
    truth = exact_gradient((Program(elements_outside), parameters, None))
    variances = []
    for declared in ((), ("z",)):
        problem = Program(partial(unfollowed, elementwise=declared)), parameters, None
        found = gradients(make_estimator("rloo", 64), problem, 100)
        assert ((found.mean(0) - truth).abs() < 4 * found.std(0) / 10).all()
        variances.append(float(found.var(0).sum()))
    # Each element's own variance, without the other two's costs.
    assert variances[1] < 0.4 * variances[0]


def elements_outside(context, p, batch):
    z = context.sample("z", Bernoulli(logits=p["a"]))
    context.cost((z - 0.3) ** 2 * WEIGHTS)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("zz", "cost 'cost': elementwise names no draw 'zz'; did you mean 'z'?"),
        ("y", "cost 'cost' has the elements [3], and draw 'y' []: elementwise needs as many"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(named, expected):
    def program(context, p, batch):
        context.sample("y", Bernoulli(logits=p["a"][0]))
        z = context.sample("z", Bernoulli(logits=p["a"]))
        context.cost(z * WEIGHTS, elementwise=[named])

    with pytest.raises(framework.ProgramError) as error:
        framework.estimate(program, {"a": torch.zeros(3)}, estimator="rloo")
    assert str(error.value) == expected
