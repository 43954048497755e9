"""The checkpoint whose numbers and pictures a run reports: the last one, or, where the task asks for it, the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError
from framework.sharding import forget_brought_together
from framework.task import Task
from framework.training.checkpoints import checkpoint
from framework.training.checkpoints.restoring import load_model, load_task
from framework.training.checkpoints.sharded import Place, divided_in
from framework.training.stopping import Progress
from framework.training.updates.averages import AveragedParameters


class Reported:
    """Which checkpoint is reported, known from the first block of `in_use` on."""

    def __init__(
        self,
        task: Task,
        average: AveragedParameters | None,
        folder: Path,
        log: Callable[[str], Any],
    ) -> None:
        self.task, self.average, self.folder, self.log = task, average, folder, log
        self.best_step: int | None = None

    def described(self, progress: Progress) -> dict[str, Any]:
        """For `result.json`."""
        best = self.best_step is not None
        step = self.best_step if best else progress.step
        return {"checkpoint": "best" if best else "last", "step": step, "split": "test"}

    @contextmanager
    def in_use(self, progress: Progress) -> Iterator[None]:
        """Inside the block the task has the parameters and the state that are reported; the last ones after it."""
        step = int(progress.best.get("step", 0))
        state = self.best(step) if step not in (0, progress.step) else None
        self.best_step = None if state is None else step
        if state is None:
            yield
            return
        model, own = clone(self.task.model.state_dict()), self.task.state_dict()
        average = None if self.average is None else clone(self.average.values)
        self.take(state["model"], state["task"], state["average"])
        try:
            yield
        finally:
            self.take(model, own, average)

    def best(self, step: int) -> dict[str, Any] | None:
        """The state of the best checkpoint; None where it is not asked for, or cannot be read."""
        if not self.task.reports_best:
            return None
        try:
            state = checkpoint.load_newest(
                self.folder / "checkpoints",
                self.log,
                kind="best",
                into=self.parts(),
                kinds=("model", "average"),
            )
        except UserError as error:
            self.log(f"the last step's numbers are reported: {error}")
            return None
        return state if state["step"] == step else None

    def parts(self) -> dict[Place, Tensor]:
        """Of a divided model: tensors for this process's parts of it, and of its averages."""
        average = {} if self.average is None else self.average.values
        found = divided_in({"model": self.task.model.state_dict(), "average": average})
        return {place: torch.empty_like(own) for place, own in found.items()}

    def take(
        self,
        model: Mapping[str, Tensor],
        state: dict[str, Any],
        average: Mapping[str, Tensor] | None,
    ) -> None:
        load_model(self.task, model)
        forget_brought_together(self.task.model)
        load_task(self.task, state)
        if self.average is not None and average is not None:
            self.average.copy_from(average)


def clone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
