"""Target networks: slow copies of parameters, which the targets of a critic are computed with.

    theta' <- tau theta + (1 - tau) theta'        after every k-th update

(Polyak averaging, Lillicrap et al. 2016; with tau = 1 a copy now and then, Mnih et al. 2015.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from framework.config.types import CountOrZero
from framework.errors import UserError
from framework.saved_state import check_saved


class TargetNetworks:
    """Copies of parameters that follow them.

    Args:
        tau: how far a copy goes towards its parameter.
        every: k, updates between two such moves.

    Attributes:
        values: the copies by the parameters' names; empty before the first update.
        updates: that have begun.
    """

    def __init__(self, tau: float, every: int) -> None:
        self.tau, self.every = tau, every
        self.values: dict[str, Tensor] = {}
        self.updates = 0

    @torch.no_grad()
    def follow(self, parameters: Mapping[str, Tensor]) -> None:
        """Called before each update, when the optimiser has taken the step of the one before.

        Raises:
            UserError: restored copies do not fit the parameters.
        """
        if not self.values:
            self.values = {name: value.detach().clone() for name, value in parameters.items()}
        elif self.updates % self.every == 0:
            self.check(parameters)
            copies = [self.values[name] for name in parameters]
            torch._foreach_lerp_(copies, [p.detach() for p in parameters.values()], self.tau)
        self.updates += 1

    def check(self, parameters: Mapping[str, Tensor]) -> None:
        """Compare names and shapes, which a foreign checkpoint may have otherwise."""
        own = {name: list(value.shape) for name, value in parameters.items()}
        kept = {name: list(value.shape) for name, value in self.values.items()}
        if own != kept:
            name = next(n for n in {**own, **kept} if own.get(n) != kept.get(n))
            raise UserError(
                f"checkpoint: the target network's '{name}' is {kept.get(name)}, the model's {own.get(name)}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"values": dict(self.values), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("the target networks", state, values=dict[str, Tensor], updates=CountOrZero)
        self.values = {name: value.clone() for name, value in state["values"].items()}
        self.updates = state["updates"]
