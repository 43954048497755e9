"""Tensors that are tuned alongside training to lower an estimator's variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from framework import ranks, waiting
from framework.eager_optimizer import eager, step_unless
from framework.optimizer_state import load_named_state, named_state


class TunedTensors:
    """Tensors that follow a gradient by Adam."""

    def __init__(self, tensors: dict[str, Tensor], rate: float) -> None:
        self.tensors = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
        found = list(self.tensors.values())
        # A fused step may be decided on the device.
        self.queued = bool(found) and waiting.queues(found[0].device)
        self.adam = eager(torch.optim.Adam)(found, lr=rate, fused=True if self.queued else None)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move by one step, unless a gradient is not finite; along the mean of all processes' gradients."""
        if ranks.size() > 1:
            flat = ranks.summed(torch.cat([g.flatten() for g in gradients])) / ranks.size()
            parts = flat.split([g.numel() for g in gradients])
            gradients = [part.view_as(g) for part, g in zip(parts, gradients, strict=True)]
        if self.queued:
            for tensor, gradient in zip(self.tensors.values(), gradients, strict=True):
                tensor.grad = gradient
            wrong = torch.stack([~gradient.isfinite().all() for gradient in gradients]).any()
            step_unless(self.adam, wrong)
        elif all(bool(gradient.isfinite().all()) for gradient in gradients):
            for tensor, gradient in zip(self.tensors.values(), gradients, strict=True):
                tensor.grad = gradient
            self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        tensors = {name: tensor.detach() for name, tensor in self.tensors.items()}
        return {"tensors": tensors, "adam": named_state(self.adam, self.tensors)}

    @classmethod
    def load(cls, state: dict[str, Any], rate: float, device: torch.device) -> TunedTensors:
        """What `state_dict` returned, on a device.

        Raises:
            UserError: Adam's state does not fit the tensors.
        """
        tensors = {name: tensor.clone().to(device) for name, tensor in state["tensors"].items()}
        tuned = cls(tensors, rate)
        load_named_state(tuned.adam, tuned.tensors, state["adam"], list(tensors))
        return tuned
