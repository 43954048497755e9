"""Sweeps: many runs by one call or by `diffobj train -m`, through Hydra's launchers and sweepers.

    found = framework.sweep("javelin", over={"estimator": ["rloo", "spsa"], "seed": range(3)})
    print(found)
    found.best.folder

Each job says itself what became of it, in the sweep's `jobs.jsonl`: it may run in another process.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from framework.arguments import as_path
from framework.config.composition import (
    compose,
    config_options,
    hydra_errors_as_user_errors,
    with_own_folders,
)
from framework.config.explanation import first_line
from framework.config.hydra_line import HydraLine, run_hydra, settings_of_job
from framework.config.schema import Settings
from framework.config.tuning import untuned_notice
from framework.config.validation import check_components, validate
from framework.errors import UserError
from framework.plugin import registry
from framework.run import check_arguments, train_composed
from framework.training.checkpoints.resume import config_changes, load_config, parse_config, told
from framework.training.folders.run_folder import RunFolder, config_text
from framework.training.folders.sweep_folder import (
    Job,
    SweepFolder,
    best_job,
    finished_value,
    job_of,
    table,
)

if TYPE_CHECKING:
    from framework.task import Task

PLACE = "hydra.sweep.dir="
# Text that Hydra's grammar takes as it is, and words that mean something else than themselves to it.
PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
WORDS = {"null", "true", "false", "nan", "inf"}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep has left; printed, it is the table of its jobs.

    Attributes:
        folder: the sweep's folder; `framework.load(sweep.folder / job.folder)` loads a job's run.
        jobs: what became of each job when it last ended, in their order; failed ones have an `error`.
    """

    folder: Path
    jobs: list[Job]

    @property
    def best(self) -> Job | None:
        """The finished job with the best primary metric; None where none has one, or where they have several."""
        kinds = {(job.metric, job.mode) for job in self.jobs if job.state == "finished"}
        return best_job(self.jobs, *kinds.pop()) if len(kinds) == 1 else None

    def __str__(self) -> str:
        return table(self.folder, self.jobs)


def sweep(
    experiment: str | None = None,
    *,
    over: Mapping[str, Sequence[Any]],
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    progress: bool = False,
) -> Sweep:
    """Train every combination of some choices; a failed job does not keep the others from running.

    Args:
        experiment: an experiment's name; None: the default.
        over: the choices of each group or key, `{"estimator": ["rloo", "spsa"], "seed": range(3)}`; a text is taken as
            Hydra reads it, such as "interval(0.01, 0.1)" for a sweeper that optimises.
        overrides: "key=value" for all jobs, as on the command line; "hydra/launcher=joblib" runs several at once.
        folder: the sweep's folder; None: `outputs/<experiment>/sweep_<time>`. Where it holds the same sweep already,
            finished jobs are skipped and stopped ones go on.
        progress: print what the command would print.

    Raises:
        UserError: a choice that no job could have, or a folder that holds something else; one line.
    """
    check_arguments(overrides)
    given = [] if experiment is None else [f"experiment={experiment}"]
    place = [] if folder is None else [f"{PLACE}{as_path('folder', folder)}"]
    chosen = searched(over)
    line = HydraLine(["-m"], [*given, *overrides, *chosen, *place])
    found, _ = run_sweep(line, progress=progress)
    if progress:
        print(found, flush=True)
    return found


def searched(over: Any) -> list[str]:
    """What is varied, as overrides in Hydra's grammar.

    Raises:
        UserError: no mapping, or one of its values as of `choices`.
    """
    if not isinstance(over, Mapping):
        raise UserError(f"over = {over!r}: expected a mapping such as {{'seed': [0, 1]}}")
    return [f"{key}={choices(key, values)}" for key, values in over.items()]


def choices(key: str, values: Any) -> str:
    """The choices of a key in Hydra's grammar.

    Raises:
        UserError: there are none, or one that is no plain data.
    """
    if isinstance(values, str):
        return values
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, Sequence) or not values:
        raise UserError(f"over['{key}'] = {values!r}: expected a list of choices such as [0, 1]")
    return ",".join(written(value, key) for value in values)


def written(value: Any, key: str) -> str:
    """Plain data in Hydra's grammar."""
    # NumPy's numbers, such as those of `np.logspace(-3, -1, 3)`, as Python's.
    if type(value).__module__ == "numpy" and not getattr(value, "shape", None):
        value = value.item()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        text = str(value)
        if PLAIN.fullmatch(text) and text.lower() not in WORDS:
            return text
        # Backslashes count before a quote only.
        escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
        trailing = len(escaped) - len(escaped.rstrip("\\"))
        return f"'{escaped}{chr(92) * trailing}'"
    if isinstance(value, Mapping):
        pairs = (f"{written(str(k), key)}:{written(v, key)}" for k, v in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(written(each, key) for each in value)}]"
    raise UserError(f"over['{key}']: {value!r} is no number, text, list or mapping")


def sweep_by_line(line: HydraLine) -> int:
    """`diffobj train -m`: run every job that has not finished yet, and print the table; returns the exit status.

    A failed job is told in one line and the next one begins; the status is then 2. A signal ends the sweep.

    Raises:
        UserError: as of `sweep`.
    """
    found, status = run_sweep(line, progress=True)
    if not found.jobs:
        return status
    print(found, flush=True)
    states = {job.state for job in found.jobs}
    if status >= 128 or "stopped" in states:
        rest = [o for o in line.overrides if not o.startswith(PLACE)]
        again = ["diffobj", "train", *line.flags, *rest, f"{PLACE}{found.folder}"]
        print(f"{shlex.join(again)} goes on", flush=True)
    return status or (2 if "failed" in states else 0)


