"""diffobj evaluate: measure a trained run again: diffobj evaluate run=RUN_FOLDER

    diffobj evaluate run=RUN_FOLDER [checkpoint=best|last] [seed=N] [task.KEY=VALUE ...]

Prints the task's metrics as JSON. Without a seed the randomness is that of the run's own final evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from framework.commands.trained import trained


def run(arguments: Sequence[str]) -> int:
    """Load a checkpoint's parameters and evaluate."""
    run = trained("evaluate", arguments)
    from framework.randomness import key

    with run.in_use():
        metrics = run.task.evaluate(key(run.seed, "test") % 2**31)
    told = {
        "run": str(run.folder),
        "checkpoint": run.checkpoint,
        "step": run.step,
        "metrics": metrics,
    }
    print(json.dumps(told))
    return 0
