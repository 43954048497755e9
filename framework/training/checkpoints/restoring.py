"""What a checkpoint holds, put back: a model's parameters and a task's state, to go on with or to use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from framework.config.explanation import first_line
from framework.errors import UserError
from framework.gradients.estimator import Estimator
from framework.sharding import divided_as
from framework.task import Task
from framework.training.checkpoints import checkpoint
from framework.training.checkpoints.resume import warn
from framework.training.checkpoints.sharded import Place


def load_model(task: Task, state: Mapping[str, Tensor]) -> None:
    """Put saved parameters into the task's model.

    Raises:
        UserError: names, shapes or dtypes that are not the model's.
    """
    own = task.model.state_dict()
    check_tensors(own, state)
    task.model.load_state_dict(
        {name: divided_as(saved, own[name]) for name, saved in state.items()}
    )


def check_tensors(own: Mapping[str, Tensor], state: Any) -> None:
    """Check saved tensors against those that they are to replace.

    Raises:
        UserError: the first whose name, shape, dtype or layout is not the model's.
    """
    if not isinstance(state, Mapping):
        raise UserError(f"checkpoint: {type(state).__name__}, expected tensors by name")
    for name in {**own, **state}:
        for have, saved in zip(*(described(s.get(name)) for s in (own, state)), strict=True):
            if have != saved:
                raise UserError(f"checkpoint: '{name}' is {saved}, the task's model expects {have}")


def described(value: Any) -> tuple[Any, Any, Any]:
    """A tensor's shape, dtype and layout; None and the type of what is none."""
    if isinstance(value, Tensor):
        return list(value.shape), value.dtype, value.layout
    return None, type(value), None


def load_task(task: Task, state: dict[str, Any]) -> None:
    """Put a task's saved state back.

    Raises:
        UserError: it lacks what the task keeps now, or is no state of such a task.
    """
    with refused_in_one_line("the task's state", state, "the plugin"):
        task.load_state_dict(state)


def load_estimator(estimator: Estimator, state: dict[str, Any]) -> None:
    """Put an estimator's saved state back.

    Raises:
        UserError: it lacks what the estimator keeps now, or is no state of such an estimator.
    """
    with refused_in_one_line("the estimator's state", state, "it"):
        estimator.load_state_dict(state)


@contextmanager
def refused_in_one_line(what: str, state: Any, owner: str) -> Iterator[None]:
    """Whatever a saved state raises while it is put back, as a line about the checkpoint.

    Args:
        owner: what may have been of another version when it was saved.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        have = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise UserError(
            f"checkpoint: {what} has no {error}, only {have}: another version of {owner} saved it"
        ) from error
    # Who keeps a state checks no types: it is its own in all but a damaged or a foreign checkpoint.
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"checkpoint: {what} does not fit ({reason})") from error


def load_for_use(task: Task, folder: Path, which: str) -> int:
    """Put the best or the last checkpoint's parameters, averaged where they were, into the model; returns its step."""
    kind: Literal["step", "best"] = "best" if which == "best" else "step"
    if kind == "best" and not checkpoint.list_checkpoints(folder / "checkpoints", kind):
        raise UserError(
            f"{folder}: it was stopped before it had a best checkpoint; take checkpoint=last"
        )
    own: dict[Place, Tensor] = {
        ("model", name): values for name, values in task.model.state_dict().items()
    }
    state = checkpoint.load_newest(
        folder / "checkpoints", warn, kind=kind, into=own, kinds=("model", "average")
    )
    checkpoint.check_format(state)
    # First: a task may take its model's shape from it.
    load_task(task, state["task"])
    load_model(task, state["model"])
    if state["average"] is not None:
        check_tensors(task.parameters, state["average"])
        with torch.no_grad():
            for name, value in state["average"].items():
                task.parameters[name].copy_(value)
    return int(state["step"])
