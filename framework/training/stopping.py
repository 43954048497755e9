"""Stopping: the best evaluation so far, and when a training is over: budget, target, patience, a signal."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from framework.config.schema import EarlyStopping, TrainerSettings
from framework.errors import UserError
from framework.task import STANDARD_ERROR, Task

# What is no more than the steps that are done.
LATER = ("evaluated", "skipped", "skipped_in_a_row", "finite", "rolled_back")


@dataclass
class Progress:
    """Where a run is: what a resume continues from."""

    step: int = 0
    # Of training, evaluation left out.
    seconds: float = 0.0
    # Step and metrics of the best parameters.
    best: dict[str, float] = field(default_factory=dict)
    # Metrics of the evaluation with the best value, of which those of `best` fall short by chance at most.
    record: dict[str, float] = field(default_factory=dict)
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

    @property
    def best_value(self) -> dict[str, float]:
        """The metrics with the best primary one so far; an earlier version kept no others than those of `best`."""
        return self.record or self.best

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
            expected = {"best": dict, "record": dict, "seconds": (int, float)}.get(name, int)
            lowest = {"finite": -1, "rolled_back": -2}.get(name, 0)
            right = isinstance(value, expected) and not isinstance(value, bool)  # type: ignore[arg-type]
            if not right or (expected is not dict and not lowest <= value < math.inf):
                raise UserError(f"checkpoint: progress.{name} = {value!r} cannot be")
        check_metrics(given.get("best", {}), given.get("record", {}))
        counted = {name: given[name] for name in LATER if name in given}
        for name, value in {**counted, "best.step": given.get("best", {}).get("step", 0)}.items():
            if value > step:
                raise UserError(
                    f"checkpoint: progress.{name} = {value} cannot be after {step} steps"
                )
        return cls(**given)


def check_metrics(best: Mapping[Any, Any], record: Mapping[Any, Any]) -> None:
    """Check the metrics that a checkpoint holds.

    Raises:
        UserError: names what cannot be.
    """
    for part, metrics in (("best", best), ("record", record)):
        for name, value in metrics.items():
            kind = int if name == "step" else (int, float)
            right = isinstance(name, str) and isinstance(value, kind)
            if not right or isinstance(value, bool):
                raise UserError(f"checkpoint: progress.{part}.{name} = {value!r} cannot be")
    if best and "step" not in best:
        raise UserError("checkpoint: progress.best has no step")


def improves(progress: Progress, task: Task, metrics: Mapping[str, float]) -> bool:
    """Whether the primary metric is better than ever before; never so where it is not finite."""
    sign = 1 if task.metric_mode == "max" else -1
    record = progress.best_value.get(task.primary_metric, -sign * math.inf)
    value = metrics[task.primary_metric]
    return math.isfinite(value) and sign * value > sign * record


def is_best(progress: Progress, task: Task, metrics: Mapping[str, float]) -> bool:
    """Whether these parameters are the best ones: none before were better by more than chance explains.

    The highest of several noisy values is high by luck, too. So a later candidate counts as equal while it falls short
    of the best value by one standard error of the difference at most (the one-standard-error rule of Breiman et al.
    1984), and of equals the later is taken. Without a standard error among the metrics only equal values are equal.
    """
    if not progress.best_value or improves(progress, task, metrics):
        return math.isfinite(metrics[task.primary_metric])
    metric, sign = task.primary_metric, 1 if task.metric_mode == "max" else -1
    errors = [given.get(metric + STANDARD_ERROR, 0.0) for given in (progress.best_value, metrics)]
    slack = math.hypot(*(error for error in errors if math.isfinite(error)))
    return sign * metrics[metric] >= sign * progress.best_value[metric] - slack


def early_stop(stopping: EarlyStopping, progress: Progress, task: Task) -> str:
    """Why the evaluations so far end the training; empty where they do not."""
    sign = 1 if task.metric_mode == "max" else -1
    best = progress.best_value.get(task.primary_metric)
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
