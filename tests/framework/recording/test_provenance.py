"""What depends on what is followed through every operation, and no dependence is missed."""

from __future__ import annotations

import copy
import itertools

import numpy
import pytest
import torch
from torch.nn.functional import batch_norm, conv1d, embedding, layer_norm, linear, one_hot, pad
from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]

from framework.recording.provenance import NotProved, Provenance

WEIGHTS = torch.arange(12.0).reshape(3, 4) + 1
ORDER = torch.tensor([2, 0, 1])

# From x `[3, 4]`, whose element i is variable i, and whether its dependence is found to the element.
OPERATIONS = {
    "elementwise": (lambda x: (x * 2 + x.sigmoid()) > 0.5, True),
    "broadcast": (lambda x: x + x[:, :1], True),
    "where": (lambda x: torch.where(x > 2, WEIGHTS, x), True),
    "views": (lambda x: x.t().reshape(2, 6)[:, ::2].unsqueeze(0), True),
    "reshape of a transposed": (lambda x: x.t().reshape(12), True),
    "sum": (lambda x: x.sum(0), True),
    "mean of all": (lambda x: x.mean(), True),
    "extremes": (lambda x: x.amax(-1, keepdim=True) + x.argmin(1, keepdim=True), True),
    "max with positions": (lambda x: x.max(1).values, True),
    "softmax": (lambda x: x.softmax(-1), True),
    "cumulated": (lambda x: x.cumsum(0), True),
    "sorted": (lambda x: x.sort(1).values, True),
    "product": (lambda x: x @ WEIGHTS.t(), True),
    "product from the left": (lambda x: WEIGHTS.t() @ x, True),
    "with itself": (lambda x: x @ x.t(), True),
    "vector": (lambda x: x @ torch.ones(4), True),
    "batched product": (lambda x: torch.einsum("ij,ijk->ik", x, torch.ones(3, 4, 2)), True),
    "linear": (lambda x: linear(x, torch.ones(5, 4), torch.ones(5)), True),
    "joined": (lambda x: torch.cat([x[1:], WEIGHTS[:1], torch.stack([x[0], x[2]])]), True),
    "moved": (lambda x: pad(x[ORDER].flip(1).roll(1, 0), (1, 2)), True),
    "gathered": (lambda x: x.gather(1, torch.tensor([[3], [0], [1]])), True),
    "index": (lambda x: WEIGHTS[x.long() % 3], True),
    "index of two": (lambda x: WEIGHTS[x[:, 0].long() % 3, x[:, 1].long() % 4], True),
    "index in the middle": (lambda x: WEIGHTS[:, x[0].long() % 4], True),
    "chosen of itself": (lambda x: x.gather(1, x[:, :1].long() % 4), False),
    "scattered": (lambda x: torch.zeros(3, 5).scatter(1, x[:, :1].long() % 5, x[:, 1:2]), False),
    "one-hot": (lambda x: one_hot(x.long() % 3, 3), False),
    "changed in place": (lambda x: in_place(x), True),
    "written by index": (lambda x: written(x), False),
    "float and back": (lambda x: x.long().float().double().to(torch.int32), True),
    "convolution": (lambda x: conv1d(x.unsqueeze(1), torch.ones(1, 1, 2)), False),
    "norm of a layer": (lambda x: layer_norm(x, (4,)), True),
    "no gradient": (lambda x: x.detach().clone(), True),
    "a cube": (lambda x: x**3 - x.square().clamp(0, 50), True),
    "renormalised rows": (lambda x: torch.renorm(x, 2, 0, 3.0), False),
    "lists of tensors": (
        lambda x: torch.stack(torch._foreach_add([x[0], x[1]], [x[2], x[0]])),
        False,
    ),
    "lists in place": (lambda x: lists_in_place(x), False),
    "filled again": (lambda x: filled_again(x), True),
    "order statistics": (lambda x: x.median(1).values + x.kthvalue(2, 0).values[:3], True),
}


def in_place(x):
    total = torch.zeros(3, 4)
    rows = total[1:]
    rows += x[1:]
    total[0, 2] = x[0, 3]
    return total * 2


def lists_in_place(x):
    totals = [torch.zeros(4), torch.zeros(4)]
    torch._foreach_add_(totals, [x[0], x[1] * 2])
    return torch.stack(totals)


def filled_again(x):
    total = x * 2
    total[0].zero_()
    total[1] = 3.0
    return total


def written(x):
    total = torch.zeros(5)
    total[x[0].long() % 5] = x[1]
    return total


def measured(function, points=40):
    """Which outputs change when an input does, from several points: `[12, *shape]`."""
    generator = torch.Generator().manual_seed(0)
    found = None
    for _ in range(points):
        x = torch.randint(0, 9, (3, 4), generator=generator).float()
        before = function(x)
        rows = []
        for element in range(12):
            moved = x.clone()
            moved.view(-1)[element] = (moved.view(-1)[element] + 1 + _) % 9
            rows.append(function(moved) != before)
        found = torch.stack(rows) if found is None else found | torch.stack(rows)
    return found


