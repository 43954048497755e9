"""The losses of a drawing, weighted and summed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from framework.config.validation import check_options
from framework.errors import UserError
from framework.plugin import registry
from plugins.sketching.losses import Loss

# Each loss's weight, and its factory, by name.
Losses = Mapping[str, tuple[float, Callable[[Tensor], Loss]]]


class WeightedLoss:
    """How far pictures are from a target `[C, H, W]`; the losses are built once on each device they are used on."""

    def __init__(self, losses: Losses, target: Tensor) -> None:
        self.losses, self.target = losses, target
        self.built: dict[torch.device, list[tuple[float, Loss]]] = {}

    def __call__(self, picture: Tensor) -> Tensor:
        """The weighted sum, `[*n, C, H, W]` -> `[*n]`."""
        if picture.device not in self.built:
            target = self.target.to(picture.device)
            self.built[picture.device] = [
                (weight, build(target)) for weight, build in self.losses.values()
            ]
        return torch.stack(
            [weight * loss(picture) for weight, loss in self.built[picture.device]]
        ).sum(0)


def checked_losses(settings: Mapping[str, float | dict[str, Any] | None]) -> Losses:
    """The losses that a configuration names: a weight, {weight, option, ...}, or None for a loss that is left out.

    Raises:
        UserError: no loss, an unknown loss or option, or a weight that is not positive.
    """
    losses = {
        name: checked_loss(name, given) for name, given in settings.items() if given is not None
    }
    if not losses:
        known = ", ".join(registry().names("sketching.losses"))
        raise UserError(f"task.losses names no loss; choices: {known}")
    return losses


def checked_loss(
    name: str, given: float | dict[str, Any]
) -> tuple[float, Callable[[Tensor], Loss]]:
    """One loss's weight, and its factory with the options checked."""
    options = {"weight": given} if isinstance(given, float | int) else dict(given)
    weight = float(options.pop("weight", 1.0))
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"task.losses.{name} = {weight}: expected a weight greater than 0")
    factory = registry().component("sketching.losses", name).load()
    checked = check_options(factory, options, f"task.losses.{name}")
    return weight, lambda target: factory(target, **checked)
