"""Start a training: alone, or as one of several that train together, processes under torchrun or shards in one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from framework.config.explanation import first_line
from framework.config.schema import Settings
from framework.errors import UserError
from framework.training.folders.run_folder import RunFolder

if TYPE_CHECKING:
    from framework.task import Task
    from framework.training.trainer import Trainer


def held_and_trained(
    held: RunFolder,
    config: Any,
    settings: Settings,
    task: Task | None,
    callbacks: Mapping[str, Any],
    **how: Any,
) -> Trainer:
    """Hold the folder, and train in it; alone, or as the first of several processes."""
    begun = False

    def first() -> Trainer:
        nonlocal begun
        begun = True
        return train_in(held, config, settings, task, callbacks=Callbacks(**callbacks), **how)

    with held.held():
        # After that: a folder that cannot be written or is in use is refused before the seconds that torch takes.
        try:
            from framework.training.session import train_in
            from framework.training.trainer import Callbacks

            return in_shards(settings, unshared(task, settings.trainer.shards), first)
        except BaseException:
            # What has begun knows what it has made.
            if not begun:
                held.discard()
            raise


def followed(settings: Settings, task: Task | None, callbacks: Mapping[str, Any]) -> Trainer:
    """Train beside the first process."""
    from framework.training.session import follow
    from framework.training.trainer import Callbacks

    own = Callbacks(**callbacks)
    copied = unshared(task, settings.trainer.shards)
    return in_shards(settings, copied, lambda: follow(settings, task, own))


def in_shards(
    settings: Settings, copied: Callable[[], Task | None], first: Callable[[], Trainer]
) -> Trainer:
    """Do `first` together with the other processes, and follow it in this process's further shards."""
    from framework import ranks
    from framework.data import lost_workers_in_one_line
    from framework.training.parts import refuse_other_settings
    from framework.training.session import follow
    from framework.training.trainer import Callbacks

    options = settings.trainer
    with (
        own_torch_state(),
        lost_workers_in_one_line(),
        ranks.joined(options.watchdog, options.device),
    ):
        refuse_other_settings(settings)
        return ranks.divided(options.shards, first, lambda: follow(settings, copied(), Callbacks()))


def unshared(task: Task | None, shards: int | None) -> Callable[[], Task | None]:
    """What gives each further shard of this process a task of its own.

    Raises:
        UserError: the task cannot be copied.
    """
    if task is None or shards in (None, 1):
        return lambda: task
    try:
        kept = copy.deepcopy(task)
    except Exception as error:
        why = first_line(error)
        raise UserError(
            f"trainer.shards = {shards}: each shard has a task of its own, and this one cannot be copied ({why}); "
            "name a registered one"
        ) from None
    return lambda: copy.deepcopy(kept)


@contextmanager
def own_torch_state() -> Iterator[None]:
    """Put torch's number of threads and random generators back after the block: they belong to the caller."""
    import torch

    from framework.randomness import restore_states, save_states

    threads, states = torch.get_num_threads(), save_states()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        restore_states(states)