def marked(**options):
    """What follows x `[3, 4]`, and x."""
    provenance = Provenance(12, **options)
    x = torch.arange(12.0).reshape(3, 4)
    provenance.mark(x, torch.eye(12, dtype=torch.bool).reshape(12, 3, 4))
    return provenance, x


def followed(function):
    provenance, x = marked()
    with provenance.following():
        result = function(x)
    mask = provenance.of(result)
    return torch.zeros(12, *result.shape, dtype=torch.bool) if mask is None else mask


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_an_element_depends_on_is_found(name):
    function, to_the_element = OPERATIONS[name]
    claimed, true = followed(function), measured(function)
    assert not (true & ~claimed).any()
    if to_the_element:
        assert torch.equal(claimed, true)


def test_a_shape_is_no_dependence():
    assert not followed(lambda x: torch.zeros_like(x) + x.shape[0]).any()


KEPT, MEAN = torch.zeros(3, 4), torch.ones(4)


@pytest.mark.parametrize(
    ("why", "function"),
    [
        ("leaves torch: _local_scalar_dense", lambda x: torch.tensor(x[0, 0].item())),
        ("leaves torch", lambda x: x * 2 if x.sum() > 3 else x),
        ("leaves torch: numpy", lambda x: torch.from_numpy(x.numpy().copy())),
        ("leaves torch: __array__", lambda x: torch.as_tensor(numpy.asarray(x) + 1)),
        ("leaves torch: tolist", lambda x: torch.tensor(x.tolist())),
        ("leaves torch: index", lambda x: x[x > 3]),
        ("leaves torch: nonzero", lambda x: x.nonzero()),
        ("leaves torch", lambda x: x.unique()),
        ("leaves torch: __deepcopy__", lambda x: copy.deepcopy(x)),
        ("leaves torch", lambda x: torch.empty(0).set_(x.untyped_storage())),
        ("leaves torch: __dlpack__", lambda x: torch.from_dlpack(x)),  # type: ignore[attr-defined]
        ("comes back", lambda x: torch.from_dlpack(to_dlpack(x[1])) + 1),  # type: ignore[attr-defined]
        ("other means", lambda x: torch.empty(3) + x[:, 0]),
        ("outlives", lambda x: KEPT.copy_(x)),
        ("outlives", lambda x: torch._foreach_add_([KEPT], [x])),
        ("outlives", lambda x: batch_norm(x, torch.zeros(4), MEAN, training=True)),
        ("size", lambda x: (x * 2).resize_(24)),
        ("sparse", lambda x: x.to_sparse() * 2),
        ("leaves torch", lambda x: caught(x)),
    ],
)
def test_what_cannot_be_followed_is_an_error_that_says_why(why, function):
    provenance, x = marked()
    with pytest.raises(NotProved, match=why), provenance.following():
        function(x)
    assert KEPT.eq(0).all()
    assert MEAN.eq(1).all()


def caught(x):
    try:
        return x.tolist()
    except Exception:
        return x


DATA = torch.tensor([0, 2, 1, 0])


@pytest.mark.parametrize(
    ("function", "reads"),
    [
        (lambda x: x + DATA, False),
        (lambda x: x[torch.tensor([1, 0])], False),
        (lambda x: x if torch.tensor(1) > 0 else -x, False),
        (lambda x: x[DATA], True),
        (lambda x: x if DATA.sum() > 0 else -x, True),
        (lambda x: x if torch.rand(()) > 0.5 else -x, True),
    ],
)
def test_whether_data_decide_what_depends_on_what_is_noted(function, reads):
    provenance, x = marked()
    with provenance.following():
        function(x)
    assert provenance.reads == reads


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if DATA.sum() > 0 else -x,
        lambda x: x if torch.rand(()) > 0.5 else -x,
        lambda x: x * float(DATA[0]),
        lambda x: x * DATA.numpy(),
    ],
)
def test_what_must_hold_for_all_data_reads_none_of_their_numbers(function):
    provenance, x = marked(lasting=True)
    with pytest.raises(NotProved, match="reads a number"), provenance.following():
        function(x)


@pytest.mark.parametrize(
    "choose",
    [
        lambda x, rows: x[rows],
        lambda x, rows: x.index_select(0, rows),
        lambda x, rows: x.gather(0, rows.unsqueeze(1).expand(3, 4)),
        lambda x, rows: x.take(rows * 4),
        lambda x, rows: embedding(rows, x),
    ],
)
def test_what_must_hold_for_all_data_depends_on_all_that_an_index_of_theirs_may_choose(choose):
    provenance, x = marked(lasting=True)
    with provenance.following():
        result = choose(x, ROWS)
    claimed = provenance.of(result)
    for rows in itertools.product(range(3), repeat=3):
        true = measured(lambda x, rows=rows: choose(x, torch.tensor(rows)), points=2)
        assert not (true & ~claimed).any()
    assert not provenance.reads


ROWS = torch.tensor([1, 0, 2])
