"""A process that trains trials of a study until there is none left: the command itself, or one of several.

    python -m framework.tuning.worker FOLDER TRIALS

A trial is an ordinary run. It is judged on the validation split, while training (what prunes it) and at its end.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from framework.config.composition import compose, with_own_folders
from framework.config.explanation import first_line
from framework.config.schema import TrainerSettings
from framework.config.validation import validate
from framework.errors import UserError
from framework.run import Run, train_composed
from framework.training.folders.run_folder import RunFolder
from framework.tuning.study_folder import Plan, StudyFolder
from framework.tuning.trials import Taken, Trial, Trials

Say = Callable[[str], None]


class Pruned(UserError):
    """A trial ends early: others were better at this step."""

    def __init__(self, step: int, metric: str) -> None:
        super().__init__(f"step {step}: {metric} is worse than the median of other trials")
        self.step = step


class NoSuchMetric(UserError):
    """What is sought is not among the task's metrics."""


def work(folder: StudyFolder, limit: int, say: Say) -> int | None:
    """Train trials until the study has as many as it is to have; returns the number of a signal that stopped one.

    Args:
        limit: how many trials the study is to have.
        say: gets a line for each trial that has ended.

    Raises:
        UserError: the study cannot go on, such as for a full disk or a metric that the task does not have.
    """
    plan = folder.plan()
    trials = Trials(folder, plan)
    with with_own_folders([Path(each) for each in plan.config_folders]):
        while (taken := trials.take(limit)) is not None:
            try:
                stopped_by = train_trial(trials, taken)
            finally:
                folder.let_go(taken.claim)
            if stopped_by is not None:
                return stopped_by
            found = trials.found()
            say(told(found[taken.number], found, plan))
    return None


def train_trial(trials: Trials, taken: Taken) -> int | None:
    """Train one trial, or go on with it, and note what became of it; returns the number of a signal that stopped it.

    Raises:
        UserError: the study cannot go on.
    """
    if taken.pruned is not None:
        # The process was killed between deciding and noting it.
        trials.note(taken, "pruned", step=taken.pruned)
        return None
    plan, place = trials.plan, trials.folder.run(taken.number)
    try:
        config = compose([*plan.overrides, *taken.overrides]).config
        settings = validate(config)
        judge = judged(trials, taken, settings.trainer)
        run = train_composed(config, settings, place, resume="auto", on_evaluation=judge)
        if run.stopped_by is not None:
            return run.stopped_by
        value = value_of(run, plan.metric)
    except Pruned as pruned:
        seconds = RunFolder(place).result().get("seconds")
        trials.note(taken, "pruned", step=pruned.step, seconds=seconds)
        return None
    except NoSuchMetric:
        raise
    # A failed trial must not keep the others from being tried, whatever raised.
    except Exception as error:
        # One that had no room to write has not failed.
        if os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error):
            raise UserError(first_line(error)) from None
        trials.note(taken, "failed", error=reason(error))
        return None
    facts = {"step": run.result["steps"], "seconds": run.result["seconds"]}
    if value != value:
        trials.note(taken, "failed", error=f"{plan.metric} is {value}", **facts)
    else:
        trials.note(taken, "finished", value=value, **facts)
    return None


def judged(
    trials: Trials, taken: Taken, options: TrainerSettings
) -> Callable[[int, dict[str, float]], None]:
    """What is called after each evaluation of a trial."""
    plan = trials.plan

    def on_evaluation(step: int, metrics: dict[str, float]) -> None:
        check_metric(plan.metric, metrics)
        # The evaluation at the end has another split, and nothing is saved by ending there.
        while_training = options.evaluate_every > 0 and step % options.evaluate_every == 0
        if not while_training or step >= options.steps:
            return
        if trials.prunes(taken, step, metrics[plan.metric]):
            raise Pruned(step, plan.metric)

    return on_evaluation


def check_metric(metric: str, metrics: dict[str, float]) -> None:
    """Refuse a metric that the task does not have.

    Raises:
        NoSuchMetric: names those that it has.
    """
    if metric not in metrics:
        raise NoSuchMetric(f"metric = '{metric}': expected one of {', '.join(metrics)}")


def value_of(run: Run, metric: str) -> float:
    """The metric on the validation split, of the parameters that the run reports: its best, or its last ones."""
    result, every = run.result, run.settings.trainer.evaluate_every
    if every and run.task.reports_best and result["best"]:
        return float(result["best"][metric])
    tag = f"evaluation/{metric}"
    last = [r[tag] for r in run.records if r["step"] == result["steps"] and tag in r]
    if last:
        # A value that is not finite is written as null.
        return float("nan") if last[-1] is None else float(last[-1])
    metrics = run.evaluate(split="validation")
    check_metric(metric, metrics)
    return metrics[metric]


def reason(error: Exception) -> str:
    """Why a trial failed, in one line; of an unexpected error its place, too."""
    if isinstance(error, UserError):
        return first_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line(error)}{place}"


def told(trial: Trial, known: list[Trial], plan: Plan) -> str:
    """A line for a trial that has ended."""
    tried = " ".join(trial.overrides)
    if trial.state == "failed":
        return f"trial {trial.number}: failed: {trial.error}  {tried}"
    value = "" if trial.value is None else f" {plan.metric} {trial.value:.6g}"
    at = f" pruned at step {trial.step}," if trial.state == "pruned" else ""
    best = best_trial(known, plan.mode)
    behind = "" if best is None else f" (best {best.value:.6g}, trial {best.number})"
    return f"trial {trial.number}:{at}{value}{behind}  {tried}"


def best_trial(trials: list[Trial], mode: str) -> Trial | None:
    """The finished trial with the best value, of equals the first; None: none has finished."""
    sign = 1 if mode == "min" else -1
    rivals = [t for t in trials if t.state == "finished" and t.value is not None]
    return min(rivals, key=lambda trial: sign * (trial.value or 0.0), default=None)


def end_with_parent() -> None:
    """Stop as by SIGTERM, saving, when the process that started this one is gone."""
    # Past Python's buffer, which would not let the interpreter end meanwhile.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str]) -> Any:
    """Be one of several workers; exits as the command would."""
    folder, limit = arguments
    Thread(target=end_with_parent, daemon=True).start()

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        stopped_by = work(StudyFolder(Path(folder)), int(limit), say)
        sys.exit(0 if stopped_by is None else 128 + stopped_by)
    except UserError as error:
        print(f"diffobj: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        sys.exit(128 + getattr(error, "number", signal.SIGINT))


if __name__ == "__main__":
    main(sys.argv[1:])
