"""diffobj check games=N: what a training of N games in torch takes of a device's memory, before it is trained.

    diffobj check games=N environment=NAME [rollout_steps=T] [minibatches=M] [hidden=[64,64]] [KEY=VALUE ...]

Every other key is an option of the task `game`. Nothing is trained: two games are played for one step. In Python:
`Game(...).memory_plan(minibatches)`.
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.errors import UserError
from framework.run import compose
from plugins.games.task import Game

KEY = "minibatches="


def run(arguments: Sequence[str]) -> int:
    """Print the plan."""
    parts = [argument.removeprefix(KEY) for argument in arguments if argument.startswith(KEY)]
    others = [argument for argument in arguments if not argument.startswith(KEY)]
    minibatches = parts[-1] if parts else "1"
    if not (minibatches.isdecimal() and int(minibatches)):
        raise UserError(f"minibatches = '{minibatches}': expected a whole number from 1 on")
    given = [f"task.{argument.removeprefix('task.')}" for argument in others]
    options = compose("task=game", *given).task.options
    plan = Game(**options).memory_plan(int(minibatches))
    if plan is None:
        raise UserError(
            f"environment '{options['environment']}' is not in torch: what it takes is not known before it is played"
        )
    print(f"MiB: {plan}")
    return 0
