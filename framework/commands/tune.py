"""diffobj tune: search for the best settings: diffobj tune optimizer.learning_rate='interval(1e-4,1e-1)'

    diffobj tune experiment=NAME 'KEY=interval(a,b)' 'KEY=choice(a,b)' 'KEY=range(a,b,step)' [key=value ...]
                 [trials=20] [workers=1] [sampler=tpe|gp|random] [pruner=median|none] [folder=PATH]
                 [metric=NAME mode=min|max] [study_seed=0] [--config-dir=FOLDER]

Each trial is a run; Optuna chooses what it tries, by what the trials before it have reached on the validation split. An
interval of positive ends, one at least ten times the other, is searched by its logarithm: tag(linear,interval(a,b)) and
tag(log,interval(a,b)) say otherwise, int(interval(a,b)) is of whole numbers. A trial that is judged while training
(trainer.evaluate_every) worse than the median of those that have finished, five at least, ends there. One that fails
is noted, and counts as one.

The folder (outputs/<experiment>/tune_<time>) holds study.md, study.png, study.db for Optuna's own tools, a run folder
for each trial, and the best settings as an experiment: diffobj train --config-dir FOLDER/configs experiment=NAME_best.
The same command with the same folder goes on, whatever ended it, also with more trials or workers; given again while
it runs, it helps. The status is 2 where no trial has finished. In Python: `framework.tune`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from framework.config.composition import config_options
from framework.config.hydra_line import HydraLine
from framework.config.schema import Settings
from framework.errors import UserError, suggestion
from framework.tuning.tune import Options, run_study

WHOLE = ("trials", "workers", "study_seed")
KNOWN = tuple(field.name for field in fields(Options))


def run(arguments: Sequence[str]) -> int:
    """Search, and print the table; returns the exit status."""
    line = HydraLine.parse(arguments)
    if extra := [flag for flag in line.flags if flag.startswith("-") and not config_dir(flag)]:
        raise UserError(f"'{extra[0]}' does not go with tune, which takes --config-dir=FOLDER only")
    own: dict[str, Any] = {}
    overrides = []
    for argument in line.overrides:
        key, equals, value = argument.partition("=")
        if equals and key in KNOWN:
            own[key] = whole(key, value) if key in WHOLE else value
        else:
            refuse_misspelt(argument)
            overrides.append(argument)
    found = run_study(overrides, Options(**own), config_folders=line.own_folders, progress=True)
    print(found, flush=True)
    if found.stopped_by is not None:
        rest = [a for a in arguments if not a.startswith("folder=")]
        again = ["diffobj", "tune", *rest, f"folder={found.folder}"]
        print(f"{shlex.join(again)} goes on", flush=True)
        return 128 + found.stopped_by
    print(found.folder.resolve(), flush=True)
    return 0 if found.best is not None else 2


def config_dir(flag: str) -> bool:
    return flag.partition("=")[0] in {"--config-dir", "-cd"}


def refuse_misspelt(argument: str) -> None:
    """Refuse a lone key that is neither the command's nor a setting's.

    Raises:
        UserError: names the nearest.
    """
    key, equals, _ = argument.lstrip("+~").partition("=")
    known = {"resume", *KNOWN, *Settings.model_fields, *config_options()}
    if equals and "." not in key and "/" not in key and key not in known:
        raise UserError(f"unknown key '{key}'; {suggestion(key, known)}")


def whole(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{key} = {text}: expected a whole number") from None
