"""The smallest task for each kind of estimator: two draws of either kind, and a cost that may once be no number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn
from torch.distributions import Bernoulli, Normal

from framework import Context, Program, Task


class Draws(Task):
    """Two draws, `kind` each, that should be near 0.45; batch number `nan_at` costs NaN."""

    def __init__(
        self, *, kind: Literal["bernoulli", "normal"] = "bernoulli", nan_at: int | None = None
    ) -> None:
        self.model = nn.ParameterDict({"theta": torch.tensor([0.4, -0.3])})
        self.kind, self.nan_at = kind, nan_at

    def batches(self, program: Program, seed: int, start: int) -> Iterator[int]:
        number = start
        while True:
            yield number
            number += 1

    def objective(self, context: Context, batch: int | None) -> None:
        theta = dict(self.model.named_parameters())["theta"]
        drawn = Bernoulli(logits=theta) if self.kind == "bernoulli" else Normal(theta, 0.3)
        value = context.sample("value", drawn)  # [n, 2]
        cost = (value - 0.45).square().sum(-1)
        context.cost(cost * (float("nan") if batch == self.nan_at else 1.0))

    def show(self, seed: int) -> Iterator[Any]:
        return iter(())
