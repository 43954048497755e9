"""What a plugin provides: a model, an objective, and how both are fed, judged and shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from framework.context import Context
from framework.errors import UserError
from framework.gradients.estimator import Estimator
from framework.media import Media
from framework.parameters import Parameters, placed
from framework.program import Program, Rollouts
from framework.randomness import seeded
from framework.rule import Plain


class Task(ABC):
    """A model and an objective over it.

    The keyword-only arguments of the constructor are the task's configuration (`task.<argument>`); annotate them, with
    ranges where there are any (`Annotated[float, Field(gt=0)]`), and configurations are checked against them.
    """

    model: nn.Module  # set it in the constructor
    batch_axes: ClassVar[int] = 0  # how many leading axes of a batch's tensors count data
    loop: ClassVar[bool] = False  # one sample at a time: for .item() and branches on drawn values
    stateful: ClassVar[bool] = False  # the objective keeps tensors between runs, as a game does
    headline: ClassVar[str] = "objective"  # the metric that says which checkpoint is best
    goal: ClassVar[Literal["min", "max"]] = "min"
    stage: Literal["validation", "test"] = "test"  # what `evaluate` is for; the trainer sets it

    @abstractmethod
    def objective(self, context: Context, batch: Any) -> None:
        """Draw with `context.sample`, charge with `context.cost`; use `self.model` as it is."""

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        """Batches from number `start` on, for ever; what a batch holds depends on (seed, number) and the model only.

        `framework.data.batches` does so for a data set. By default there is no data: each batch is None.
        """
        while True:
            yield None

    def evaluate(self, seed: int) -> dict[str, float]:
        """Metrics of the current model, reproducible from `seed`; by default the objective over 1,000 samples.

        Called with the model in evaluation mode and without gradients. A task with data must write its own.
        """
        rule = Plain()
        program = self.as_program(self.objective)
        with seeded(seed):
            traces = program.run(lambda site: rule, self.parameters, samples=1000)
        return {"objective": float(torch.stack([t.objective() for t in traces]).mean())}

    def scalars(self) -> dict[str, float]:
        """Numbers to log beside the objective, by tag such as "train/return"."""
        return {}

    def show(self, seed: int) -> Iterator[Media]:
        """Pictures, videos and texts of what the model does now."""
        return iter(())

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """What the trained model makes of the user's image, folder or video, or of nothing, for `diffobj predict`.

        Called with the model in evaluation mode and without gradients. A name with slashes is saved in sub-folders.

        Raises:
            UserError: the task has no predictions (the default), or cannot read the source.
        """
        raise UserError(f"{type(self).__name__} makes no predictions; diffobj evaluate measures it")

    def program(self, estimator: Estimator) -> Program:
        """The program that the estimator differentiates; a task with several chooses by what the estimator can do."""
        return self.as_program(self.objective)

    def state_dict(self) -> dict[str, Any]:
        """What else a resumed run needs: tensors and plain Python."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The model's parameters by name."""
        return dict(self.model.named_parameters())

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def as_program(
        self, objective: Any, *, steps: bool = False, rollouts: Rollouts | None = None
    ) -> Program:
        """An objective of this task as a program: given parameters are placed into the model for each call."""

        def function(context: Context, parameters: Parameters, batch: Any) -> None:
            if parameters is self.parameters:
                objective(context, batch)
                return
            with placed(self.model, parameters):
                objective(context, batch)

        return Program(
            function,
            batch_axes=self.batch_axes,
            loop=self.loop,
            steps=steps,
            rollouts=rollouts,
            stateful=self.stateful,
        )
