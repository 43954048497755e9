"""Stopping: the best evaluation so far, and when a training is over: budget, target, patience, a signal."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from framework.config.schema import EarlyStopping, TrainerSettings
from framework.task import Task


@dataclass
class Progress:
    """Where a run is: what a resume continues from."""

    step: int = 0
    # Of training, evaluation left out.
    seconds: float = 0.0
    # Step and metrics of the best evaluation.
    best: dict[str, float] = field(default_factory=dict)
    without_improvement: int = 0
    # Steps whose gradient was not finite.
    skipped: int = 0
    skipped_in_a_row: int = 0


def update_best(progress: Progress, task: Task, metrics: Mapping[str, float]) -> bool:
    """Whether the primary metric is the best so far; counts the evaluations since it was."""
    sign = 1 if task.metric_mode == "max" else -1
    best = progress.best.get(task.primary_metric, -sign * math.inf)
    # Never so where it is NaN.
    improved = sign * metrics[task.primary_metric] > sign * best
    progress.without_improvement = 0 if improved else progress.without_improvement + 1
    return improved


def early_stop(
    stopping: EarlyStopping, progress: Progress, task: Task, metrics: Mapping[str, float]
) -> str:
    """Why an evaluation ends the training; empty where it does not."""
    sign = 1 if task.metric_mode == "max" else -1
    value = metrics[task.primary_metric]
    if stopping.target is not None and sign * value >= sign * stopping.target:
        return f"{task.primary_metric} reached {value:.4g}"
    if stopping.patience and progress.without_improvement >= stopping.patience:
        return f"no improvement in {stopping.patience} evaluations"
    return ""


def spent(options: TrainerSettings, progress: Progress, start: int, stopped_by: int | None) -> str:
    """Why the budget is spent, empty where it is not; `start` is the step that this session began with."""
    if stopped_by is not None:
        return f"stopped by {signal.Signals(stopped_by).name}"
    if progress.step >= options.steps:
        return "all steps done"
    if options.seconds is not None and progress.seconds >= options.seconds:
        return f"{options.seconds:g} seconds of training are over"
    if options.stop_at is not None and progress.step >= options.stop_at > start:
        return f"stopped at step {progress.step}, as trainer.stop_at says"
    return ""
