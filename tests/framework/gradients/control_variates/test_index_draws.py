"""REBAR on index draws: the program is given plain indices, and softly drawn ones in the relaxed run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical
from torch.nn.functional import embedding, one_hot

import framework
from framework import Context, Program, ProgramError
from framework.gradients.control_variates.rebar import rebar, relax
from framework.gradients.coupled.soft_index import SoftIndex, soft_index
from framework.gradients.registered import make_estimator
from tests.framework.gradients.layered import (
    DATA,
    LOGITS,
    Problem,
    check_unbiased,
    exact_gradient,
    gradient,
    gradients,
    variance,
)

TABLE = torch.tensor([[1.0, -2.0], [0.5, 0.7], [2.0, 1.0]])
WEIGHTS = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])

Cost = Callable[[Tensor, Tensor], Tensor]
COSTS: dict[str, Cost] = {
    "table": lambda z, table: (table[z] ** 2).sum(-1),
    "column": lambda z, table: table[z, 0] * table[:, 1][z],
    "row of a row": lambda z, table: table.T[:, z].prod(0),
    "after an ellipsis": lambda z, table: table.T[..., z].exp().sum(0),
    "beside arange": lambda z, table: (
        table[:, 0].expand(len(z), 3)[torch.arange(len(z)), z] ** 3 * table[0, 0]
    ),
    "the next row": lambda z, table: table[(z + 1) % 3].prod(-1),
    "integer table": lambda z, table: table[torch.tensor([2, 0, 1])[z]].prod(-1),
    "one-hot": lambda z, table: (one_hot(z, 3).float() @ table).square().sum(-1),
    "embedding": lambda z, table: embedding(z, table).square().sum(-1),
    "index_select": lambda z, table: table.T.index_select(1, z).square().sum(0),
    "gather": lambda z, table: (
        table[:, 0].expand(len(z), 3).gather(-1, z[..., None])[:, 0].square() * table[1, 1]
    ),
    "take_along_dim": lambda z, table: (
        torch.take_along_dim(table[None, :, 0], z.unsqueeze(-1), -1)[:, 0] ** 2 * table[1, 1]
    ),
    "comparison": lambda z, table: (z == 2).float() * table[0, 0] + 3 * (z < 1),
    "either": lambda z, table: ((z == 0) | (z == 2)) * 2.0 * table[0, 1] + (z != 1).float() ** 2,
    "where": lambda z, table: torch.where(z > 1, table[0, 0] * 3, table[1, 1]),
    "arithmetic": lambda z, table: (z.float() * table[0, 0] - 1) ** 2 + z * 0.5 + z**2 / 3,
    "integers": lambda z, table: z,
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", COSTS)
def test_every_use_of_an_index_is_unbiased(name: str):
    def program(context: Context, p: Any, batch: None) -> None:
        z = context.sample("z", Categorical(logits=p["logits"]))
        context.cost(COSTS[name](z, p["table"]))

    problem: Problem = (Program(program), {"logits": LOGITS, "table": TABLE}, None)
    estimator = rebar(samples=500, learning_rate=0.02)
    check_unbiased(estimator, problem, exact_gradient(problem))
    found = framework.estimate(*problem, estimator="rebar", samples=250)
    assert not found.biased
    assert found.evaluations == 500


def layers(context: Context, p: Any, batch: None) -> None:
    """The second draw's logits are looked up by the first, the third's by both."""
    x = context.sample("x", Categorical(logits=p["logits"]))
    y = context.sample("y", Categorical(logits=p["table"][x]))
    b = context.sample("b", Bernoulli(logits=p["table"][x, y]))
    context.cost(p["table"][x, y] * (1 + b) + (x == y) * 2.0)


def batched(context: Context, p: Any, batch: Tensor) -> None:
    """Two indices for each datum, and one that all data of a sample share."""
    logits = batch[:, :1, None] * p["logits"] + p["table"].T
    z = context.sample("z", Independent(Categorical(logits=logits), 1))
    shared = context.sample("shared", Categorical(logits=p["logits"]))
    looked_up = p["table"][z].prod(-1).prod(-1)
    context.cost(looked_up * batch[:, 1] + p["table"][shared, 0][:, None] * (z[..., 0] == 1))


def both(context: Context, p: Any, batch: None) -> None:
    """An index between a Bernoulli and a one-hot draw of as many categories, in one layer."""
    b = context.sample("b", Bernoulli(logits=p["logits"][0]))
    z = context.sample("z", Categorical(logits=p["logits"]))
    x = context.sample("x", OneHotCategorical(logits=p["logits"]))
    context.cost((p["table"][z, 0] + b) * (x @ p["table"][:, 1]) ** 2)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("program", "batch"),
    [(layers, None), (batched, DATA), (both, None)],
    ids=lambda v: getattr(v, "__name__", ""),
)
@pytest.mark.parametrize("factory", [rebar, relax])
def test_layers_and_batches_agree_with_enumeration(
    factory: Any, program: Any, batch: Tensor | None
):
    parameters = {"logits": LOGITS, "table": TABLE}
    axes = 0 if batch is None else 1
    problem: Problem = (Program(program, batch_axes=axes), parameters, batch)
    more = {"relaxed_cost": True} if factory is relax else {}
    estimator = factory(samples=500, learning_rate=0.02, **more)
    check_unbiased(estimator, problem, exact_gradient(problem))


def look_up(context: Context, p: Any, batch: None) -> None:
    z = context.sample("z", Categorical(logits=p["logits"]))
    context.cost(torch.tensor([1.0, -2.0, 5.0])[z])


def test_an_index_is_estimated_as_the_one_hot_draw_is():
    def coded(context: Context, p: Any, batch: None) -> None:
        x = context.sample("z", OneHotCategorical(logits=p["logits"]))
        context.cost(x @ torch.tensor([1.0, -2.0, 5.0]))

    index = rebar(samples=50)
    # From its second estimate on, both make the same random numbers.
    index.indices = True
    coded_problem: Problem = (Program(coded, checked=False), {"logits": LOGITS}, None)
    index_problem: Problem = (Program(look_up, checked=False), {"logits": LOGITS}, None)
    by_index = gradients(index, index_problem, 5)
    torch.testing.assert_close(by_index, gradients(rebar(samples=50), coded_problem, 5))


def look_ups(context: Context, p: Any, batch: None) -> None:
    """Eight indices and a cost of all of them together."""
    z = context.sample("z", Independent(Categorical(logits=p["logits"]), 1))
    context.cost(torch.tensor([1.0, -2.0, 5.0])[z].sum(-1) ** 2)


@pytest.mark.parametrize(
    ("program", "logits", "evaluations"),
    [(look_up, LOGITS, 32), (look_ups, LOGITS.repeat(8, 1), 64)],
)
def test_variance_is_below_rloo_on_look_ups(program: Any, logits: Tensor, evaluations: int):
    """On one index for as many samples, on several for as many evaluations."""
    problem: Problem = (Program(program), {"logits": logits}, None)
    estimator = rebar(samples=32, learning_rate=0.05)
    gradients(estimator, problem, 100)
    rloo = make_estimator("rloo", evaluations, {})
    assert variance(estimator, problem, 100) < variance(rloo, problem, 100)


def test_the_base_run_is_given_plain_indices():
    kinds: list[type] = []

    def program(context: Context, p: Any, batch: None) -> None:
        z = context.sample("z", Categorical(logits=p["logits"]))
        kinds.append(type(z))
        assert z.dtype == torch.int64
        assert z.shape == (8,)
        context.cost(TABLE[z, 0])

    estimator = rebar(samples=8)
    problem: Problem = (Program(program, checked=False), {"logits": LOGITS}, None)
    gradient(estimator, problem)
    kinds.clear()
    gradient(estimator, problem)
    assert kinds == [Tensor, SoftIndex]
    # A resumed estimator does as the first one.
    resumed = rebar(samples=8)
    resumed.load_state_dict(estimator.state_dict())
    assert torch.equal(gradients(resumed, problem, 3), gradients(estimator, problem, 3))


REFUSED: dict[str, Cost] = {
    "'__int__'": lambda z, table: torch.tensor([float(int(z[0]))]).expand(len(z)),
    "'tolist'": lambda z, table: torch.tensor([float(k) for k in z.tolist()]),
    "'__bool__'": lambda z, table: z.float() if z[0] == 1 else 2 * z.float(),
    "'__index__'": lambda z, table: table[0, 0] * len(range(z[0])) + z.float(),
    "'sum'": lambda z, table: z.float() * z.sum(),
    "'detach'": lambda z, table: z.detach() * 1.0,
    "'numpy'": lambda z, table: torch.as_tensor(z.numpy()).float(),
    "'one_hot without a number of classes'": lambda z, table: (one_hot(z) * 1.0).sum(-1),
    "'bincount'": lambda z, table: torch.bincount(z, minlength=3)[z].float(),
    "'stack'": lambda z, table: torch.stack((z, z)).float().logsumexp(0),
    "'index_put'": lambda z, table: torch.zeros(3).index_put((z,), z.float()).sum() + z.float(),
    "fails with it": lambda z, table: (one_hot(z, 3) & 1).sum(-1).float(),
}


@pytest.mark.parametrize("use", REFUSED)
def test_other_uses_are_refused_in_one_line(use: str):
    def program(context: Context, p: Any, batch: None) -> None:
        z = context.sample("z", Categorical(logits=p["logits"]))
        context.cost(REFUSED[use](z, p["table"]))

    problem: Problem = (Program(program, checked=False), {"logits": LOGITS, "table": TABLE}, None)
    with pytest.raises(ProgramError) as refused:
        gradient(rebar(samples=8), problem)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("draw 'z' ~ Categorical: rebar relaxes the index, and the program")
    assert use in message
    assert "it serves look-ups such as table[k], gather" in message
    assert message.endswith(
        "; estimators that can serve it: exact, relax, measure_valued, reinforce, rloo, finite_difference"
    )


@pytest.mark.parametrize(
    "jump", [lambda z: (TABLE[z, 0] > 0.7) * 1.0, lambda z: TABLE[(z * 1.0).long(), 0]]
)
def test_a_jump_behind_the_look_up_is_said_to_bias(jump: Any):
    def program(context: Context, p: Any, batch: None) -> None:
        z = context.sample("z", Categorical(logits=p["logits"]))
        context.cost(TABLE[z, 0] + jump(z))

    with pytest.warns(UserWarning, match="a cost jumps in draw 'z' by"):
        found = framework.estimate(program, {"logits": LOGITS}, estimator="rebar", samples=8)
    assert found.biased


def test_an_operation_is_averaged_over_the_values():
    z = soft_index(WEIGHTS, "z", "rebar")
    k = torch.arange(3.0)
    assert torch.equal(TABLE[z], WEIGHTS @ TABLE)
    assert torch.equal(z.float(), WEIGHTS @ k)
    assert torch.allclose(z**2 * 1.0, WEIGHTS @ k**2)
    assert torch.equal((z == 2).float(), WEIGHTS[:, 2])
    assert torch.equal(one_hot(z, 4), torch.cat((WEIGHTS, torch.zeros(2, 1)), -1))
    # What is made from one draw varies together; two draws are independent.
    assert torch.allclose(((z == 0) | (z == 1)).float(), WEIGHTS[:, :2].sum(-1))
    other = soft_index(WEIGHTS.flip(0), "y", "rebar")
    assert torch.allclose((z == other).float(), (WEIGHTS * WEIGHTS.flip(0)).sum(-1))
    assert torch.allclose(torch.eye(3)[z, other], (WEIGHTS * WEIGHTS.flip(0)).sum(-1))


PLACES = {
    "one": lambda t, x, y: t[x],
    "second": lambda t, x, y: t[:, x],
    "last": lambda t, x, y: t[..., x],
    "after an integer": lambda t, x, y: t[0, :, x],
    "new axis": lambda t, x, y: t[:, None, x, 1],
    "side by side": lambda t, x, y: t[:, x, y],
    "around an integer": lambda t, x, y: t[:, x, 1, y],
    "apart": lambda t, x, y: t[x, :, y],
    "apart after an axis": lambda t, x, y: t[:, x, :, y],
    "beside another": lambda t, x, y: t[:, torch.tensor([0, 1, 2, 0]).expand(len(x)), x],
    "two axes": lambda t, x, y: t[:, x[:, None], y[None]],
    "from a slice": lambda t, x, y: t[1:, x[1:]],
    "a product": lambda t, x, y: t[x] * t[y],
    "a sum": lambda t, x, y: t[(x + y) % 3, x],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_look_up_is_the_hard_one_where_one_weight_is_1(place: str):
    table = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    hard = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 1]])
    at_one_hot = [soft_index(one_hot(k, 3).float(), "z", "rebar") for k in hard]
    look_up = PLACES[place]
    torch.testing.assert_close(look_up(table, *at_one_hot), look_up(table, *hard))


@pytest.mark.parametrize("place", sorted(PLACES.keys() - {"two axes", "a sum"}))
def test_a_look_up_is_the_sum_over_the_values_of_its_draws(place: str):
    table = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    # Every sample has the same weights, so that the hard look-ups stand for a sample's value each.
    x, y = (torch.tensor(weights) for weights in ([0.2, 0.3, 0.5], [0.1, 0.6, 0.3]))
    soft = [soft_index(weights.expand(4, 3), "z", "rebar") for weights in (x, y)]
    pairs = [
        (x[i] * y[j], torch.full((4,), i), torch.full((4,), j)) for i in range(3) for j in range(3)
    ]
    total = torch.stack([w * PLACES[place](table, i, j) for w, i, j in pairs]).sum(0)
    torch.testing.assert_close(PLACES[place](table, *soft), total)


def test_a_table_of_another_precision_keeps_it():
    z = soft_index(WEIGHTS.double(), "z", "rebar")
    assert TABLE[z].dtype == (z == 1).float().dtype == torch.float32
    assert TABLE[z, 0].dtype == torch.float32


@pytest.mark.parametrize(
    "index", [[0, 1], True, torch.tensor([True, False, True]), torch.tensor(0)]
)
def test_an_unusual_index_beside_a_soft_one_is_refused(index: Any):
    with pytest.raises(ProgramError, match="uses it in 'an index b"):
        torch.zeros(3, 3)[soft_index(WEIGHTS, "z", "rebar"), index]
