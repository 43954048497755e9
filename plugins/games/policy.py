"""Policies: from what is seen to a distribution over actions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn
from torch.distributions import Categorical

from framework.errors import UserError


class MultilayerPolicy(nn.Module):
    """A multilayer perceptron with tanh units over a flat observation, for a discrete choice of actions."""

    def __init__(
        self, observations: Space[Any], actions: Space[Any], hidden: Sequence[int]
    ) -> None:
        super().__init__()
        if not isinstance(observations, Box):
            raise UserError(f"a multilayer policy sees a Box of numbers, not {observations}")
        if not isinstance(actions, Discrete) or actions.start != 0:
            raise UserError(f"a multilayer policy chooses among Discrete(n) actions, not {actions}")
        widths = [math.prod(observations.shape), *hidden]
        layers: list[nn.Module] = (
            [nn.Flatten(-len(observations.shape))] if observations.shape else []
        )
        for inputs, outputs in itertools.pairwise(widths):
            layers += [initialised(nn.Linear(inputs, outputs), math.sqrt(2)), nn.Tanh()]
        layers.append(initialised(nn.Linear(widths[-1], int(actions.n)), 0.01))
        self.layers = nn.Sequential(*layers)

    def forward(self, observations: Tensor) -> Categorical:
        """Observations `[*batch, *observation]` -> a distribution of batch shape `[*batch]`."""
        return Categorical(logits=self.layers(observations), validate_args=False)


def initialised(layer: nn.Linear, gain: float) -> nn.Linear:
    """Orthogonal weights and no bias, as is usual for policies (small for the last layer: begin undecided)."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
