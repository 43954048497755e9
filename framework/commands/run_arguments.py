"""The arguments of commands that use a trained run: `run=RUN_FOLDER`, which checkpoint, and the command's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from framework.commands.main import keyed
from framework.errors import UserError
from framework.run import Run, Which, load


class LoadedRun(NamedTuple):
    """A run that a command names, the seed of what the command does with it, and the command's own options by key."""

    run: Run
    seed: int
    options: dict[str, str]


def load_run(verb: str, arguments: Sequence[str], known: Sequence[str] = ()) -> LoadedRun:
    """Load `run=RUN_FOLDER|latest [checkpoint=best|last] [seed=N] [task.KEY=VALUE ...]`.

    Args:
        verb: the command, for its messages.
        known: the keys of the command's own options.

    Raises:
        UserError: an unknown key, a folder without a run, a checkpoint that is not there or does not fit.
    """
    overrides = [a for a in arguments if a.startswith("task.")]
    rest = [a for a in arguments if not a.startswith("task.")]
    options = keyed(rest, ("run", "checkpoint", "seed", *known))
    if "run" not in options:
        raise UserError(f"which run? diffobj {verb} run=RUN_FOLDER")
    folder, which = options.pop("run"), options.pop("checkpoint", "best")
    seed = options.pop("seed", None)
    if seed is not None and not seed.isdecimal():
        raise UserError(f"seed = '{seed}': expected a whole number, 0 or more")
    run = load(folder, checkpoint=cast(Which, which), overrides=overrides)
    return LoadedRun(run, run.settings.seed if seed is None else int(seed), options)
