"""Assembly: the components of a run, built and checked from its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from framework.capabilities import estimators
from framework.config.schema import Settings
from framework.config.validation import COMPONENT_GROUPS, build
from framework.errors import ProgramError, UserError
from framework.extras import require
from framework.launch import launched, process_count
from framework.plugin import registry
from framework.training.loggers import require_loggers

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

    from framework.gradients.estimator import Estimator
    from framework.task import Task
    from framework.training.updates.optimization import Schedule


@dataclass
class Components:
    """What a run is made of, built and checked before its folder exists."""

    device: torch.device
    task: Task
    estimator: Estimator
    optimizer: Optimizer
    schedule: Schedule


def require_extras(settings: Settings) -> None:
    """Refuse settings that need a package which is not installed, before anything heavy is imported.

    Raises:
        UserError: names the package's extra and the command that installs it.
    """
    require_loggers(settings.monitor.loggers)
    for key, group in COMPONENT_GROUPS.items():
        choice = getattr(settings, key)
        # A task object of the caller's is not registered.
        if choice.name not in registry().names(group):
            continue
        if needs := registry().needs(registry().component(group, choice.name)):
            require(needs.load()(choice.options))


def refuse_together(settings: Settings) -> None:
    """Refuse to train in several processes with an estimator that one alone can train with.

    Raises:
        UserError: names the estimator and why.
    """
    processes = process_count() if launched() else settings.trainer.ranks or 1
    count, kind = max((processes, "processes"), (settings.trainer.shards or 1, "shards"))
    declared = dict((c.name, given) for c, given in estimators()).get(settings.estimator.name)
    if count == 1 or declared is None:
        return
    why = ""
    if declared.delegates:
        why = "chooses by measured seconds, which differ between processes; name an estimator"
    elif declared.action_values:
        why = "learns from a replay buffer, which is not divided; ppo, a2c and vtrace train in several"
    if why:
        raise UserError(f"estimator = {settings.estimator.name} in {count} {kind}: it {why}")


def refuse_to_divide(settings: Settings) -> None:
    """Refuse to divide a model among processes where that cannot be.

    Raises:
        UserError: names the key and why.
    """
    options = settings.trainer
    if options.sharding == "none":
        return
    known = {c.name: given for c, given in estimators()}
    own = known.get(settings.estimator.name)
    why = ""
    if not launched() and (options.ranks or 1) == 1:
        why = "it divides a model among several processes; expected trainer.ranks=2 or more, or torchrun"
    elif options.shards is not None:
        why = f"shards of one process have a model each; expected trainer.shards=null, got {options.shards}"
    elif options.precision == "float16":
        why = "expected trainer.precision=float32 or bfloat16, got float16"
    elif own is not None and not own.divided_model:
        able = ", ".join(name for name, given in known.items() if given.divided_model)
        why = (
            f"estimator {settings.estimator.name} replaces the model's parameters, or derives by them one by one; "
            f"estimators that need one run forwards and backwards: {able}"
        )
    if why:
        raise UserError(f"trainer.sharding = full: {why}")


def make_components(
    settings: Settings, task: Task | None = None, *, to_train: bool = False
) -> Components:
    """Build what the settings name, in the order in which random numbers are drawn.

    Args:
        task: used as it is, in place of the one that the settings name.
        to_train: whether the model is prepared for what only a training needs: recomputed, divided.

    Raises:
        UserError: an option that a component does not have or refuses, or a device that is not there.
    """
    import torch

    from framework.randomness import key, seed_torch
    from framework.sharding import divide
    from framework.task import Task
    from framework.training.updates.recomputation import recompute

    options = settings.trainer
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    estimator = build("estimator", settings.estimator)
    schedule = build("scheduler", settings.scheduler, options.steps)
    seed_torch(key(settings.seed, "model"))
    task = task or build("task", settings.task)
    if not task.parameters:
        raise ProgramError(f"task '{settings.task.name}': its model has no parameters to learn")
    if task.batch_axes and type(task).evaluate is Task.evaluate:
        raise ProgramError(
            f"task '{settings.task.name}' has data (batch_axes = {task.batch_axes}), which the default evaluation has "
            "not: write evaluate(self, seed, split), which returns metrics by name"
        )
    if len(task.progress_numbers) > 3:
        named = ", ".join(task.progress_numbers)
        raise ProgramError(
            f"task '{settings.task.name}': progress_numbers names {named}; expected three at most"
        )
    task.model.to(device)
    if to_train and options.activation_checkpointing:
        recompute(task.model)
    if to_train and options.sharding == "full":
        divide(task.model)
        # Its own are parts from now on.
        task.__dict__.pop("parameters", None)
    if options.compile:
        task.model.compile()
    optimizer = build("optimizer", settings.optimizer, list(task.parameters.values()))
    return Components(device, task, estimator, optimizer, schedule)


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
