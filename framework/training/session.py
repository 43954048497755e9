"""A training session in a run folder: new or resumed, with a monitor, and what stays of it whatever ends it."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from framework import ranks
from framework.atomic import DISK_FULL
from framework.config.explanation import first_line
from framework.config.schema import Settings
from framework.errors import UserError
from framework.memory import is_out_of_memory, out_of_memory
from framework.task import Task
from framework.training.allocator import keep_freed_memory, return_freed_memory
from framework.training.assembly import Components, make_components
from framework.training.checkpoints.checkpoint import (
    delete_after,
    load,
    load_newest,
    name,
    was_saved,
)
from framework.training.checkpoints.resume import (
    Changes,
    config_changes,
    flat,
    load_config,
    parse_config,
    told,
    validate_resume,
)
from framework.training.checkpoints.whole_state import own_parts
from framework.training.folders.manifest import (
    add_session,
    environment_changes,
    last_session,
    session,
)
from framework.training.folders.run_folder import RunFolder, config_text
from framework.training.folders.sweep_folder import swept_keys
from framework.training.monitor import Monitor
from framework.training.trainer import Callbacks, Trainer
from framework.training.updates.nonfinite import diverged

# The columns that TensorBoard's page of hyper-parameters begins with where no sweep says what differs.
FIRST = ("seed", "estimator", "optimizer.learning_rate")

# What a training needs less memory by.
LESS = "smaller batches, fewer samples or trainer.activation_checkpointing=true need less"


def train_in(
    folder: RunFolder,
    config: Any,
    settings: Settings,
    task: Task | None = None,
    *,
    resume: bool | Literal["auto"] = False,
    force: bool = False,
    notice: str = "",
    callbacks: Callbacks = Callbacks(),  # noqa: B008  (it is frozen)
    quiet: bool = False,
) -> Trainer:
    """Train in a folder, which the caller holds; returns the trainer as it ended.

    Args:
        config: the configuration as composed, for `config.yaml`.
        task: used as it is, in place of the one that the settings name.
        resume: continue from the folder's newest undamaged checkpoint; "auto": if there is a run.
        force: resume although steps will see other data than in an uninterrupted run.
        notice: a line to print below the start summary.
        quiet: print nothing, whatever `monitor.progress` says.

    Raises:
        UserError: the folder holds a run already, or the training ended by a user's mistake.
    """
    choose_allocator(settings)

    def log(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    # Asked while it is held: another process may have trained here while this one was starting.
    going_on = resume is True or (resume == "auto" and folder.holds_run)
    changes: Changes = {}
    if going_on:
        before = load_config(folder.path, lambda line: None)
        changes = config_changes(before, parse_config(config_text(config), folder.config))
        validate_resume(changes, force=force)
    else:
        folder.refuse_second_run()
    trainer = None
    try:
        components = make_components(settings, task, to_train=True)
        # Before the trainer: what it refuses, each process says itself.
        ranks.of_first(folder.path.absolute())
        trainer = Trainer(settings, components, folder, callbacks)
        if going_on:
            restore(trainer, folder, log)
        ranks.of_first(trainer.progress.step)
        run(folder, config, trainer, changes=changes, notice=notice, quiet=quiet)
    except (UserError, KeyboardInterrupt):
        if not going_on and (trainer is None or not trainer.progress.step):
            folder.discard()
        raise
    return trainer


def follow(settings: Settings, task: Task | None, callbacks: Callbacks) -> Trainer:
    """Train beside the first of several processes, which writes and prints for all; returns the trainer as it ended."""
    choose_allocator(settings)
    components = make_components(settings, task, to_train=True)
    trainer = Trainer(settings, components, RunFolder(ranks.of_first(None)), callbacks)
    if step := ranks.of_first(None):
        # The one that the first has taken, and no other.
        place = trainer.folder.checkpoints / f"{name('step', step)}.pt"
        trainer.load(load(place, into=own_parts(trainer)))
    with TemporaryDirectory() as own:
        silent = settings.monitor.model_copy(
            update={"tensorboard": False, "loggers": [], "histograms_every": 0}
        )
        monitor = Monitor(
            Path(own),
            silent,
            experiment=settings.experiment,
            steps=settings.trainer.steps,
            start=step,
            quiet=True,
        )
        try:
            trainer.train(monitor)
            # A divided model shows itself by all processes; else this one waits until all is written.
            if trainer.signals.received is None:
                trainer.show(monitor)
        finally:
            monitor.close()
    return trainer


def choose_allocator(settings: Settings) -> None:
    """Trade memory for speed, or the other way round where a model is divided among processes."""
    if settings.trainer.sharding == "none":
        keep_freed_memory()
    else:
        return_freed_memory()


def train_in_memory(settings: Settings, components: Components, callbacks: Callbacks) -> None:
    """Train and keep the parameters only: no run folder, no final evaluation, no pictures; Ctrl-C interrupts it."""
    with TemporaryDirectory() as place:
        trainer = Trainer(settings, components, RunFolder(Path(place)), callbacks)
        monitor = Monitor(
            trainer.folder.path,
            settings.monitor,
            experiment=settings.experiment,
            steps=settings.trainer.steps,
            start=0,
            quiet=True,
        )
        try:
            trainer.begin()
            trainer.loop(monitor)
        finally:
            monitor.close()
    trainer.use_averages()


def restore(trainer: Trainer, folder: RunFolder, log: Callable[[str], None]) -> None:
    """Continue from the newest undamaged checkpoint, or begin where the run ended before its first was whole.

    Raises:
        UserError: every checkpoint is gone or damaged, or holds more steps than the run is to have.
    """
    place = folder.checkpoints
    if not was_saved(place) and folder.result().get("saved") is None:
        delete_after(place, 0)
        log(f"{folder.path}: stopped before its first checkpoint; it begins again")
        return
    trainer.load(load_newest(place, log, into=own_parts(trainer)))
    done, asked = trainer.progress.step, trainer.options.steps
    if asked < done:
        raise UserError(
            f"trainer.steps = {asked}: the run has done {done} steps; expected at least as many"
        )
    delete_after(place, done)
    trainer.saving.delete_old(trainer.progress)


def run(
    folder: RunFolder,
    config: Any,
    trainer: Trainer,
    *,
    changes: Changes,
    notice: str,
    quiet: bool,
) -> None:
    """Train with a monitor, and write what stays of it whatever ends it."""
    settings, start = trainer.settings, trainer.progress.step
    trainer.config = config_text(config)
    before = last_session(folder.manifest)
    now = session(settings.seed, str(trainer.device), start, changes)
    now["primary_metric"] = trainer.task.primary_metric
    folder.write_config(config)
    add_session(folder.manifest, now)
    monitor = Monitor(
        folder.path,
        settings.monitor,
        experiment=settings.experiment,
        steps=settings.trainer.steps,
        start=start,
        end=last_step(settings, start),
        metric=trainer.task.primary_metric,
        numbers=trainer.task.progress_numbers,
        config=flat(config),
        evaluated=trainer.progress.evaluated,
        quiet=quiet,
    )
    result = None
    try:
        monitor.log(start_summary(trainer))
        if notice:
            monitor.log(notice)
        if differs := differences(changes, environment_changes(before, now), settings):
            monitor.log(differs)
        monitor.texts(
            {
                "config": trainer.config,
                "manifest": json.dumps(now, indent=2),
                "command": command_text(sys.argv),
            }
        )
        result = trainer.train(monitor)
        folder.write_result(result)
        monitor.hyperparameters(
            flat(config), result["metrics"], first=swept_keys(folder.path.parent) or FIRST
        )
        if trainer.signals.received is None:
            trainer.show(monitor)
            for name, tag in monitor.line.unseen.items():
                monitor.log(f"progress_numbers: '{name}' has shown nothing: no '{tag}' was logged")
        monitor.log(end_summary(result))
    except (Exception, KeyboardInterrupt) as error:
        if trainer.progress.step > start and result is None:
            stopped = f"{type(error).__name__}: {first_line(error)}"
            # The disk may be full.
            with suppress(OSError, UserError):
                folder.write_result(trainer.result({}) | {"stopped": stopped})
                monitor.log(f"steps up to {trainer.saving.step or 0} are saved in {folder.path}")
        # TensorBoard's, for example.
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise UserError(f"{error.filename or folder.path}: {error.strerror}") from None
        if not isinstance(error, UserError) and is_out_of_memory(error):
            raise out_of_memory(f"step {trainer.progress.step}", error, LESS) from None
        own = isinstance(error, UserError | KeyboardInterrupt)
        if not own and diverged(trainer.parameters.values()):
            why = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(
                f"step {trainer.progress.step}: the parameters have diverged ({why}); "
                "a smaller optimizer.learning_rate or trainer.clip_norm may help"
            ) from error
        raise
    finally:
        monitor.close()


def command_text(arguments: Sequence[str]) -> str:
    """A command line that can be pasted into a shell, from the arguments of the process."""
    program, *rest = arguments
    place = Path(program)
    if place.name == "diffobj" or place.parts[-3:] == ("framework", "commands", "main.py"):
        words = ["diffobj"]
    elif program == "diffobj train":
        words = program.split()
    else:
        words = ["python", program]
    return shlex.join([*words, *rest])


def last_step(settings: Settings, start: int) -> int:
    """The step at which a session that begins after `start` steps ends, unless something ends it earlier."""
    options = settings.trainer
    stop = options.stop_at if options.stop_at is not None and options.stop_at > start else math.inf
    return int(min(options.steps, stop))


def start_summary(trainer: Trainer) -> str:
    """What is about to be trained, in one line."""
    settings, start = trainer.settings, trainer.progress.step
    count = sum(p.numel() for p in trainer.parameters.values())
    begin = f", from step {start}" if start else ""
    place = f"{trainer.device}{ranks.described()}{begin}"
    return (
        f"{settings.experiment}: task {settings.task.name} ({count:,} parameters), "
        f"estimator {settings.estimator.name}, {settings.trainer.steps:,} steps on {place}"
    )


def differences(changes: Changes, environment: list[str], settings: Settings) -> str:
    """What is other than in the session before, in one line; empty where nothing is."""
    lines = [*([told(changes)] if changes else []), *environment]
    if "trainer.steps" in changes and settings.scheduler.name != "constant":
        lines.append(
            f"the {settings.scheduler.name} schedule is that of {settings.trainer.steps} steps from here on"
        )
    return f"other than before: {'; '.join(lines)}" if lines else ""


def end_summary(result: dict[str, Any]) -> str:
    """What happened and where to look."""
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in result["metrics"].items())
    seen = result["evaluated"]
    if metrics and seen["checkpoint"] == "best":
        metrics = f"{seen['split']} of the best checkpoint, step {seen['step']:,}: {metrics}"
    count = result["skipped"]
    skipped = f"; {count:,} steps skipped (gradient not finite)" if count else ""
    return (
        f"{result['experiment']}: {result['stopped']}: {result['steps']:,} steps "
        f"in {result['seconds']:.1f} s of training; {metrics or 'not evaluated'}{skipped}\n"
        f"tensorboard --logdir {result['run']} shows the run; result.json, media/ and checkpoints/ are in its folder:"
    )
