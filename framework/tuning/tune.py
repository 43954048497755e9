"""`framework.tune` and `diffobj tune`: search for the best settings of an experiment by Optuna.

    found = framework.tune("javelin", over={"optimizer.learning_rate": "interval(1e-4,1e-1)"}, trials=20)
    print(found)
    framework.train("javelin", overrides=found.best.overrides)

All is checked before the first trial; what a study is then stands in its folder, from which every worker takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from framework.arguments import as_count, as_path
from framework.config.composition import with_own_folders
from framework.config.schema import Settings
from framework.errors import UserError, suggestion
from framework.extras import require
from framework.launch import launched
from framework.run import check_arguments
from framework.sweeping import check, judged_by, searched
from framework.tuning import report
from framework.tuning.processes import work_in_processes
from framework.tuning.space import Dimension, between, ends, parsed
from framework.tuning.study_folder import Plan, StudyFolder
from framework.tuning.trials import GAUSSIAN_PROCESS, NEEDS, PRUNERS, SAMPLERS, Trial, Trials
from framework.tuning.worker import best_trial, work

Mode = Literal["min", "max"]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study has found; printed, it is the table of its trials.

    Attributes:
        folder: the study's folder; `framework.load(study.folder / str(trial.number))` loads a trial's run.
        metric, mode: what was sought, and whether less or more of it.
        trials: what became of each, by number.
        importance: how much each key decides whether a trial is among the best, in parts of 1; empty: too few trials.
        stopped_by: the number of the signal that stopped it; the same call goes on. None: none did.
    """

    folder: Path
    metric: str
    mode: str
    trials: list[Trial]
    importance: dict[str, float]
    stopped_by: int | None = None

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best value; None: none has finished."""
        return best_trial(self.trials, self.mode)

    def __str__(self) -> str:
        return (self.folder / "study.md").read_text(encoding="utf-8").rstrip()


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a study is run, besides what it searches; names and meanings as in `tune`."""

    trials: int = 20
    workers: int = 1
    sampler: str = "tpe"
    pruner: str = "median"
    metric: str | None = None
    mode: str | None = None
    study_seed: int = 0
    folder: str | Path | None = None

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: names the option.
        """
        for name, lowest in (("trials", 1), ("workers", 1), ("study_seed", 0)):
            as_count(name, getattr(self, name), lowest)
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS), ("mode", get_args(Mode))):
            value = getattr(self, name)
            if value not in known and not (name == "mode" and value is None):
                raise UserError(f"{name} = {value!r}: {suggestion(str(value), known)}")
        if self.folder is not None and not str(self.folder):
            raise UserError("folder = '': expected a folder")
        if launched():
            raise UserError("a study starts its own processes: diffobj tune ... workers=N")


def tune(
    experiment: str | None = None,
    *,
    over: Mapping[str, Any],
    trials: int = 20,
    workers: int = 1,
    sampler: Literal["tpe", "gp", "random"] = "tpe",
    pruner: Literal["median", "none"] = "median",
    metric: str | None = None,
    mode: Mode | None = None,
    study_seed: int = 0,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    progress: bool = False,
) -> Study:
    """Search for the settings with the best metric; a trial that fails is noted, and the search goes on.

    Args:
        experiment: an experiment's name; None: the default.
        over: what is searched, by group or key: a list of choices, or a text as Hydra reads it, "interval(1e-4,1e-1)",
            "int(interval(1,64))", "tag(log,interval(1,5))", "range(1,10,2)". An interval of positive ends, one at least
            ten times the other, is searched by its logarithm.
        trials: how many trials the study is to have in all, those of earlier calls, pruned and failed ones included.
        workers: processes that train trials at the same time.
        sampler: tree-structured Parzen estimators, a Gaussian process, or random numbers.
        pruner: "median" ends a trial that is judged (`trainer.evaluate_every`) worse than the median of those that have
            finished, five at least.
        metric, mode: what is sought on the validation split; None: the task's primary metric and its direction.
        study_seed: of the sampler; the seed of the trainings is `seed`, as ever.
        overrides: "key=value" for all trials, as on the command line.
        folder: the study's folder; None: `outputs/<experiment>/tune_<time>`. Where it holds the same study already, it
            goes on: what was stopped or killed is trained to its end, what has ended is not trained again.
        progress: print a line for each trial.

    Raises:
        UserError: a mistake in the space or the settings, a folder that holds something else, or no Optuna; one line.
    """
    check_arguments(overrides)
    options = Options(
        trials=trials,
        workers=workers,
        sampler=sampler,
        pruner=pruner,
        metric=metric,
        mode=mode,
        study_seed=study_seed,
        folder=folder,
    )
    named = [] if experiment is None else [f"experiment={experiment}"]
    return run_study([*named, *overrides, *searched(over)], options, progress=progress)


def run_study(
    overrides: Sequence[str],
    options: Options,
    *,
    config_folders: Sequence[Path] = (),
    progress: bool,
) -> Study:
    """Search until the study has its trials, or a signal stops it.

    Raises:
        UserError: as of `tune`.
    """
    options.check()
    with with_own_folders(config_folders):
        plan, evaluates = planned(overrides, options, config_folders)

    def say(line: str) -> None:
        if progress:
            print(line, flush=True)

    if options.folder is None:
        folder = StudyFolder.new(plan.experiment)
    else:
        folder = StudyFolder(as_path("folder", options.folder))
    folder.begin(plan)
    say(summary(folder, plan, options))
    say(f"tensorboard --logdir {folder.path} shows the trials")
    if plan.pruner != "none" and not evaluates:
        say(
            "no trial is pruned: trainer.evaluate_every is 0, so that none is judged while training"
        )
    stopped_by = None
    try:
        count = min(options.workers, Trials(folder, plan).left(options.trials))
        if count > 1:
            stopped_by = work_in_processes(folder, options.trials, count, progress=progress)
        else:
            stopped_by = work(folder, options.trials, say)
    finally:
        found = reported(folder, plan, stopped_by)
    return found


def reported(folder: StudyFolder, plan: Plan, stopped_by: int | None) -> Study:
    """A study as its folder has it, its table and pictures written."""
    trials = Trials(folder, plan)
    found = Study(
        folder=folder.path,
        metric=plan.metric,
        mode=plan.mode,
        trials=trials.found(),
        importance=trials.importance(),
        stopped_by=stopped_by,
    )
    report.write(folder, plan, found.trials, found.best, found.importance)
    return found


def planned(
    overrides: Sequence[str], options: Options, config_folders: Sequence[Path]
) -> tuple[Plan, bool]:
    """What a command searches, everything checked; and whether its trials are judged while training.

    Raises:
        UserError: as of `tune`.
    """
    for override in overrides:
        if override.lstrip("+~").startswith(("hydra.", "hydra/", "resume")):
            raise UserError(
                f"'{override}': a study runs its own trials; folder=PATH and workers=N say where and how"
            )
    space, fixed = parsed(overrides)
    require(NEEDS)
    if options.sampler == "gp":
        require([GAUSSIAN_PROCESS])
    settings = check(
        [(text, [text.partition("=")[2]]) for text in fixed] + [choice_of(d) for d in space]
    )
    metric, mode = sought(settings, options)
    plan = Plan(
        experiment=settings[0].experiment,
        overrides=tuple(fixed),
        space=tuple(whole_where_it_must_be(each, space, fixed) for each in space),
        metric=metric,
        mode=mode,
        sampler=options.sampler,
        pruner=options.pruner,
        seed=options.study_seed,
        config_folders=tuple(str(each.resolve()) for each in config_folders),
    )
    return plan, any(each.trainer.evaluate_every > 0 for each in settings)


def choice_of(each: Dimension) -> tuple[str, list[str]]:
    """A dimension as `check` takes it: its override, and the values that are checked."""
    return f"{each.key}={each.written}", ends(each)


def whole_where_it_must_be(
    each: Dimension, space: Sequence[Dimension], fixed: Sequence[str]
) -> Dimension:
    """A dimension, of whole numbers where its key takes no others."""
    fraction = between(each)
    if fraction is None:
        return each
    others = [f"{d.key}={ends(d)[0]}" for d in space if d.key != each.key]
    try:
        check([(text, [text.partition("=")[2]]) for text in (*fixed, *others, fraction)])
    except UserError:
        return replace(each, whole=True)
    return each


def sought(settings: Sequence[Settings], options: Options) -> tuple[str, str]:
    """The metric and its mode.

    Raises:
        UserError: another metric than the primary one without a mode, or tasks with several primary ones.
    """
    primary = set(map(judged_by, settings))
    if options.metric is None and len(primary) > 1:
        named = " and ".join(sorted(metric for metric, _ in primary))
        raise UserError(f"the tasks have several primary metrics, {named}: write metric=NAME")
    modes = {mode for metric, mode in primary if options.metric in (None, metric)}
    if options.mode is None and len(modes) != 1:
        raise UserError(f"metric={options.metric}: write mode=min or mode=max, too")
    return options.metric or primary.pop()[0], options.mode or modes.pop()


def summary(folder: StudyFolder, plan: Plan, options: Options) -> str:
    """What is about to be searched, in one line."""
    space = "; ".join(map(str, plan.space))
    best = "least" if plan.mode == "min" else "most"
    processes = f" in {options.workers} processes" if options.workers > 1 else ""
    return (
        f"study {folder.path}: the {best} {plan.metric} of {plan.experiment} in {options.trials} trials{processes}, "
        f"{plan.sampler}, over {space}"
    )
