"""diffobj train: run an experiment: diffobj train experiment=javelin estimator=spsa trainer.steps=200

    diffobj train [experiment=NAME] [task=NAME] [estimator=NAME] [key=value ...]
    diffobj train resume=RUN_FOLDER [key=value ...]     continue a stopped run exactly
    diffobj train ... hydra.run.dir=PATH resume=auto    start there, or continue what is there
    diffobj train -m estimator=rloo,spsa seed=0,1,2     a sweep (Hydra's launchers and sweepers apply)
    diffobj train -m ... hydra.sweep.dir=PATH           there; the same command again continues a stopped one
    diffobj train --help                                every group, option and default
    eval "$(diffobj train -sc install=bash)"            completion in this shell (zsh, fish: the same words)

The run folder is outputs/<experiment>/<time>, or what hydra.run.dir=PATH says; its path is the last line printed. A
sweep's is outputs/<experiment>/sweep_<time>: sweep.json says what was swept, and the table of its jobs is printed last.
In Python: `framework.train`, `framework.sweep`, `framework.compose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from framework.config.composition import config_options
from framework.config.hydra_line import HydraLine, run_hydra, settings_of_job
from framework.config.tuning import untuned_notice
from framework.errors import UserError
from framework.launch import follows
from framework.run import Run, train, train_composed


def run(arguments: Sequence[str]) -> int:
    """Train, resume or sweep; returns the exit status."""
    words = [a for a in arguments if a.startswith(("resume=", "resume.force="))]
    resumed = [a.partition("=")[2] for a in words if a.startswith("resume=")]
    forced = [a.partition("=")[2] for a in words if a.startswith("resume.force=")]
    overrides = [a for a in arguments if a not in words]
    if forced and not (resumed and forced[-1] in {"true", "false"}):
        raise UserError(
            f"resume.force={forced[-1]}: expected true or false, beside resume=RUN_FOLDER"
        )
    line = HydraLine.parse(overrides)
    if line.flags:
        if resumed:
            raise UserError(f"resume continues one run: {' '.join(line.flags)} does not go with it")
        if line.sweeps:
            from framework.sweeping import sweep_by_line

            return sweep_by_line(line)
        return by_hydra(line)
    if resumed:
        force = forced[-1:] == ["true"]
        return status(train(resume=resumed[-1], force=force, overrides=overrides, progress=True))
    return status(train(overrides=overrides, progress=True))


def status(run: Run) -> int:
    """Print the run's folder; 0, or 128+n where signal n stopped the run."""
    if not follows():
        print(run.folder.resolve(), flush=True)
    return 0 if run.stopped_by is None else 128 + run.stopped_by


def by_hydra(line: HydraLine) -> int:
    """One run, or only a look at its configuration, by Hydra's own command line; returns the exit status."""
    from hydra.core.hydra_config import HydraConfig

    failures: list[Exception] = []

    def job(config: Any) -> None:
        hydra = HydraConfig.get()
        place = Path(hydra.runtime.output_dir)
        try:
            plain, settings = settings_of_job(config, hydra)
            notice = untuned_notice(settings, hydra.runtime.choices, config_options())
            ended = status(train_composed(plain, settings, place, notice=notice, progress=True))
        # Hydra would take it for one of its own.
        except Exception as error:
            failures.append(error)
            remove_empty(place)
        else:
            if ended:
                raise SystemExit(ended)

    ended = run_hydra(line, job)
    if failures:
        raise failures[0]
    return ended


def remove_empty(folder: Path) -> None:
    """Remove an empty folder that Hydra made, and those around it inside the working directory."""
    # It may not be empty.
    with suppress(OSError):
        folder.rmdir()
        for parent in folder.parents:
            if Path.cwd() not in parent.parents:
                break
            parent.rmdir()
