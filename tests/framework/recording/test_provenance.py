"""What values are made from: no operation may be said to keep elements apart that it mixes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal
from torch.nn import functional as F

from framework.program import Program
from framework.recording.provenance import Origins, Provenance, Traced, Untraceable, places
from framework.recording.rule import Plain

# Functions of x `[4, 3, 2]`, positive numbers. Where an axis of the result follows one of x, that is listed as
# {axis of x: axis of the result}.
C = torch.linspace(0.5, 2.0, 24).reshape(4, 3, 2)
W = torch.linspace(-1, 1, 6).reshape(2, 3)
INDEX = torch.tensor([[2, 0], [1, 1], [0, 2]])
WHOLE = {0: 0, 1: 1, 2: 2}
FUNCTIONS = {
    "x + c": (lambda x: x + C, WHOLE),
    "x * c[:1]": (lambda x: x * C[:1], WHOLE),
    "new axis in front": (lambda x: x * torch.ones(5, 1, 1, 1), {0: 1, 1: 2, 2: 3}),
    "where": (lambda x: torch.where(x > 1, x, -C), WHOLE),
    "in place": (lambda x: (x + 1).mul_(C).clamp_(max=2), WHOLE),
    "added to zeros": (lambda x: torch.zeros(4, 3, 2).add_(x), WHOLE),
    "written into zeros": (lambda x: put(torch.zeros(4, 3, 2), x), {}),
    "log_prob of Bernoulli": (lambda x: Bernoulli(logits=x).log_prob((C > 1).float()), WHOLE),
    "log_prob of Normal": (lambda x: Normal(C, x).log_prob(x), WHOLE),
    "log_prob of Categorical": (
        lambda x: Categorical(logits=x).log_prob(torch.tensor([0, 1, 0])),
        {0: 0, 1: 1},
    ),
    "cross entropy": (
        lambda x: F.binary_cross_entropy_with_logits(x, C * 0.4, reduction="none"),
        WHOLE,
    ),
    "mean cross entropy": (lambda x: F.binary_cross_entropy_with_logits(x, C * 0.4), {}),
    "squared error": (lambda x: F.mse_loss(x, C, reduction="none"), WHOLE),
    "sum": (lambda x: x.sum(), {}),
    "sum of the last": (lambda x: x.sum(-1), {0: 0, 1: 1}),
    "mean of the middle": (lambda x: x.mean(1, keepdim=True), {0: 0, 2: 2}),
    "sum of two": (lambda x: x.sum((0, 2)), {1: 0}),
    "largest": (lambda x: x.max(1).values, {0: 0, 2: 1}),
    "logsumexp": (lambda x: x.logsumexp(0), {1: 0, 2: 1}),
    "softmax": (lambda x: x.softmax(-1), {0: 0, 1: 1}),
    "cumsum": (lambda x: x.cumsum(1), {0: 0, 2: 2}),
    "sort": (lambda x: x.sort(2).values, {0: 0, 1: 1}),
    "flip": (lambda x: x.flip(1), {0: 0, 2: 2}),
    "roll": (lambda x: x.roll(1, 0), {1: 1, 2: 2}),
    "less its mean": (lambda x: x - x.mean(1, keepdim=True), {0: 0, 2: 2}),
    "neighbours": (lambda x: x[:, 1:] * x[:, :-1], {0: 0, 2: 2}),
    "all of a slice": (lambda x: x[:, :, 0:2], WHOLE),
    "one": (lambda x: x[:, 1], {0: 0, 2: 1}),
    "transposed": (lambda x: x.transpose(0, 2), {0: 2, 1: 1, 2: 0}),
    "permuted": (lambda x: x.permute(1, 2, 0), {0: 2, 1: 0, 2: 1}),
    "with axes of length 1": (lambda x: x.unsqueeze(1).unsqueeze(-1).squeeze(1), WHOLE),
    "outer product": (lambda x: x.unsqueeze(2) * x.unsqueeze(1), {0: 0, 2: 3}),
    "expanded": (lambda x: x.unsqueeze(1).expand(4, 7, 3, 2), {0: 0, 1: 2, 2: 3}),
    "merged in front": (lambda x: x.reshape(12, 2), {2: 1}),
    "merged at the end": (lambda x: x.flatten(1), {0: 0}),
    "divided": (lambda x: x.reshape(2, 2, 3, 2), {1: 2, 2: 3}),
    "reshaped across": (lambda x: x.reshape(3, 4, 2), {2: 2}),
    "merged and divided again": (lambda x: (x.flatten(0, 1) * 2).unflatten(0, (4, 3)), WHOLE),
    "linear": (lambda x: F.linear(x, W.T, torch.ones(3)), {0: 0, 1: 1}),
    "linear after a transposition": (lambda x: x.transpose(1, 2) @ W.T, {0: 0, 2: 1}),
    "matrix product of itself": (lambda x: x @ x.transpose(1, 2), {0: 0}),
    "vector product": (lambda x: x @ torch.ones(2), {0: 0, 1: 1}),
    "einsum": (lambda x: torch.einsum("nde,ef->ndf", x, W), {0: 0, 1: 1}),
    "stack": (lambda x: torch.stack([x, C], 1), {0: 0, 1: 2, 2: 3}),
    "cat": (lambda x: torch.cat([x, C], 1), {0: 0, 2: 2}),
    "gather": (lambda x: x.gather(1, INDEX.expand(4, 3, 2)), {0: 0, 2: 2}),
    "table looked up": (lambda x: torch.arange(9.0)[x.long()], WHOLE),
    "rows looked up": (lambda x: W[(x > 1).long()], WHOLE),
    "indexed in the middle": (lambda x: x[:, torch.tensor([2, 0, 1])], {0: 0, 2: 2}),
    "by itself": (lambda x: x[(x[:, 0, 0] > 1).long()], {}),
    "embedding": (lambda x: F.embedding((x > 1).long(), W), WHOLE),
    "scatter": (lambda x: torch.zeros(4, 3, 2).scatter(1, INDEX.expand(4, 3, 2), x), {0: 0, 2: 2}),
    "padded": (lambda x: F.pad(x, (1, 0)), {0: 0, 1: 1}),
    "repeated": (lambda x: x.repeat(2, 1, 1), {1: 1, 2: 2}),
    "layer norm": (lambda x: F.layer_norm(x, (3, 2)), {0: 0}),
    "unbound": (lambda x: x.unbind(1)[2] * 2, {0: 0, 2: 1}),
    "convolution": (lambda x: F.conv1d(x, torch.ones(1, 3, 2)), {}),
    "Cholesky": (lambda x: torch.linalg.cholesky(x @ x.mT + 9 * torch.eye(3)), {}),
    "a view written to": (lambda x: shifted_in_place(x), {}),
}


def put(zeros: Tensor, x: Tensor) -> Tensor:
    """Through a view of `zeros`, which is what counts."""
    zeros[:, 1:] += x[:, :-1]
    return zeros


def shifted_in_place(x: Tensor) -> Tensor:
    copy = x.clone()
    copy[:, 1] += copy[:, 0]
    return copy


def trace(function, x: Tensor) -> tuple[Tensor, Origins]:
    """A function's value and what it was made from."""
    run = Provenance()
    with run:
        value = function(Traced(x, {0: places(x, x.dim())}, run))
        return value.plain if isinstance(value, Traced) else value, run.origins(value)


