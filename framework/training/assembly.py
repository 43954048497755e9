"""Assembly: the components of a run, built and checked from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from framework.config.schema import Settings
from framework.config.validation import build
from framework.errors import ProgramError, UserError

if TYPE_CHECKING:
    import torch

    from framework.gradients.estimator import Estimator
    from framework.task import Task
    from framework.training.optimization import Schedule


@dataclass
class Parts:
    """What a run is made of, built and checked before its folder exists."""

    device: torch.device
    task: Task
    estimator: Estimator
    schedule: Schedule


def make_parts(settings: Settings) -> Parts:
    """Build the task and the estimator.

    Raises:
        UserError: an option that a component does not have or refuses, or a device that is not there.
    """
    import torch

    from framework.randomness import key, seed_torch

    options = settings.trainer
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    estimator = build("estimator", settings.estimator)
    schedule = build("scheduler", settings.scheduler, options.steps)
    seed_torch(key(settings.seed, "model"))
    task = build("task", settings.task)
    if not task.parameters:
        raise ProgramError(f"task '{settings.task.name}': its model has no parameters to learn")
    task.model.to(device)
    if options.compile:
        task.model.compile()
    return Parts(device, task, estimator, schedule)


def choose_device(name: str) -> torch.device:
    """The device to train on.

    Raises:
        UserError: it was named and is not there.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        there = ", ".join(device for device in available if available[device])
        raise UserError(
            f"trainer.device = '{name}': not available on this machine; choices: {there}"
        )
    return torch.device(name)
