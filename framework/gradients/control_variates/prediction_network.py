"""RELAX's network: predicts each layer's cost from its relaxed draws and the earlier layers' hard ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.control_variates.control_variate_gradients import hard_value
from framework.gradients.control_variates.relaxed_draws import RelaxedGroup
from framework.gradients.control_variates.tuned_tensors import TunedTensors
from framework.gradients.coupled.chain_rule import Group
from framework.randomness import generator


class PredictionNetwork:
    """One hidden layer, shared by the layers of draws but for its biases; built at its first use.

    Args:
        hidden: its width.
        rate: learning rate of its tensors.
    """

    def __init__(self, hidden: int, rate: float) -> None:
        self.hidden = hidden
        self.rate = rate
        self.tuned: TunedTensors | None = None
        # Until the device is known.
        self.saved: dict[str, Any] | None = None

    def predict(self, groups: Sequence[RelaxedGroup], shape: tuple[int, ...]) -> Tensor:
        """The prediction of each layer, `[layers, n, *batch]`; `shape` is `[n, *batch]`."""
        relaxed = [features(group.group, group.relaxed, shape) for group in groups]
        hard = [features(group.group, hard_value(group.group), shape) for group in groups]
        layers = [group.group.members[0].layer for group in groups]
        inputs = [
            torch.cat(
                [visible(a, b, k - own) for a, b, own in zip(relaxed, hard, layers, strict=True)],
                -1,
            )
            for k in range(max(layers) + 1)
        ]
        return self(torch.stack(inputs))

    def __call__(self, inputs: Tensor) -> Tensor:
        """`[layers, n, *batch, features]` -> `[layers, n, *batch]`.

        Raises:
            ProgramError: the number of draws is not what it was.
        """
        layers, width = len(inputs), inputs.shape[-1]
        if self.saved is not None:
            self.tuned = TunedTensors.load(self.saved, self.rate, inputs.device)
            self.saved = None
        if self.tuned is None:
            tensors = new_network(layers, width, self.hidden)
            tensors = {name: t.to(inputs.device, inputs.dtype) for name, t in tensors.items()}
            self.tuned = TunedTensors(tensors, self.rate)
        weight, bias, out, level = self.tuned.tensors.values()
        if (len(bias), len(weight)) != (layers, width):
            raise ProgramError(
                f"relax: {width} drawn numbers in {layers} layers, and the network has been built for {len(weight)} in "
                f"{len(bias)}: every run must make the same draws; {alternatives()}"
            )
        by_layer = (layers, *[1] * (inputs.dim() - 2))
        units = (inputs @ weight + bias.reshape(*by_layer, -1)).tanh()
        return units @ out + level.reshape(by_layer)

    def state_dict(self) -> dict[str, Any] | None:
        """What must be saved; None before the first use."""
        return self.tuned.state_dict() if self.tuned is not None else self.saved

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        self.tuned, self.saved = None, deepcopy(state)


def features(group: Group, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A group's values as the network sees them, `[n, *batch, features]`."""
    if not group.per_datum:
        values = values.flatten(1).reshape(shape[0], *[1] * (len(shape) - 1), -1)
        return values.expand(*shape, -1)
    return values.reshape(*shape, -1)


def visible(relaxed: Tensor, hard: Tensor, distance: int) -> Tensor:
    """What a layer's prediction may see of a group that lies `distance` layers before it: nothing of later ones."""
    if distance == 0:
        return relaxed
    return hard if distance > 0 else torch.zeros_like(hard)


def new_network(layers: int, width: int, hidden: int) -> dict[str, Tensor]:
    """One hidden layer that predicts 0, built without touching the run's random stream."""
    stream = generator(0, "control variate")
    return {
        "weight": torch.randn(width, hidden, generator=stream) / math.sqrt(width),
        "bias": torch.zeros(layers, hidden),
        "out": torch.zeros(hidden),
        "level": torch.zeros(layers),
    }
