"""diffobj evaluate: measure a trained run again: diffobj evaluate run=RUN_FOLDER

    diffobj evaluate run=RUN_FOLDER [checkpoint=best|last] [seed=N] [task.KEY=VALUE ...]

Prints the task's metrics as JSON. Without a seed the randomness is that of the run's own final evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from framework.commands.main import keyed
from framework.commands.train import make_parts
from framework.config import validate
from framework.errors import UserError
from framework.run import change_config, load_config


def run(arguments: Sequence[str]) -> int:
    """Load a checkpoint's parameters and evaluate."""
    changes = [a for a in arguments if a.startswith("task.")]
    rest = [a for a in arguments if not a.startswith("task.")]
    options = keyed(rest, ("run", "checkpoint", "seed"))
    if "run" not in options:
        raise UserError("which run? diffobj evaluate run=RUN_FOLDER")
    folder, which = Path(options["run"]), options.get("checkpoint", "best")
    if which not in {"best", "last"}:
        raise UserError(f"checkpoint = '{which}': expected best or last")
    if not options.get("seed", "0").isdecimal():
        raise UserError(f"seed = '{options['seed']}': expected a whole number, 0 or more")
    settings = validate(change_config(load_config(folder), changes))

    parts = make_parts(settings)
    import torch

    from framework.randomness import key
    from framework.trainer import autocast, load_for_use

    step = load_for_use(parts.task, folder, which)
    parts.task.model.eval()
    seed = int(options["seed"]) if "seed" in options else settings.seed
    with torch.no_grad(), autocast(parts.device, settings.trainer.precision):
        metrics = parts.task.evaluate(key(seed, "test") % 2**31)
    print(json.dumps({"run": str(folder), "checkpoint": which, "step": step, "metrics": metrics}))
    return 0
