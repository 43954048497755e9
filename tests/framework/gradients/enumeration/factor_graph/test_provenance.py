"""What depends on what is followed through every operation, and never too little is said."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch.nn.functional import conv1d, layer_norm, linear, one_hot, pad

from framework.gradients.enumeration.factor_graph.provenance import Provenance

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
    "norm of a layer": (lambda x: layer_norm(x, (4,)), False),
    "no gradient": (lambda x: x.detach().clone(), True),
    "a cube": (lambda x: x**3 - x.square().clamp(0, 50), True),
}


def in_place(x):
    total = torch.zeros(3, 4)
    rows = total[1:]
    rows += x[1:]
    total[0, 2] = x[0, 3]
    return total * 2


def written(x):
    total = torch.zeros(5)
    total[x[0].long() % 5] = x[1]
    return total


def measured(function):
    """Which outputs change when an input does, from several points: `[12, *shape]`."""
    generator = torch.Generator().manual_seed(0)
    found = None
    for _ in range(40):
        x = torch.randint(0, 9, (3, 4), generator=generator).float()
        before = function(x)
        rows = []
        for element in range(12):
            moved = x.clone()
            moved.view(-1)[element] = (moved.view(-1)[element] + 1 + _) % 9
            rows.append(function(moved) != before)
        found = torch.stack(rows) if found is None else found | torch.stack(rows)
    return found


def followed(function):
    provenance = Provenance(12)
    x = torch.arange(12.0).reshape(3, 4)
    provenance.mark(x, torch.eye(12, dtype=torch.bool).reshape(12, 3, 4))
    with provenance.following():
        result = function(x)
    assert not provenance.left
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


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("item", lambda x: torch.tensor(x[0, 0].item())),
        ("branch", lambda x: x * 2 if x.sum() > 3 else x),
        ("numpy", lambda x: torch.from_numpy(x.numpy().copy())),
        ("array", lambda x: torch.as_tensor(numpy.asarray(x) + 1)),
        ("tolist", lambda x: torch.tensor(x.tolist())),
        ("mask", lambda x: x[x > 3]),
        ("nonzero", lambda x: x.nonzero()),
        ("unique", lambda x: x.unique()),
        ("deep copy", lambda x: __import__("copy").deepcopy(x)),
        ("empty memory", lambda x: torch.empty(3) + x[:, 0]),
    ],
)
def test_what_leaves_torch_is_noted(name, function):
    provenance = Provenance(12)
    x = torch.arange(12.0).reshape(3, 4)
    provenance.mark(x, torch.eye(12, dtype=torch.bool).reshape(12, 3, 4))
    with provenance.following():
        function(x)
    assert provenance.left, name


@pytest.mark.parametrize(
    ("function", "reads"),
    [
        (lambda x, data: x + data, False),
        (lambda x, data: x[torch.tensor([1, 0])], False),
        (lambda x, data: x if torch.tensor(1) > 0 else -x, False),
        (lambda x, data: x[data], True),
        (lambda x, data: x if data.sum() > 0 else -x, True),
    ],
)
def test_whether_data_decide_what_depends_on_what_is_noted(function, reads):
    provenance = Provenance(12)
    x, data = torch.arange(12.0).reshape(3, 4), torch.tensor([0, 2, 1, 0])
    provenance.mark(x, torch.eye(12, dtype=torch.bool).reshape(12, 3, 4))
    with provenance.following():
        function(x, data)
    assert provenance.reads == reads
    assert not provenance.left
