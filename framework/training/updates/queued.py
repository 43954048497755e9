"""Steps on a device that works through a queue: it decides by itself which gradients are finite, and tells at the logs.

A step whose gradient is not finite changes nothing: the optimiser is told by a tensor (`found_inf`, as of
`torch.amp.GradScaler`) and leaves parameters and its own state as they are; averages and buffers stay likewise. So
nothing has to be read between two logs, and a wait costs nothing where there is one anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from framework import waiting
from framework.eager_optimizer import step_unless
from framework.training.updates.clipping import clip
from framework.training.updates.nonfinite import act

if TYPE_CHECKING:
    from framework.training.stopping import Progress
    from framework.training.trainer import Trainer


def decides_itself(trainer: Trainer) -> bool:
    """Whether steps of a training are left to its device.

    Not where the first bad step ends the training, whose batch is kept; nor in float16, whose scale follows each step;
    nor by an optimiser that cannot be told on the device.
    """
    return (
        waiting.queues(trainer.device)
        and trainer.options.on_nonfinite != "stop"
        and not trainer.scaler.is_enabled()
        and bool(getattr(trainer.optimizer, "_step_supports_amp_scaling", False))
    )


class QueuedSteps:
    """The steps of a training, decided on the device.

    Attributes:
        counts: `[3]`, since the latest `read`: skipped steps; steps skipped in a row up to now; the latest step with a
            finite gradient, -1 where there was none.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.counts = torch.zeros(3, dtype=torch.int64, device=trainer.device)
        self.taken = 0

    @torch.no_grad()
    def step(self, norm: Tensor) -> None:
        """Clip and step, unless the gradient's norm is not finite."""
        trainer = self.trainer
        wrong = ~norm.isfinite()
        if trainer.options.clip_norm is not None:
            clip(trainer.clip_groups(), trainer.options.clip_norm, norm)
        trainer.moving = True
        step_unless(trainer.optimizer, wrong)
        if trainer.average is not None:
            trainer.average.update(trainer.progress.step, wrong)
        trainer.rollback.keep_unless(wrong)
        skipped, in_a_row, finite = self.counts.unbind()
        latest = torch.where(wrong, finite, trainer.progress.step)
        self.counts = torch.stack([skipped + wrong, (in_a_row + 1) * wrong, latest])
        self.taken += 1

    def read(self, progress: Progress) -> bool:
        """Bring a training's progress up to date; whether the latest step was skipped."""
        if not self.taken:
            return False
        skipped, in_a_row, finite = (int(count) for count in self.counts.tolist())
        progress.skipped += skipped
        whole = in_a_row == self.taken
        progress.skipped_in_a_row = in_a_row + (progress.skipped_in_a_row if whole else 0)
        progress.finite = finite if skipped < self.taken else progress.finite
        self.counts = torch.zeros_like(self.counts)
        self.taken = 0
        return in_a_row > 0

    def settle(self, log: Callable[[str], None]) -> None:
        """Read, and go by `trainer.on_nonfinite` after too many bad steps in a row.

        Raises:
            UserError: there were too many, and nothing to go back to.
        """
        waiting.read()
        if self.read(self.trainer.progress):
            act(self.trainer, log)
