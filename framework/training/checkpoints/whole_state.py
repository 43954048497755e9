"""All that a training is at a step, taken out for a checkpoint and put back from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from framework import ranks
from framework.batch import map_tensors
from framework.config.types import Count, CountOrZero, Positive
from framework.optimizer_state import empty_state, load_named_state, named_state
from framework.saved_state import check_saved
from framework.sharding import forget_brought_together
from framework.training.checkpoints import checkpoint
from framework.training.checkpoints.restoring import (
    check_tensors,
    load_estimator,
    load_model,
    load_task,
)
from framework.training.checkpoints.sharded import Place, divided_in
from framework.training.stopping import Progress

if TYPE_CHECKING:
    from framework.training.trainer import Trainer

# What `torch.amp.GradScaler` keeps.
SCALER = {
    "scale": Positive,
    "growth_factor": Positive,
    "backoff_factor": Positive,
    "growth_interval": Count,
    "_growth_tracker": CountOrZero,
}


def state_of(trainer: Trainer) -> dict[str, Any]:
    """All that an exact resume needs: tensors and plain Python."""
    if trainer.queued is not None:
        trainer.queued.read(trainer.progress)
    return {
        "format": checkpoint.FORMAT,
        "config": trainer.config,
        "step": trainer.progress.step,
        "progress": dict(vars(trainer.progress)),
        "model": dict(trainer.task.model.state_dict()),
        "average": None if trainer.average is None else trainer.average.values,
        "optimizer": named_state(trainer.optimizer, trainer.parameters),
        "estimator": estimator_state(trainer),
        "task": trainer.task.state_dict(),
        "scaler": trainer.scaler.state_dict(),
    }


def estimator_state(trainer: Trainer) -> dict[str, Any]:
    """What the estimator keeps; where each process has an objective of its own, what each one's keeps."""
    own = trainer.estimator.state_dict()
    return {"apart": ranks.gathered(own)} if own and trainer.program.apart else own


def put_back(trainer: Trainer, state: dict[str, Any]) -> None:
    """Let a training stand where a checkpoint was made.

    Raises:
        UserError: what it holds does not fit the task's model or the optimiser, or another version saved it.
    """
    checkpoint.check_format(state)
    trainer.progress = Progress.from_state(state["progress"])
    put_back_learned(trainer, state)
    load_task(trainer.task, state["task"])
    trainer.rollback.keep()


def put_back_learned(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Put back what the optimiser and the estimator have made, and what they keep for it."""
    load_model(trainer.task, state["model"])
    forget_brought_together(trainer.task.model)
    order = list(state["model"])
    load_named_state(trainer.optimizer, trainer.parameters, state["optimizer"], order)
    kept = state["estimator"]
    if "apart" in kept:
        kept = kept["apart"][ranks.rank()]
    load_estimator(trainer.estimator, map_tensors(lambda tensor: tensor.to(trainer.device), kept))
    # Empty where the run had another precision before.
    if state["scaler"]:
        check_saved("the gradient scaler", state["scaler"], **SCALER)
        trainer.scaler.load_state_dict(state["scaler"])
    if trainer.average is not None:
        check_tensors(trainer.parameters, state["average"] or trainer.parameters)
        trainer.average.copy_from(state["average"] or trainer.parameters)
    trainer.rollback.keep()


def own_parts(trainer: Trainer) -> dict[Place, Tensor]:
    """This process's parts of a divided model and of what is kept for it, to be read into."""
    if not trainer.divided:
        return {}
    kept = empty_state(trainer.optimizer, trainer.parameters)
    state = {"model": trainer.task.model.state_dict(), "optimizer": {"state": kept}}
    return divided_in(state | {"average": trainer.evaluation.averages})
