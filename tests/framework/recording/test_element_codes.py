"""Which axis of a value follows which of a draw: elements that an operation mixes are never taken to stay apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal
from torch.nn import functional as F

from framework.recording.element_codes import ElementCode, digits
from framework.recording.provenance import Provenance

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
    "written into zeros": (lambda x: put(torch.zeros(4, 3, 2), x), {0: 0, 2: 2}),
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
    "a view written to": (lambda x: shifted_in_place(x), {0: 0, 2: 2}),
    "renormalised rows": (lambda x: torch.renorm(x, 2, 0, 1.0), {}),
}


def put(zeros: Tensor, x: Tensor) -> Tensor:
    """Through a view of `zeros`, which is what counts."""
    zeros[:, 1:] += x[:, :-1]
    return zeros


def shifted_in_place(x: Tensor) -> Tensor:
    copy = x.clone()
    copy[:, 1] += copy[:, 0]
    return copy


def followed(function, x: Tensor) -> tuple[Tensor, dict[int, int]]:
    """A function's value, and the axis of it that follows each axis of x."""
    code = ElementCode(0, tuple(x.shape))
    provenance = Provenance(code.count, lasting=True)
    x = x.clone()
    provenance.mark(x, code.mask(code.count))
    with provenance.following():
        value = function(x)
    axes = code.followed(provenance.of(value))  # type: ignore[arg-type]
    return value, {a: b for a, b in enumerate(axes or ()) if b is not None}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_axis_follows_where_its_elements_stay_apart(name):
    function, expected = FUNCTIONS[name]
    x = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 + 0.1
    value, axes = followed(function, x)
    torch.testing.assert_close(value, function(x))
    assert axes == expected


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_axis_that_follows_is_changed_by_nothing_else(name):
    """Each index of each axis of x is changed in turn: along the axis that follows nothing else may change."""
    function, _ = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        x = torch.rand(4, 3, 2, generator=generator) * 2 + 0.1
        before, axes = followed(function, x)
        for axis, follower in axes.items():
            for index in range(x.shape[axis]):
                changed = x.clone()
                changed.select(axis, index).mul_(1.7)
                differs = (function(changed) != before).movedim(follower, 0)
                assert not differs[torch.arange(len(differs)) != index].any()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 200])
def test_only_an_element_alone_lies_within_its_code(size):
    code = digits(size)
    within = ~(code.unsqueeze(2) & ~code.unsqueeze(1)).any(0)
    assert torch.equal(within, torch.eye(size, dtype=torch.bool) | (size == 1))


def test_two_axes_are_not_followed_by_the_same():
    """The diagonal of a matrix follows its rows, and then not its columns as well."""
    _, axes = followed(lambda x: x.diagonal(dim1=0, dim2=1), torch.rand(3, 3))
    assert axes == {0: 0}


def test_an_independent_value_follows_nothing():
    code = ElementCode(0, (3,))
    assert code.followed(torch.zeros(code.count, 3, dtype=torch.bool)) is None
