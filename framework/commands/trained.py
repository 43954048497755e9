"""A trained run, loaded for use: what `evaluate`, `predict` and the commands of plugins begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from framework.commands.main import keyed
from framework.config.schema import Settings
from framework.config.validation import validate
from framework.errors import UserError
from framework.training.assembly import make_parts
from framework.training.resume import change_config, load_config

if TYPE_CHECKING:
    import torch

    from framework.task import Task


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run's task with the parameters of one of its checkpoints; `options` are the command's own, by key."""

    folder: Path
    checkpoint: str
    step: int
    seed: int
    settings: Settings
    task: Task
    device: torch.device
    options: dict[str, str]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The model in evaluation mode, no gradients, the run's own precision."""
        import torch

        from framework.training.precision import autocast

        self.task.model.eval()
        with torch.no_grad(), autocast(self.device, self.settings.trainer.precision):
            yield


def trained(verb: str, arguments: Sequence[str], known: Sequence[str] = ()) -> Trained:
    """Load `run=RUN_FOLDER [checkpoint=best|last] [seed=N] [task.KEY=VALUE ...]`.

    Args:
        verb: the command, for its messages.
        known: the keys of the command's own options.

    Raises:
        UserError: an unknown key, a folder without a run, a checkpoint that is not there or does not fit.
    """
    changes = [a for a in arguments if a.startswith("task.")]
    rest = [a for a in arguments if not a.startswith("task.")]
    options = keyed(rest, ("run", "checkpoint", "seed", *known))
    if "run" not in options:
        raise UserError(f"which run? diffobj {verb} run=RUN_FOLDER")
    folder, which = Path(options.pop("run")), options.pop("checkpoint", "best")
    if which not in {"best", "last"}:
        raise UserError(f"checkpoint = '{which}': expected best or last")
    seed = options.pop("seed", None)
    if seed is not None and not seed.isdecimal():
        raise UserError(f"seed = '{seed}': expected a whole number, 0 or more")
    settings = validate(change_config(load_config(folder), changes))

    parts = make_parts(settings)
    from framework.training.restoring import load_for_use

    return Trained(
        folder=folder,
        checkpoint=which,
        step=load_for_use(parts.task, folder, which),
        seed=settings.seed if seed is None else int(seed),
        settings=settings,
        task=parts.task,
        device=parts.device,
        options=options,
    )
