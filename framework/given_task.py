"""A task object that the caller gives in place of an experiment's name: what it must be, its name, copies of it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from framework.errors import UserError

if TYPE_CHECKING:
    from framework.task import Task


def task_object(experiment: Any) -> Task | None:
    """The task, where `experiment` is no name.

    Raises:
        UserError: something else, such as a class, or a task without a model.
    """
    if experiment is None or isinstance(experiment, str):
        return None
    from torch import nn

    from framework.task import Task

    if not isinstance(experiment, Task):
        hint = "; call it to make one" if isinstance(experiment, type) else ""
        raise UserError(
            f"experiment = {experiment!r}: expected an experiment's name or a framework.Task{hint}"
        )
    if not isinstance(getattr(experiment, "model", None), nn.Module):
        raise UserError(
            f"{type(experiment).__name__}: set self.model to an nn.Module in the constructor"
        )
    return experiment


def require_task(task: Any) -> None:
    """Refuse what is no task object, such as a task's name.

    Raises:
        UserError: says so; or a task without a model.
    """
    from framework.task import Task

    if not isinstance(task, Task):
        raise UserError(f"task = {task!r}: expected a framework.Task")
    task_object(task)


def copied(task: Task | None, *, without_parameters: bool = False) -> Task | None:
    """A task object as it was before any training, for one of several.

    Args:
        without_parameters: whether its model's parameters are to have no memory yet.

    Raises:
        UserError: it cannot be copied.
    """
    try:
        if task is not None and without_parameters:
            from framework.sharding import copied_without_parameters

            return cast("Task", copied_without_parameters(task))
        return copy.deepcopy(task)
    except Exception as error:
        kind = type(task).__name__
        raise UserError(f"{kind} cannot be copied for each training: {error}") from None


def name_of(task: Task) -> str:
    """What the configuration of a run of a task object calls it."""
    return f"{type(task).__module__}:{type(task).__name__}"


def other_task_notice(before: str, now: str) -> str:
    """What to say where a run is continued by an object of another class, which may be meant; "" where it is not."""
    return "" if before == now else f"the run is of task '{before}', and '{now}' continues it"
