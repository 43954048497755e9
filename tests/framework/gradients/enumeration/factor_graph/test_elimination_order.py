"""`exact` where draws are summed out one by one: chains, trees and plates far beyond enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Independent,
    Normal,
    OneHotCategorical,
)
from torch.nn.functional import one_hot

from framework.errors import ProgramError
from framework.gradients.estimate import estimate, surrogate
from framework.program import Program

LENGTH = 100


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def derivatives(loss, leaves):
    return torch.autograd.grad(loss, list(leaves.values()))


def leaves_of(parameters):
    return {name: value.clone().requires_grad_() for name, value in parameters.items()}


def both(function, parameters, batch=None, **axes):
    """Value and gradients by elimination and by enumeration."""
    return [
        estimate(
            Program(function, **axes),
            parameters,
            batch,
            estimator="exact",
            method=method,
            states=2**15,
        )
        for method in ("eliminate", "enumerate")
    ]


def assert_same(function, parameters, batch=None, *, tolerance=1e-5, penalised=False, **axes):
    eliminated, enumerated = both(function, parameters, batch, **axes)
    assert eliminated.biased == enumerated.biased == penalised
    assert eliminated.value == pytest.approx(enumerated.value, rel=tolerance, abs=tolerance)
    for name, gradient in enumerated.gradients.items():
        torch.testing.assert_close(
            eliminated.gradients[name], gradient, rtol=tolerance, atol=tolerance
        )
    return eliminated


def chain(length: int = LENGTH):
    """A Markov chain of coins, each charged by itself and its predecessor; and its expected cost by hand."""
    weights = normal(length, seed=1)

    def program(context, parameters, batch):
        theta, previous = parameters["theta"], torch.zeros(context.samples)
        for step in range(length):
            logits = theta[step][previous.long()]
            coin = context.sample(f"coin/{step}", Bernoulli(logits=logits))
            context.cost(weights[step] * (coin - 0.5 * previous) ** 2)
            previous = coin

    def objective(theta):
        chance = torch.tensor([1.0, 0.0], dtype=theta.dtype)
        total = torch.zeros((), dtype=theta.dtype)
        cost = torch.tensor([[0.0, 1.0], [0.25, 0.25]], dtype=theta.dtype)
        for step in range(length):
            heads = theta[step].sigmoid()
            joint = chance.unsqueeze(1) * torch.stack([1 - heads, heads], 1)
            total = total + weights[step].to(theta.dtype) * (joint * cost).sum()
            chance = joint.sum(0)
        return total

    return program, objective


def test_a_chain_of_a_hundred_coins_has_the_value_and_gradient_of_the_forward_recursion():
    program, objective = chain()
    theta = normal(LENGTH, 2)
    found = estimate(program, {"theta": theta}, estimator="exact")
    true = theta.double().requires_grad_()
    value = objective(true)
    (gradient,) = torch.autograd.grad(value, true)
    assert not found.biased
    assert found.evaluations < 100
    assert found.value == pytest.approx(value.item(), abs=1e-5)
    torch.testing.assert_close(found.gradients["theta"].double(), gradient, rtol=1e-4, atol=1e-6)


def test_second_derivatives_along_the_chain_are_exact():
    program, objective = chain(30)
    theta = normal(30, 2).double().requires_grad_()

    def second(loss):
        (slope,) = torch.autograd.grad(loss, theta, create_graph=True)
        return torch.autograd.grad(slope[3, 1] + 2 * slope[20, 0], theta)[0]

    ours = second(surrogate(program, {"theta": theta}, estimator="exact"))
    torch.testing.assert_close(ours, second(objective(theta)), rtol=1e-4, atol=1e-7)
    assert ours.abs().max() > 1e-3


def test_a_tree_of_draws_is_summed_out_from_its_leaves():
    """Each of 63 nodes is of three kinds, chosen by its parent's; a pair of siblings is charged together."""
    tables, price = normal(63, 3, 3, seed=2), normal(3, 3, 3, seed=3)

    def program(context, parameters, batch):
        logits, kinds = parameters["logits"], []  # type: ignore[var-annotated]
        for node in range(63):
            parent = kinds[(node - 1) // 2] if node else torch.zeros(context.samples).long()
            kinds.append(context.sample(f"node/{node}", Categorical(logits=logits[node][parent])))
            if node and node % 2 == 0:
                context.cost(price[parent, kinds[node - 1], kinds[node]])

    logits = tables.double().requires_grad_()
    p = logits.softmax(-1)

    def below(node: int):
        """The expected cost below a node, by its kind."""
        if 2 * node + 1 >= 63:
            return torch.zeros(3, dtype=torch.float64)
        left, right = 2 * node + 1, 2 * node + 2
        costs = price.double() + below(left)[None, :, None] + below(right)[None, None, :]
        return torch.einsum("kl,kr,klr->k", p[left], p[right], costs)

    value = p[0][0] @ below(0)
    (gradient,) = torch.autograd.grad(value, logits)
    found = estimate(program, {"logits": tables}, estimator="exact")
    assert found.value == pytest.approx(value.item(), abs=1e-4)
    torch.testing.assert_close(found.gradients["logits"].double(), gradient, rtol=1e-4, atol=1e-5)


def test_the_elements_of_a_draw_are_summed_out_alone():
    """A plate: 40 coins and, for each, a die that depends on it alone; each datum has its own."""
    price, shift = normal(40, 4, seed=4), normal(40, 2, 4, seed=5)

    def program(context, parameters, batch):
        coins = context.sample("coins", Bernoulli(logits=parameters["theta"] + batch))
        chosen = torch.where(coins.bool().unsqueeze(-1), shift[:, 1], shift[:, 0])
        dice = context.sample("dice", OneHotCategorical(logits=chosen * parameters["scale"]))
        context.cost((dice * price).sum(-1) * (1 + coins))

    batch = normal(3, 40, seed=6)
    parameters = {"theta": normal(40, seed=7), "scale": torch.tensor(0.7)}
    leaves = leaves_of(parameters)
    heads = (leaves["theta"] + batch).sigmoid()
    mean = torch.einsum("ecd,ed->ec", (shift * leaves["scale"]).softmax(-1), price)
    value = ((1 - heads) * mean[:, 0] + heads * 2 * mean[:, 1]).sum(-1).mean()
    found = estimate(Program(program, 1), parameters, batch, estimator="exact")
    assert found.value == pytest.approx(value.item(), rel=1e-5)
    for name, gradient in zip(leaves, derivatives(value, leaves), strict=True):
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_an_order_of_draws_that_is_not_the_order_of_elimination():
    """Forty dice first and then their running parity: from the last draw back, all dice would be in one table."""

    def program(context, parameters, batch):
        coins = [
            context.sample(f"coin/{i}", Bernoulli(logits=parameters["theta"][i])) for i in range(40)
        ]
        parity = torch.zeros(context.samples)
        for i, coin in enumerate(coins):
            flipped = (parity + coin) % 2
            parity = context.sample(f"parity/{i}", Bernoulli(probs=0.1 + 0.8 * flipped))
        context.cost(parity)

    theta = normal(40, seed=8).double().requires_grad_()
    odd = torch.zeros((), dtype=torch.float64)
    for heads in theta.sigmoid():
        flipped = odd * (1 - heads) + (1 - odd) * heads
        odd = 0.1 + 0.8 * flipped
    (gradient,) = torch.autograd.grad(odd, theta)
    found = estimate(program, {"theta": theta.detach()}, estimator="exact")
    assert found.value == pytest.approx(odd.item(), rel=1e-5)
    torch.testing.assert_close(found.gradients["theta"], gradient, rtol=1e-6, atol=1e-12)


@st.composite
def small_programs(draw):
    """A program of up to five sites, each a function of some earlier ones, and up to three costs."""
    sites = draw(st.integers(1, 5))
    plan = []
    for number in range(sites):
        parents = (
            draw(st.lists(st.integers(0, number - 1), max_size=2, unique=True)) if number else []
        )
        plan.append((draw(st.sampled_from(KINDS)), sorted(parents), draw(st.integers(0, 99))))
    costs = [
        (
            draw(st.lists(st.integers(0, sites - 1), max_size=3, unique=True)),
            draw(st.integers(0, 99)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    return plan, costs, draw(st.booleans())


KINDS = ("coin", "die", "one-hot", "coins", "count")


def number_of(value, kind):
    """A draw as one number for each sample."""
    if kind == "one-hot":
        return value.argmax(-1)
    return value @ torch.tensor([1.0, 0.5, 0.25]) if kind == "coins" else value


def features(values, seed):
    """A number made of some draws, by products, comparisons and an index."""
    total = torch.zeros(())
    for i, value in enumerate(values):
        weight, table = normal(3, seed=seed + i), normal(4, seed=seed + i + 50)
        total = total + weight[0] * value + weight[1] * (value > 0.5) + table[value.long()]
        total = total * (1 + weight[2] * value)
    return total


def small_program(plan, costs, penalised):
    def program(context, parameters, batch):
        values = []  # type: ignore[var-annotated]
        for number, (kind, parents, seed) in enumerate(plan):
            theta = parameters["theta"][number]
            given = features([values[p] for p in parents], seed)
            if kind == "coin":
                distribution = Bernoulli(logits=theta[0] + given)
            elif kind == "die":
                distribution = Categorical(logits=theta * given.unsqueeze(-1) + theta)  # type: ignore[assignment]
            elif kind == "one-hot":
                distribution = OneHotCategorical(logits=theta.tanh() + given.unsqueeze(-1) * theta)  # type: ignore[assignment]
            elif kind == "coins":
                second = given if number % 2 else torch.zeros_like(given)
                logits = torch.stack([theta[0] + second, theta[1] - given, theta[2] * given], -1)
                distribution = Bernoulli(logits=logits)
            else:
                distribution = Binomial(2, logits=theta[1] - given)  # type: ignore[assignment]
            values.append(number_of(context.sample(f"x/{number}", distribution), kind))
            for scope, seed in costs:
                if max(scope, default=0) == number:
                    cost = features([values[s] for s in scope], seed) * (1 + theta[2] ** 2)
                    context.cost(cost)
                    if penalised:
                        context.penalty(0.1 * cost * theta[0], "penalty")

    return program


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(small_programs())
def test_elimination_is_enumeration_on_any_small_program(drawn):
    elimination_is_enumeration(drawn)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True)
@given(small_programs())
def test_elimination_is_enumeration_on_many_small_programs(drawn):
    elimination_is_enumeration(drawn)


def elimination_is_enumeration(drawn):
    plan, costs, penalised = drawn
    parameters = {"theta": normal(len(plan), 3, seed=len(costs))}
    program = small_program(plan, costs, penalised)
    reached = penalised and any(scope for scope, _ in costs)
    assert_same(program, parameters, tolerance=1e-4, penalised=reached)


def test_impossible_values_have_no_part_in_the_sum():
    """Thirty draws in pairs without replacement; the cost of an impossible pair is infinite."""

    def program(context, parameters, batch):
        for pair in range(15):
            logits = parameters["theta"][pair]
            first = context.sample(f"first/{pair}", Categorical(logits=logits))
            rest = logits.masked_fill(one_hot(first, 3).bool(), -math.inf)
            second = context.sample(f"second/{pair}", Categorical(logits=rest))
            context.cost(torch.where(first == second, math.inf, 2.0 * first + second))

    theta = normal(15, 3, seed=9).requires_grad_()
    p = theta.softmax(-1)
    value = sum(
        (p[:, i] * p[:, j] / (1 - p[:, i]) * (2 * i + j)).sum()
        for i in range(3)
        for j in range(3)
        if i != j
    )
    (gradient,) = torch.autograd.grad(value, theta)  # type: ignore[arg-type]
    found = estimate(program, {"theta": theta.detach()}, estimator="exact")
    assert found.value == pytest.approx(value.item(), rel=1e-5)  # type: ignore[union-attr]
    torch.testing.assert_close(found.gradients["theta"], gradient, rtol=1e-4, atol=1e-5)


def test_a_draw_shared_by_all_data_and_one_of_each_datum():
    def program(context, parameters, batch):
        shared = context.sample("shared", Bernoulli(logits=parameters["shared"]), per_datum=False)
        own = context.sample(
            "own", Bernoulli(logits=batch * parameters["own"] + shared.unsqueeze(1))
        )
        context.cost((own - 0.3 * shared.unsqueeze(1)) ** 2 + batch)
        context.cost(3 * shared)

    parameters = {"shared": torch.tensor(0.4), "own": torch.tensor(-0.6)}
    assert_same(program, parameters, normal(5, seed=10), batch_axes=1)


def test_smoothed_costs_and_constant_costs_are_part_of_the_sum():
    def program(context, parameters, batch):
        context.cost(parameters["theta"].square().sum())
        coins = context.sample("coins", Independent(Bernoulli(logits=parameters["theta"]), 1))
        context.cost(coins * parameters["theta"])
        context.penalty(parameters["theta"].square(), "decay")

    assert_same(program, {"theta": normal(6, seed=11)})


def coins_with(cost):
    """Twenty coins, too many to enumerate, and a cost made of them."""

    def program(context, parameters, batch):
        coins = [
            context.sample(f"coin/{i}", Bernoulli(logits=logit))
            for i, logit in enumerate(parameters["theta"])
        ]
        context.cost(cost(torch.stack(coins, -1)))

    return program


@pytest.mark.parametrize(
    ("cost", "why"),
    [
        (
            lambda coins: torch.from_numpy(coins.numpy().sum(-1)),
            "a drawn value leaves torch: numpy",
        ),
        (lambda coins: (coins - coins.mean(0)).sum(-1), "more than one sample"),
        (lambda coins: coins.prod(-1), "depends on 20 draws with 1048576 joint values"),
    ],
)
def test_what_cannot_be_eliminated_is_refused_with_the_reason(cost, why):
    with pytest.raises(ProgramError, match=r"1048576 states, more than .*" + why) as refusal:
        estimate(coins_with(cost), {"theta": torch.zeros(20)}, estimator="exact")
    assert "\n" not in str(refusal.value)
    assert "rloo" in str(refusal.value)


def test_what_few_joint_values_make_unnecessary_is_not_tried():
    def program(context, parameters, batch):
        coins = context.sample("coins", Bernoulli(logits=parameters["theta"]))
        context.cost(torch.from_numpy(coins.numpy().sum(-1)))

    found = estimate(program, {"theta": torch.zeros(4)}, estimator="exact")
    assert found.evaluations == 16
    assert found.value == pytest.approx(2.0)
    with pytest.raises(
        ProgramError, match=r"exact: its draws cannot be eliminated: a drawn .* numpy"
    ):
        estimate(program, {"theta": torch.zeros(4)}, estimator="exact", method="eliminate")


def test_enumeration_alone_refuses_a_chain():
    program, _ = chain()
    with pytest.raises(ProgramError, match=r"exact: about 10\^30 states, more than estimator"):
        estimate(program, {"theta": normal(LENGTH, 2)}, estimator="exact", method="enumerate")


def test_a_gaussian_draw_is_not_eliminated():
    def program(context, parameters, batch):
        coins = context.sample("coins", Bernoulli(logits=parameters["theta"]))
        context.cost(context.sample("x", Normal(coins.sum(-1), 1.0)))

    with pytest.raises(ProgramError, match=r"cannot be eliminated: a draw is not finite"):
        estimate(program, {"theta": torch.zeros(20)}, estimator="exact")


def counted(function):
    """A program and the numbers of samples of its runs."""
    runs = []

    def program(context, parameters, batch):
        if not context.dry_run:
            runs.append(context.samples)
        function(context, parameters, batch)

    return Program(program), runs


def test_a_program_is_probed_once_and_then_run_once_for_each_estimate():
    function, objective = chain(20)
    program, runs = counted(function)
    for seed in range(3):
        theta = normal(20, 2, seed=seed)
        found = estimate(program, {"theta": theta}, estimator="exact")
        assert found.value == pytest.approx(objective(theta).item(), abs=1e-5)
    assert len(runs) == 3 + 2


def test_that_nothing_can_be_proved_is_found_once():
    program, runs = counted(coins_with(lambda coins: coins.prod(-1)))
    for _ in range(3):
        with pytest.raises(ProgramError, match="depends on 20 draws"):
            estimate(program, {"theta": torch.zeros(20)}, estimator="exact")
    assert len(runs) == 2 + 1 + 1


def test_a_program_that_reads_a_parameter_is_probed_again():
    """Which coin the cost depends on is chosen by a parameter."""

    def function(context, parameters, batch):
        theta = parameters["theta"]
        coins = context.sample("coins", Bernoulli(logits=theta))
        context.cost(coins[..., int(theta[0] > 0)] * 2.0 + 0 * theta.sum())

    program, _ = counted(function)
    for first in (1.0, -1.0):
        theta = torch.tensor([first] + [0.4] * 19)
        found = estimate(program, {"theta": theta}, estimator="exact")
        chosen = theta[int(first > 0)].sigmoid()
        assert found.value == pytest.approx(2 * chosen.item(), rel=1e-5)


def test_a_course_that_something_outside_changes_is_noticed():
    outside = {"number": 0}

    def function(context, parameters, batch):
        coins = context.sample("coins", Bernoulli(logits=parameters["theta"]))
        context.cost(coins[..., outside["number"]] * 2.0)

    program, runs = counted(function)
    theta = torch.linspace(-1, 1, 20)
    for number in (0, 7, 7):
        outside["number"] = number
        found = estimate(program, {"theta": theta}, estimator="exact")
        assert found.value == pytest.approx(2 * theta[number].sigmoid().item(), rel=1e-5)
    # Discovery, probing and the run; the run that shows it and these again; the run.
    assert len(runs) == 3 + 4 + 1


def test_data_that_tell_what_depends_on_what_are_probed_each_time():
    """Each coin depends on the one that the data name."""

    def function(context, parameters, batch):
        coins = context.sample("coins", Bernoulli(logits=parameters["theta"]))
        context.cost((coins[..., batch] * torch.arange(1.0, 4.0)).sum(-1))

    program, theta = Program(function), torch.linspace(-1, 1, 20)
    for places in ([0, 1, 2], [19, 3, 3]):
        found = estimate(program, {"theta": theta}, torch.tensor(places), estimator="exact")
        value = sum((i + 1) * theta[place].sigmoid() for i, place in enumerate(places))
        assert found.value == pytest.approx(value.item(), rel=1e-5)  # type: ignore[union-attr]
