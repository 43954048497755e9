"""What is measured and shown of a training between its steps, with averaged parameters where there are any.

Training goes on as if nothing had happened: its randomness is put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from framework import ranks
from framework.config.schema import Settings
from framework.errors import Elsewhere, ProgramError
from framework.parameters import placed
from framework.randomness import key, restore_states, save_states, seeded
from framework.sharding import exchanged
from framework.task import Split, Task
from framework.training.monitor import Monitor
from framework.training.updates.averages import AveragedParameters
from framework.training.updates.precision import autocast
from framework.training.watchdog import Watchdog


class Evaluation:
    """Measures and shows what a task has learned.

    Args:
        average: the averaged parameters; None: the latest are taken.
        watchdog: rests meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        task: Task,
        average: AveragedParameters | None,
        device: torch.device,
        watchdog: Watchdog,
    ) -> None:
        self.task, self.average, self.watchdog = task, average, watchdog
        self.seed, self.device = settings.seed, device
        self.precision = settings.trainer.precision
        # A divided model runs in all processes at once: they measure the same.
        self.divided = settings.trainer.sharding == "full"
        # A task may let each process measure a part.
        self.in_parts = task.evaluates_in_parts and not self.divided

    @property
    def by_all(self) -> bool:
        """Whether all processes evaluate, and not the first one alone."""
        return self.divided or self.in_parts

    def metrics(self, split: Split) -> dict[str, float]:
        """The task's metrics; of several processes one measures them, and the others wait for it, or all do.

        Raises:
            ProgramError: the primary metric is not among them, or the evaluation failed in another process.
        """
        found: dict[str, float] | None = None
        failure: Exception | None = None
        with self.watchdog.resting():
            if ranks.rank() == 0 or self.by_all:
                try:
                    with nullcontext() if self.in_parts else ranks.alone():
                        found = self.measured(split)
                except Exception as error:
                    failure = error
            ranks.wait_for_first()
        found = ranks.of_first(found)
        if found is None:
            raise failure or Elsewhere("the evaluation raised an error in the first process")
        return found

    def measured(self, split: Split) -> dict[str, float]:
        """What this process measures."""
        model, states = self.task.model, save_states()
        model.eval()
        try:
            with torch.no_grad(), autocast(self.device, self.precision), self.averages_in_use():
                metrics = self.task.evaluate(key(self.seed, split) % 2**31, split)
        finally:
            model.train()
            restore_states(states)
        if self.task.primary_metric not in metrics and ranks.rank() == 0:
            known = ", ".join(metrics) or "none"
            raise ProgramError(
                f"the task's primary metric '{self.task.primary_metric}' is not among its metrics: {known}"
            )
        return {name: float(value) for name, value in metrics.items()}

    def show(self, monitor: Monitor, step: int, parameters: AbstractContextManager[None]) -> None:
        """Write the task's pictures and videos, by one process.

        Args:
            parameters: a block in which the model has the parameters that are to be shown.
        """
        with self.watchdog.resting():
            try:
                if ranks.rank() == 0 or self.divided:
                    with ranks.alone():
                        self.shown(monitor, step, parameters)
            finally:
                ranks.wait_for_first()

    def shown(self, monitor: Monitor, step: int, parameters: AbstractContextManager[None]) -> None:
        model, seed = self.task.model, key(self.seed, "show") % 2**31
        model.eval()
        with parameters, torch.no_grad(), seeded(seed), self.averages_in_use():
            monitor.media(step, self.task.show(seed))
        model.train()

    @property
    def averages(self) -> Mapping[str, Tensor]:
        """The averaged parameters; none where nothing is averaged."""
        return {} if self.average is None else self.average.values

    def averages_in_use(self) -> AbstractContextManager[None]:
        """Inside the block the model has the averaged parameters, where there are any."""
        put_in = exchanged if self.divided and self.averages else placed
        return put_in(self.task.model, self.averages)
