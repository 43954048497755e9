"""The interface of identity losses, and how one is built by its registered name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from framework import UserError
from framework.config.validation import check_options
from framework.errors import suggestion
from framework.plugin import registry


class NoWeightDecay(nn.Parameter):
    """A parameter without weight decay: only the direction of a prototype matters."""

    no_weight_decay = True


class IdentityLoss(nn.Module, ABC):
    """Features `[B, D]`, not normalised, and people `[B]` to a scalar; -1 is an unknown person, who has no loss.

    Args:
        size: D.
        people: the number of training people.
    """

    # Whether a batch must hold several pictures of a person.
    needs_pairs: ClassVar[bool] = False

    def __init__(self, size: int, people: int) -> None:
        super().__init__()
        self.size, self.people = size, people

    def forward(self, features: Tensor, people: Tensor, margin_scale: float = 1.0) -> Tensor:
        """The mean over known people; 0, with a gradient of 0, where all are unknown.

        Args:
            margin_scale: what the margin is multiplied by, 0 to 1.
        """
        known = people >= 0
        if not known.any():
            return features.sum() * 0.0
        # Cosines need full precision.
        with torch.autocast(features.device.type, enabled=False):
            return self.loss(features[known].float(), people[known], margin_scale)

    @abstractmethod
    def loss(self, features: Tensor, people: Tensor, margin_scale: float) -> Tensor:
        """The mean loss of known people."""

    @abstractmethod
    def loss_at_chance(self, people: Tensor, margin_scale: float = 1.0) -> float:
        """The loss of uninformative features, whose cosines are all 0."""


def make_loss(options: Mapping[str, Any], size: int, people: int, key: str) -> IdentityLoss:
    """Build the loss that `options` choose: its name and its own options.

    Args:
        key: the configuration key of `options`, for messages.

    Raises:
        UserError: no name, one that is not an identity loss's, or an option that the loss does not have.
    """
    name = str(options.get("name"))
    known = registry().names("faces.losses")
    if name not in known:
        raise UserError(f"{key}.name = '{name}': not an identity loss; {suggestion(name, known)}")
    factory = registry().component("faces.losses", name).load()
    rest = {k: v for k, v in options.items() if k != "name"}
    loss: IdentityLoss = factory(size, people, **check_options(factory, rest, key))
    return loss
