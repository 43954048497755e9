"""What a plugin provides: a model, an objective, and how both are fed, judged and shown."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.gradients.estimator import Estimator
from framework.media import Media
from framework.parameters import Parameters, placed, unchanged_buffers
from framework.program import Program, RolloutPlan
from framework.randomness import seeded
from framework.recording.context import Context
from framework.recording.rule import Plain

Split = Literal["validation", "test"]

# What follows a metric's name where an evaluation states its standard error.
STANDARD_ERROR = "_standard_error"


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a training is about to do.

    Attributes:
        seed: the run's.
        steps: optimiser steps of the whole run.
        accumulate: batches of one optimiser step.
        learning_rate: the optimiser's, before its schedule; None: not given.
        start: steps done by earlier sessions of the run; 0: it is new.
    """

    seed: int
    steps: int
    accumulate: int = 1
    learning_rate: float | None = None
    start: int = 0

    @property
    def resumed(self) -> bool:
        return self.start > 0


class Task(ABC):
    """A model and an objective over it.

    The keyword-only arguments of the constructor are the task's configuration (`task.<argument>`); annotate them, with
    ranges where there are any (`Annotated[float, Field(gt=0)]`), and configurations are checked against them.
    """

    # Set it in the constructor.
    model: nn.Module
    # How many leading axes of a batch's tensors count data.
    batch_axes: ClassVar[int] = 0
    # For objectives that call `.item()` or branch on drawn values.
    one_sample_at_a_time: ClassVar[bool] = False
    # Whether the objective keeps tensors between runs, as a game does.
    stateful: ClassVar[bool] = False
    # Watch the first run for faults that make a gradient wrong without any other sign; see `framework.lint`.
    checked: ClassVar[bool] = True
    # The metric by which the best checkpoint is chosen, and whether less or more of it is better.
    primary_metric: ClassVar[str] = "objective"
    metric_mode: ClassVar[Literal["min", "max"]] = "min"
    # Whether the final evaluation and what is shown then are the best checkpoint's, which `load` takes by default, and
    # not the last one's.
    reports_best: ClassVar[bool] = False
    # Whether several processes evaluate together, each its part of the data (`framework.ranks.in_parts`). The first one
    # returns the metrics; what the others return is not read.
    evaluates_in_parts: ClassVar[bool] = False
    # Three numbers that the console shows while training besides the primary metric: their tags by short names.
    progress_numbers: ClassVar[Mapping[str, str]] = {
        "train": "train/objective",
        "norm": "gradient/norm",
        "steps/s": "time/steps_per_second",
    }
    # What the metrics of `evaluate` and the tags of `scalars` mean; `<...>` in a name stands for anything.
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "objective": "mean objective over 1,000 samples",
        "objective_standard_error": "its standard error",
    }

    @classmethod
    def judged_by(cls, options: Mapping[str, Any]) -> tuple[str, Literal["min", "max"]]:
        """The primary metric and its mode, where the task's options decide on them; by default the class's own."""
        return cls.primary_metric, cls.metric_mode

    @abstractmethod
    def objective(self, context: Context, batch: Any) -> None:
        """Draw with `context.sample`, charge with `context.cost`; use `self.model` as it is."""

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        """Batches from number `start` on, without end; what a batch holds depends on (seed, number) and the model only.

        `framework.data.batches` does so for a data set. By default there is no data: each batch is None.
        """
        while True:
            yield None

    def begin(self, plan: TrainingPlan) -> None:
        """Called once before a training's first batch, after a resumed run's state is back: read data, start weights.

        Raises:
            UserError: what the training needs is missing; the run ends before its first step.
        """

    def loaded(self, folder: Path) -> None:
        """Called once when a trained run is ready for use, with its folder: read what lies there beside checkpoints."""

    def before_step(self, step: int) -> None:
        """Called before the batches of optimiser step `step` (from 0) are fetched, the model in training mode."""

    def restarted_rows(self) -> Mapping[str, Tensor]:
        """Rows of parameters that the last `before_step` has put elsewhere: the optimiser forgets their moments."""
        return {}

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Metrics of the current model, reproducible from `seed`; by default the objective over 1,000 samples.

        Called with the model in evaluation mode and without gradients. A task with data must write its own. Where the
        primary metric is an estimate, a metric "<its name>_standard_error" tells how good a one: the best checkpoint
        is then the latest of those that it cannot tell apart.

        Args:
            split: the data to evaluate on: "validation" while training, "test" at the end and for `evaluate`.
        """
        rule = Plain()
        program = replace(self.as_program(self.objective), checked=False)
        with seeded(seed):
            traces = program.run(lambda site: rule, self.parameters, samples=1000)
        metrics = {"objective": float(torch.stack([t.objective() for t in traces]).mean())}
        if not any(trace.bounds for trace in traces):
            values = torch.cat([trace.total_cost().flatten() for trace in traces])
            error = values.double().std() / math.sqrt(len(values))
            metrics[f"objective{STANDARD_ERROR}"] = float(error)
        return metrics

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

    def export(self, path: Path, **options: Any) -> Path:
        """Write the trained model to a file that runs without this framework, for `run.export`; returns its path.

        Raises:
            UserError: the task cannot be exported (the default).
        """
        raise UserError(f"{type(self).__name__} cannot be exported")

    def program(self, estimator: Estimator) -> Program:
        """The program that the estimator differentiates; a task with several chooses by what the estimator can do."""
        return self.as_program(self.objective)

    def state_dict(self) -> dict[str, Any]:
        """What else a resumed run needs: tensors and plain Python."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""

    def replace_model(self, model: nn.Module) -> None:
        """Make `model` the task's, on the same device; `parameters` are its own from now on."""
        self.model = model.to(self.device)
        self.__dict__.pop("parameters", None)

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The model's parameters by name."""
        return dict(self.model.named_parameters())

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def as_program(
        self,
        objective: Any,
        *,
        recorded_trajectories: bool = False,
        rollouts: RolloutPlan | None = None,
    ) -> Program:
        """An objective of this task as a program: given parameters are placed into the model for each call."""

        def function(context: Context, parameters: Parameters, batch: Any) -> None:
            # A probing run must not count in running statistics.
            with unchanged_buffers(self.model) if context.dry_run else nullcontext():
                if parameters is self.parameters:
                    objective(context, batch)
                    return
                with placed(self.model, parameters):
                    objective(context, batch)

        return Program(
            function,
            batch_axes=self.batch_axes,
            one_sample_at_a_time=self.one_sample_at_a_time,
            recorded_trajectories=recorded_trajectories,
            rollouts=rollouts,
            stateful=self.stateful,
            checked=self.checked,
        )
