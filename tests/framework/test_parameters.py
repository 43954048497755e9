"""Parameters placed into a model for the length of a block."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from framework.parameters import placed


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def test_placed_parameters_are_used_receive_gradients_and_are_taken_out_again():
    model = Tied()
    own = dict(model.named_parameters())
    other = {"first.weight": torch.eye(2).requires_grad_()}
    x = torch.tensor([[1.0, 2.0]])
    with placed(model, other):
        out = model(x)
    assert torch.equal(out, x)
    out.sum().backward()
    assert other["first.weight"].grad is not None
    assert all(dict(model.named_parameters())[name] is p for name, p in own.items())
    assert model.second.weight is model.first.weight
    assert model.first.weight.grad is None


def test_placed_parameters_are_taken_out_after_an_error():
    model = nn.Linear(1, 1)
    own = model.weight
    with pytest.raises(ZeroDivisionError), placed(model, {"weight": torch.zeros(1, 1)}):
        1 / 0  # noqa: B018
    assert model.weight is own
