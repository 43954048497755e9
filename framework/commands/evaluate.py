"""diffobj evaluate: measure a trained run again: diffobj evaluate run=RUN_FOLDER

    diffobj evaluate run=RUN_FOLDER [checkpoint=best|last] [seed=N] [task.KEY=VALUE ...]

Prints the task's metrics as JSON. Without a seed the randomness is that of the run's own final evaluation.
In Python: `framework.evaluate`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from framework.commands.run_arguments import load_run


def run(arguments: Sequence[str]) -> int:
    """Load a checkpoint's parameters and evaluate."""
    run, seed, _ = load_run("evaluate", arguments)
    report = {
        "run": str(run.folder),
        "checkpoint": run.checkpoint,
        "step": run.step,
        "metrics": run.evaluate(seed=seed),
    }
    print(json.dumps(report))
    return 0
