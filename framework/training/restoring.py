"""What a checkpoint holds, put back: a model's parameters and a task's state, to go on with or to use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from framework.errors import UserError
from framework.task import Task
from framework.training import checkpoint
from framework.training.resume import warn


def load_model(task: Task, state: Mapping[str, Tensor]) -> None:
    """Put saved parameters into the task's model.

    Raises:
        UserError: names and shapes that are not the model's.
    """
    own = task.model.state_dict()
    for name in {**own, **state}:
        have = list(own[name].shape) if name in own else None
        saved = list(state[name].shape) if name in state else None
        if have != saved:
            raise UserError(f"checkpoint: '{name}' is {saved}, the task's model expects {have}")
    task.model.load_state_dict(dict(state))


def load_task(task: Task, state: dict[str, Any]) -> None:
    """Put a task's saved state back.

    Raises:
        UserError: it lacks what the task keeps now.
    """
    try:
        task.load_state_dict(state)
    except KeyError as error:
        raise UserError(
            f"checkpoint: the task's state has no {error}, only {sorted(state)}: another version of the plugin saved it"
        ) from error


def load_for_use(task: Task, folder: Path, which: str) -> int:
    """Put the best or the last checkpoint's parameters, averaged where they were, into the model; returns its step."""
    kind: Literal["step", "best"] = "best" if which == "best" else "step"
    if kind == "best" and not checkpoint.list_checkpoints(folder / "checkpoints", kind):
        raise UserError(
            f"{folder}: it was stopped before it had a best checkpoint; take checkpoint=last"
        )
    state = checkpoint.load_newest(folder / "checkpoints", warn, kind=kind)
    checkpoint.check_format(state)
    # First: a task may take its model's shape from it.
    load_task(task, state["task"])
    load_model(task, state["model"])
    if state["average"] is not None:
        with torch.no_grad():
            for name, value in state["average"].items():
                task.parameters[name].copy_(value)
    return int(state["step"])
