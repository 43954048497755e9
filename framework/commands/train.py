"""diffobj train: run an experiment: diffobj train experiment=javelin estimator=spsa trainer.steps=200

    diffobj train [experiment=NAME] [task=NAME] [estimator=NAME] [key=value ...]
    diffobj train resume=RUN_FOLDER [key=value ...]     continue a stopped run exactly
    diffobj train -m estimator=rloo,spsa seed=0,1,2     a sweep (Hydra's launchers and sweepers apply)
    diffobj train --help                                every group, option and default

The run folder is outputs/<experiment>/<time>, or what hydra.run.dir=PATH says; its path is the last line printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from framework.config.composition import (
    CORE_CONFIGS,
    compose,
    config_options,
    hydra_errors_as_user_errors,
    join_search_path,
    lenient_overrides,
    name_experiment,
    refuse_conflicts,
    without_hydra,
)
from framework.config.hydra_section import refuse_flags
from framework.config.tuning import drop_foreign_options, untuned_notice
from framework.config.validation import check_components, validate
from framework.errors import UserError
from framework.run import Run, train, train_composed


def run(arguments: Sequence[str]) -> int:
    """Train, resume or sweep; returns the exit status."""
    resumed = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    overrides = [a for a in arguments if not a.startswith("resume=")]
    if options := [a for a in overrides if a.startswith("-")]:
        if resumed:
            raise UserError(f"resume continues one run: {' '.join(options)} does not go with it")
        return hydra_main(overrides)
    if resumed:
        return status(train(resume=resumed[-1], overrides=overrides, progress=True))
    return status(train(overrides=overrides, progress=True))


def status(run: Run) -> int:
    """Print the run's folder; 0, or 128+n where signal n stopped the run."""
    print(run.folder.resolve(), flush=True)
    return 0 if run.stopped_by is None else 128 + run.stopped_by


def hydra_main(overrides: list[str]) -> int:
    """Hydra's own command line: --help, --cfg, and -m with its launchers and sweepers.

    A job's mistake is reported in one line and the next job begins; the status is then 2. A signal ends the sweep.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from framework.config.checked_loader import checked_loading

    refuse_flags(o for o in overrides if o.startswith("-"))
    if any(flag in overrides for flag in ("-m", "--multirun")):
        check_sweep([o for o in overrides if not o.startswith("-")])
    join_search_path()
    failures: list[int] = []

    def job(config: Any) -> None:
        try:
            ended = hydra_job(config, HydraConfig.get())
        except UserError as error:
            print(f"diffobj: {error}", file=sys.stderr)
            failures.append(2)
            remove_empty(Path(HydraConfig.get().runtime.output_dir))
        else:
            if ended:
                raise SystemExit(ended)

    options = [o for o in overrides if o.startswith("-")]
    sys.argv = [
        "diffobj train",
        *options,
        *lenient_overrides(o for o in overrides if not o.startswith("-")),
    ]
    with hydra_errors_as_user_errors(), checked_loading():
        hydra.main(config_path=str(CORE_CONFIGS), config_name="train", version_base="1.3")(job)()
    return max(failures, default=0)


def remove_empty(folder: Path) -> None:
    """Remove an empty folder that Hydra made, and those around it inside the working directory."""
    # It may not be empty.
    with suppress(OSError):
        folder.rmdir()
        for parent in folder.parents:
            if Path.cwd() not in parent.parents:
                break
            parent.rmdir()


def hydra_job(config: Any, hydra: Any) -> int:
    """Train in the folder that Hydra made."""
    choices, options = hydra.runtime.choices, config_options()
    refuse_conflicts(choices)
    name_experiment(config, choices)
    plain = without_hydra(config)
    drop_foreign_options(plain, choices, hydra.overrides.task, options)
    settings = validate(plain)
    trained = train_composed(
        plain,
        settings,
        Path(hydra.runtime.output_dir),
        notice=untuned_notice(settings, choices, options),
        progress=True,
    )
    return status(trained)


def check_sweep(overrides: list[str]) -> None:
    """Check every single choice of a sweep, its components' options included, before its first job starts."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with hydra_errors_as_user_errors():
        parsed = OverridesParser.create().parse_overrides(overrides)
    choices = []
    for override in parsed:
        swept = override.is_sweep_override() and override.is_discrete_sweep()
        values = list(override.sweep_string_iterator()) if swept else []
        texts = [f"{override.key_or_group}={value}" for value in values]
        choices.append(texts or [override.input_line or ""])
    first = [options[0] for options in choices]
    jobs = [
        validate(compose([*first[:i], option, *first[i + 1 :]]).config)
        for i, options in enumerate(choices)
        for option in options
    ]
    for settings in jobs:
        check_components(settings)
