"""What every identity loss is, and how one is made by name."""

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


class Undecayed(nn.Parameter):
    """A parameter that weight decay leaves alone: only a prototype's direction means anything."""

    no_weight_decay = True


class IdentityLoss(nn.Module, ABC):
    """Features `[B, D]` (of any length) and people `[B]` -> a scalar.

    Args:
        size: D.
        people: how many are learned from.
    """

    pairs: ClassVar[bool] = False  # whether a batch must hold several pictures of a person

    def __init__(self, size: int, people: int) -> None:
        super().__init__()
        self.size, self.people = size, people

    def forward(self, features: Tensor, people: Tensor, share: float = 1.0) -> Tensor:
        """The mean over known people; 0, with a gradient of 0, where nobody is known. `share` of the margin counts."""
        known = people >= 0
        if not known.any():
            return features.sum() * 0.0
        with torch.autocast(features.device.type, enabled=False):  # cosines need all their digits
            return self.loss(features[known].float(), people[known], share)

    @abstractmethod
    def loss(self, features: Tensor, people: Tensor, share: float) -> Tensor:
        """The mean loss of known people."""

    @abstractmethod
    def chance(self, people: Tensor, share: float = 1.0) -> float:
        """The loss of features that say nothing: all cosines are 0."""


def make_loss(options: Mapping[str, Any], size: int, people: int, key: str) -> IdentityLoss:
    """The loss that `options`, a name and the options of that loss, choose.

    Raises:
        UserError: no name, one that is no identity loss, or an option that the loss does not have.
    """
    name = str(options.get("name"))
    known = registry().names("faces.losses")
    if name not in known:
        raise UserError(f"{key}.name = '{name}': no identity loss; {suggestion(name, known)}")
    factory = registry().component("faces.losses", name).load()
    rest = {k: v for k, v in options.items() if k != "name"}
    made: IdentityLoss = factory(size, people, **check_options(factory, rest, key))
    return made