def run_sweep(line: HydraLine, *, progress: bool) -> tuple[Sweep, int]:
    """Run every job that has not finished yet; what the sweep has left, and the exit status of Hydra's command line.

    Raises:
        UserError: as of `sweep`.
    """
    listed = listed_values(line.overrides)
    refuse_interval(listed, line.overrides)
    with with_own_folders(line.own_folders):
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
        return job(folder.path, tuple(swept), config, progress=progress)

    with RunFolder(folder.path).held():
        folder.begin([text for text, _ in listed], swept)
        try:
            full = HydraLine(line.flags, [*rest, place, *direction(rest, settings[0])])
            status = run_hydra(full, one)
        # A job's own error is noted by the job: it is the launcher or the sweeper that raises.
        except Exception as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"the sweep has stopped: {type(error).__name__}: {first_line(error)}; the same command with "
                f"{place} goes on"
            ) from error
        finally:
            folder.discard_empty()
    return Sweep(folder=folder.path, jobs=folder.jobs()), status


def direction(overrides: Sequence[str], settings: Settings) -> list[str]:
    """For a sweeper that optimises: the direction of the task's primary metric, unless one is given."""
    if "hydra/sweeper=optuna" not in overrides:
        return []
    if any(o.startswith("hydra.sweeper.direction=") for o in overrides):
        return []
    _, mode = judged_by(settings)
    return [f"hydra.sweeper.direction={'minimize' if mode == 'min' else 'maximize'}"]


def judged_by(settings: Settings) -> tuple[str, Literal["min", "max"]]:
    """The task's primary metric and its mode."""
    kind = cast("type[Task]", registry().component("tasks", settings.task.name).load())
    return kind.judged_by(settings.task.options)


def job(sweep_folder: Path, swept: Sequence[str], config: Any, *, progress: bool) -> float:
    """One job, in whichever process a launcher runs it; returns its primary metric, NaN where it has failed.

    Args:
        swept: the keys that tell the jobs of the sweep apart; a sweeper may choose others besides.
        progress: print what becomes of it.

    Raises:
        SystemExit: a signal stopped it.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder, place = SweepFolder(sweep_folder), Path(hydra.runtime.output_dir)
    written = [override.lstrip("+") for override in hydra.overrides.task]
    chosen = [override for override in written if key_of(override) in swept]
    known: list[tuple[str, Literal["min", "max"]]] = []
    try:
        stopped_by = train_job(config, hydra, place, known, progress=progress)
    # A failed job must not keep the others from running, whatever raised.
    except Exception as error:
        text = first_line(error)
        if progress:
            report(error)
        if not isinstance(error, UserError):
            text = f"{type(error).__name__}: {text}"
        # Hydra made it; it may not be empty.
        with suppress(OSError):
            place.rmdir()
        folder.add(job_of(place, chosen or written, "failed", known[0] if known else None, text))
        return math.nan
    if progress:
        print(place.resolve(), flush=True)
    state: Literal["stopped", "finished"] = "stopped" if stopped_by else "finished"
    ended = job_of(place, chosen or written, state, known[0])
    folder.add(ended)
    if stopped_by:
        raise SystemExit(128 + stopped_by)
    return math.nan if ended.value is None else ended.value


def report(error: Exception) -> None:
    """Say why a job failed: a user's mistake in one line, another one as Python does."""
    if isinstance(error, UserError):
        print(f"diffobj: {error}", file=sys.stderr, flush=True)
    else:
        traceback.print_exception(error)


def train_job(
    config: Any,
    hydra: Any,
    place: Path,
    known: list[tuple[str, Literal["min", "max"]]],
    *,
    progress: bool,
) -> int | None:
    """Train a job in its folder, go on with it there, or do nothing where it has finished.

    Args:
        known: gets the primary metric and its mode, as soon as they are known.

    Returns:
        the number of the signal that stopped it.

    Raises:
        UserError: a mistake in its settings, or a run of other settings in its folder.
    """
    plain, settings = settings_of_job(config, hydra)
    judged = judged_by(settings)
    known.append(judged)
    if RunFolder(place).holds_run:
        asked = parse_config(config_text(plain), place)
        if changes := config_changes(load_config(place), asked):
            raise UserError(
                f"{place} holds a run with other settings ({told(changes)}); take another hydra.sweep.dir"
            )
        if finished_value(place, judged[0]) is not None:
            if progress:
                print(f"{place} has finished before", flush=True)
            return None
    notice = untuned_notice(settings, hydra.runtime.choices, config_options())
    return train_composed(
        plain, settings, place, resume="auto", notice=notice, progress=progress
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


def refuse_interval(listed: Sequence[tuple[str, list[str]]], overrides: Sequence[str]) -> None:
    """Refuse an interval where no sweeper is chosen that samples one.

    Raises:
        UserError: names the override and a sweeper.
    """
    if any(o.startswith("hydra/sweeper=") and o != "hydra/sweeper=basic" for o in overrides):
        return
    for text, _ in listed:
        if re.search(r"=\s*(tag\(.*)?interval\(", text):
            raise UserError(
                f"'{text}': an interval needs a sweeper that samples it, such as hydra/sweeper=optuna "
                "(pip install hydra-optuna-sweeper)"
            )


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
    # What is not swept makes one and the same job again and again.
    jobs = dict.fromkeys(
        (*first[:i], option, *first[i + 1 :])
        for i, options in enumerate(texts)
        for option in options
    )
    settings = [validate(compose(job).config) for job in jobs or [()]]
    for each in settings:
        check_components(each)
        if each.trainer.ranks not in (None, 1):
            raise UserError(
                f"trainer.ranks = {each.trainer.ranks}: each of many trainings has one process; start those of several "
                "one by one, or several trainings at once (a sweep by hydra/launcher=joblib, a study by workers=N)"
            )
    return settings
