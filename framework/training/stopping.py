"""Stopping: the best evaluation so far, and when a training is over: budget, target, patience, a signal."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from framework.config.schema import EarlyStopping, TrainerSettings
from framework.errors import UserError
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
    # The step of the latest evaluation on the validation split that came to its end.
    evaluated: int = 0
    # Steps whose gradient was not finite.
    skipped: int = 0
    skipped_in_a_row: int = 0
    # The latest step at which the gradient was finite: the parameters of checkpoints up to it are sound.
    finite: int = -1
    # What `finite` was at the latest roll-back.
    rolled_back: int = -2

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        """What a checkpoint holds, checked; one of an earlier version lacks some of it.

        Raises:
            UserError: a key of a newer version, or a value that cannot be.
        """
        if not isinstance(state, Mapping) or "step" not in state:
            raise UserError("checkpoint: progress has no step")
        step = state["step"]
        # An earlier version judged and stepped before it saved.
        given = {"evaluated": step, "finite": step - 1 if type(step) is int else step, **state}
        known = {f.name: f for f in fields(cls)}
        for name, value in given.items():
            if name not in known:
                raise UserError(
                    f"checkpoint: progress has an unknown key '{name}': a newer version saved it"
                )
            expected = {"best": dict, "seconds": (int, float)}.get(name, int)
            lowest = {"finite": -1, "rolled_back": -2}.get(name, 0)
            right = isinstance(value, expected) and not isinstance(value, bool)  # type: ignore[arg-type]
            if not right or (name != "best" and not lowest <= value < math.inf):
                raise UserError(f"checkpoint: progress.{name} = {value!r} cannot be")
        best = given.get("best", {})
        for name, value in best.items():
            kind = int if name == "step" else (int, float)
            if not (isinstance(name, str) and isinstance(value, kind)) or isinstance(value, bool):
                raise UserError(f"checkpoint: progress.best.{name} = {value!r} cannot be")
        if best and "step" not in best:
            raise UserError("checkpoint: progress.best has no step")
        return cls(**given)


def is_best(progress: Progress, task: Task, metrics: Mapping[str, float]) -> bool:
    """Whether the primary metric is better than ever before; never so where it is not finite."""
    sign = 1 if task.metric_mode == "max" else -1
    best = progress.best.get(task.primary_metric, -sign * math.inf)
    value = metrics[task.primary_metric]
    return math.isfinite(value) and sign * value > sign * best


def early_stop(stopping: EarlyStopping, progress: Progress, task: Task) -> str:
    """Why the evaluations so far end the training; empty where they do not."""
    sign = 1 if task.metric_mode == "max" else -1
    best = progress.best.get(task.primary_metric)
    if stopping.target is not None and best is not None and sign * best >= sign * stopping.target:
        return f"{task.primary_metric} reached {best:.4g}"
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
