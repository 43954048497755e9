"""`diffobj train -m`: many runs by one command, through Hydra's launchers and sweepers.

Each job says itself what became of it, in the sweep's `jobs.jsonl`: it may run in another process.
"""

from __future__ import annotations

import math
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from framework.commands.hydra_line import HydraLine, run_hydra, settings_of_job
from framework.config.composition import compose, config_options, hydra_errors_as_user_errors
from framework.config.explanation import first_line
from framework.config.schema import Settings
from framework.config.tuning import untuned_notice
from framework.config.validation import check_components, validate
from framework.errors import UserError
from framework.plugin import registry
from framework.run import train_composed
from framework.training.checkpoints.resume import config_changes, load_config, parse_config, told
from framework.training.folders.run_folder import RunFolder, config_text
from framework.training.folders.sweep_folder import SweepFolder, finished_value, job_of, table

PLACE = "hydra.sweep.dir="


def sweep(line: HydraLine) -> int:
    """Run every job that has not finished yet, and print the table; returns the exit status.

    Where the folder (`hydra.sweep.dir`) holds the same sweep already, finished jobs are skipped and stopped ones go on.
    A failed job is told in one line and the next one begins; the status is then 2. A signal ends the sweep.

    Raises:
        UserError: a choice that no job could have, or a folder that holds something else.
    """
    listed = listed_values(line.overrides)
    settings = check(listed)
    experiments = {each.experiment for each in settings}
    given = [o.partition("=")[2].strip("'\"") for o in line.overrides if o.startswith(PLACE)]
    if given:
        folder = SweepFolder(Path(given[-1]).expanduser())
    else:
        folder = SweepFolder.new(experiments.pop() if len(experiments) == 1 else "sweeps")
    rest = [o for o in line.overrides if not o.startswith(PLACE)]
    place = f"{PLACE}{folder.path}"
    swept = {key_of(text): values for text, values in listed if is_swept(text, values)}

    def one(config: Any) -> float:
        return job(folder.path, tuple(swept), config)

    with RunFolder(folder.path).held():
        folder.begin([text for text, _ in listed], swept)
        try:
            full = HydraLine(line.flags, [*rest, place, *direction(rest, settings[0])])
            status = run_hydra(full, one)
        finally:
            folder.discard_empty()
    jobs = folder.jobs()
    if not jobs:
        return status
    print(table(folder.path, jobs), flush=True)
    if status >= 128 or any(job.state == "stopped" for job in jobs):
        print(f"{shlex.join(['diffobj', 'train', *line.flags, *rest, place])} goes on", flush=True)
    return status or (2 if any(job.state == "failed" for job in jobs) else 0)


def direction(overrides: Sequence[str], settings: Settings) -> list[str]:
    """For a sweeper that optimises: the direction of the task's primary metric, unless one is given."""
    if "hydra/sweeper=optuna" not in overrides:
        return []
    if any(o.startswith("hydra.sweeper.direction=") for o in overrides):
        return []
    mode = task_class(settings).metric_mode
    return [f"hydra.sweeper.direction={'minimize' if mode == 'min' else 'maximize'}"]


def task_class(settings: Settings) -> Any:
    return registry().component("tasks", settings.task.name).load()


def job(sweep_folder: Path, swept: Sequence[str], config: Any) -> float:
    """One job, in whichever process a launcher runs it; returns its primary metric, NaN where it has failed.

    Args:
        swept: the keys that tell the jobs of the command apart; a sweeper may choose others besides.

    Raises:
        SystemExit: a signal stopped it.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder, place = SweepFolder(sweep_folder), Path(hydra.runtime.output_dir)
    written = [override.lstrip("+") for override in hydra.overrides.task]
    chosen = [override for override in written if key_of(override) in swept]
    known: list[Any] = []
    try:
        stopped_by = train_job(config, hydra, place, known)
    # A failed job must not keep the others from running, whatever raised.
    except Exception as error:
        text = first_line(error)
        if isinstance(error, UserError):
            print(f"diffobj: {error}", file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
            text = f"{type(error).__name__}: {text}"
        # Hydra made it; it may not be empty.
        with suppress(OSError):
            place.rmdir()
        folder.add(job_of(place, chosen or written, "failed", known[0] if known else None, text))
        return math.nan
    print(place.resolve(), flush=True)
    state: Literal["stopped", "finished"] = "stopped" if stopped_by else "finished"
    ended = job_of(place, chosen or written, state, known[0])
    folder.add(ended)
    if stopped_by:
        raise SystemExit(128 + stopped_by)
    return math.nan if ended.value is None else ended.value


def train_job(config: Any, hydra: Any, place: Path, known: list[Any]) -> int | None:
    """Train a job in its folder, go on with it there, or do nothing where it has finished.

    Args:
        known: gets the task's class, as soon as it is known.

    Returns:
        the number of the signal that stopped it.

    Raises:
        UserError: a mistake in its settings, or a run of other settings in its folder.
    """
    plain, settings = settings_of_job(config, hydra)
    task = task_class(settings)
    known.append(task)
    if RunFolder(place).holds_run:
        asked = parse_config(config_text(plain), place)
        if changes := config_changes(load_config(place), asked):
            raise UserError(
                f"{place} holds a run with other settings ({told(changes)}); take another hydra.sweep.dir"
            )
        if finished_value(place, task.primary_metric) is not None:
            print(f"{place} has finished before", flush=True)
            return None
    notice = untuned_notice(settings, hydra.runtime.choices, config_options())
    return train_composed(
        plain, settings, place, resume="auto", notice=notice, progress=True
    ).stopped_by


def listed_values(overrides: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each override of the experiment with the values that it stands for: of an interval its ends.

    Raises:
        UserError: it cannot be parsed, or a glob matches nothing.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = [o for o in overrides if not o.startswith("hydra")]
    with hydra_errors_as_user_errors():
        parsed = OverridesParser.create().parse_overrides(given)
        return [
            (text, values_of(text, override)) for text, override in zip(given, parsed, strict=True)
        ]


def values_of(text: str, override: Any) -> list[str]:
    """The values that an override stands for."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    value = override.value()
    if isinstance(value, Glob):
        names = sorted(config_options().get(str(override.key_or_group), {}))
        if matching := value.filter(names):
            return list(matching)
        raise UserError(
            f"'{text}': it matches no {override.key_or_group}; choices: {', '.join(names)}"
        )
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    if override.is_sweep_override():
        return [str(each) for each in override.sweep_string_iterator()]
    return [text.partition("=")[2]]


def is_swept(text: str, values: Sequence[str]) -> bool:
    return [text.partition("=")[2]] != list(values)


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def check(listed: Sequence[tuple[str, list[str]]]) -> list[Settings]:
    """Check every single choice, its components' options included, before the first job; returns their settings.

    Raises:
        UserError: a choice that no job could have.
    """
    texts = [
        [f"{text.partition('=')[0]}={value}" for value in values]
        if is_swept(text, values)
        else [text]
        for text, values in listed
    ]
    first = [options[0] for options in texts]
    settings = [
        validate(compose([*first[:i], option, *first[i + 1 :]]).config)
        for i, options in enumerate(texts)
        for option in options
    ] or [validate(compose([]).config)]
    for each in settings:
        check_components(each)
    return settings
