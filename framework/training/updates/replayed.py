"""The gradient of a batch as one CUDA graph: what an estimator launches for it becomes one launch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from framework import ranks, waiting
from framework.batch import leaves, map_tensors
from framework.capture import Captured
from framework.gradients.estimator import Estimate
from framework.training.checkpoints.resume import warn

if TYPE_CHECKING:
    from framework.training.trainer import Trainer

Shapes = tuple[tuple[torch.Size, torch.dtype], ...]


def is_replayed(trainer: Trainer) -> bool:
    """Whether a training's gradients may be replayed: program and estimator declare it, and nothing is added up."""
    return (
        waiting.queues(trainer.device)
        and trainer.program.capturable
        and trainer.estimator.capturable
        and trainer.options.accumulate == 1
        and not trainer.scaler.is_enabled()
        and ranks.size() == 1
    )


def shapes_of(batch: Any) -> Shapes:
    """What all batches have in common whose gradient one recording serves."""
    return tuple((tensor.shape, tensor.dtype) for tensor in leaves(batch))


class ReplayedGradients:
    """An estimator's `backward`, recorded once for each shape of a batch."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.known: dict[Shapes, ReplayedGradient] = {}

    def __call__(self, batch: Any) -> Estimate:
        """The gradient into `.grad`, and the estimate."""
        shapes = shapes_of(batch)
        if shapes not in self.known:
            self.known[shapes] = ReplayedGradient(self.trainer, batch)
        return self.known[shapes](batch)


class ReplayedGradient:
    """The gradient of batches of one shape, which are copied to where the recorded one was.

    Attributes:
        batch: the tensors that the recording reads.
        gradients: those that it writes, by parameter.
        estimate: what it returns, in tensors that it writes.
    """

    def __init__(self, trainer: Trainer, batch: Any) -> None:
        self.trainer = trainer
        self.batch = map_tensors(lambda tensor: tensor.clone(), batch)
        self.gradients: dict[str, Tensor | None] = {}
        self.estimate: Estimate | None = None
        self.captured = Captured(self.differentiate, trainer.device)

    def __call__(self, batch: Any) -> Estimate:
        """The gradient into `.grad`, and the estimate."""
        for own, given in zip(leaves(self.batch), leaves(batch), strict=True):
            own.copy_(given)
        refused = self.captured.refused
        if not self.captured():
            self.trainer.estimator.repeated()
        if self.captured.refused != refused:
            warn(f"gradients are not replayed as a graph: {self.captured.refused}")
        for name, parameter in self.trainer.parameters.items():
            parameter.grad = self.gradients[name]
        assert self.estimate is not None
        extras = map_tensors(lambda tensor: tensor.clone(), self.estimate.extras)
        return replace(self.estimate, objective=self.estimate.objective.clone(), extras=extras)

    def differentiate(self) -> None:
        """Run the estimator, and keep where its results are."""
        trainer = self.trainer
        for parameter in trainer.parameters.values():
            parameter.grad = None
        self.estimate = trainer.estimator.backward(trainer.program, trainer.parameters, self.batch)
        self.gradients = {name: p.grad for name, p in trainer.parameters.items()}