def axes_of(value: Tensor, places) -> dict[int, int]:
    """The axis of a value that follows each axis of a draw."""
    return {a: p.axis for a, p in enumerate(places) if p and p.size == value.shape[p.axis]}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_axis_follows_where_its_elements_stay_apart(name):
    function, expected = FUNCTIONS[name]
    x = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 + 0.1
    value, origins = trace(function, x)
    torch.testing.assert_close(value, function(x))
    assert axes_of(value, origins[0]) == expected


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_said_to_follow_is_changed_by_nothing_else(name):
    """Each index of each axis of x is changed in turn: along the axis that follows nothing else may change."""
    function, _ = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        x = torch.rand(4, 3, 2, generator=generator) * 2 + 0.1
        before, origins = trace(function, x)
        for axis, follower in axes_of(before, origins[0]).items():
            for index in range(x.shape[axis]):
                changed = x.clone()
                changed.select(axis, index).mul_(1.7)
                differs = (function(changed) != before).movedim(follower, 0)
                assert not differs[torch.arange(len(differs)) != index].any()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * float(x.mean() > 0),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: torch.from_numpy(x.numpy() * 2),
        lambda x: torch.as_tensor(x.tolist()),
        lambda x: torch.from_dlpack(x),  # type: ignore[attr-defined]
        lambda x: torch.from_dlpack(torch.utils.dlpack.to_dlpack(x)) + 1,  # type: ignore[attr-defined]
        lambda x: torch.empty(0).set_(x.untyped_storage()),
        lambda x: x[x > 1],
        lambda x: x.nonzero(),
        lambda x: KEPT.copy_(x),  # type: ignore[has-type]
        lambda x: F.batch_norm(x, torch.zeros(3), KEPT_MEAN, training=True),  # type: ignore[has-type]
    ],
)
def test_what_cannot_be_followed_ends_the_run(function):
    with pytest.raises(Untraceable):
        trace(function, torch.ones(4, 3, 2))
    assert KEPT.eq(0).all()
    assert KEPT_MEAN.eq(1).all()


KEPT, KEPT_MEAN = torch.zeros(4, 3, 2), torch.ones(3)


def run(function, **parameters: Tensor):
    """One followed run of a program with 5 samples: the axes of its costs that follow each of its draws."""
    provenance, rule = Provenance(), Plain()
    program = Program(function, checked=False)
    # Decides the axes.
    program.run(lambda site: rule, parameters, samples=5)
    with provenance:
        found = program.run(provenance.rules(lambda site: rule), parameters, samples=5)[0]
        origins = [(c.value, provenance.origins(c.value)) for c in found.costs]
    return [{n: axes_of(value, own) for n, own in each.items()} for value, each in origins]


def test_a_draw_depends_on_what_its_log_probability_reads():
    def program(context, p, batch):
        x = context.sample("x", Bernoulli(logits=p["logits"]))
        y = context.sample("y", Independent(Normal(x + 1, 1.0), 1))
        z = context.sample("z", Normal(x.sum(-1, keepdim=True).expand(-1, 3), 1.0))
        context.cost(x)
        context.cost(y * 2)
        context.cost(z)
        context.cost(p["logits"].sum())

    assert run(program, logits=torch.zeros(3)) == [
        {0: {0: 0, 1: 1}},
        {0: {0: 0, 1: 1}, 1: {0: 0, 1: 1}},
        {0: {0: 0}, 2: {0: 0, 1: 1}},
        {},
    ]


def test_a_value_that_was_kept_is_an_ordinary_tensor_after_the_run():
    kept = []

    def program(context, p, batch):
        kept.append(context.sample("x", Normal(p["mean"], 1.0)))
        context.cost(kept[-1])

    run(program, mean=torch.zeros(3))
    assert type(kept[-1]) is Traced
    assert type(kept[-1] + 1) is Tensor
    assert kept[-1].numpy().shape == (5, 3)
    assert len(kept[-1].tolist()) == 5
