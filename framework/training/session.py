"""A training session in a run folder: new or resumed, with a monitor, and what stays of it whatever ends it."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from framework.config.explanation import first_line
from framework.config.schema import Settings
from framework.errors import UserError
from framework.training.allocator import keep_freed_memory
from framework.training.assembly import Components
from framework.training.checkpoint import delete_after, list_checkpoints, load_newest
from framework.training.monitor import Monitor
from framework.training.run_folder import RunFolder
from framework.training.trainer import Callbacks, Trainer


def train_in(
    folder: RunFolder,
    config: Any,
    settings: Settings,
    components: Components,
    *,
    resume: bool = False,
    notice: str = "",
    callbacks: Callbacks = Callbacks(),  # noqa: B008  (it is frozen)
    quiet: bool = False,
) -> Trainer:
    """Train in a folder, held meanwhile; returns the trainer as it ended.

    Args:
        config: the configuration as composed, for `config.yaml`.
        resume: continue from the folder's newest undamaged checkpoint.
        notice: a line to print below the start summary.
        quiet: print nothing, whatever `monitor.progress` says.

    Raises:
        UserError: the folder cannot be written or is in use, or the training ended by a user's mistake.
    """
    keep_freed_memory()
    trainer = Trainer(settings, components, folder, callbacks)
    folder.open()
    try:
        if resume:
            restore(trainer, folder, quiet=quiet)
        run(folder, config, trainer, notice=notice, quiet=quiet)
    finally:
        folder.close()
    return trainer


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


def restore(trainer: Trainer, folder: RunFolder, *, quiet: bool) -> None:
    """Continue from the newest undamaged checkpoint, or begin where the run was killed before its first."""

    def log(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    if not list_checkpoints(folder.checkpoints) and not (folder.path / "result.json").exists():
        log(f"{folder.path}: stopped before its first checkpoint; it begins again")
        return
    trainer.load(load_newest(folder.checkpoints, log))
    delete_after(folder.checkpoints, trainer.progress.step)


def run(folder: RunFolder, config: Any, trainer: Trainer, *, notice: str, quiet: bool) -> None:
    """Train with a monitor. Where an error ends it before the first step, nothing stays of a folder made for it."""
    settings, start = trainer.settings, trainer.progress.step
    folder.write_config(config)
    folder.write_manifest(settings, str(trainer.device))
    monitor = Monitor(
        folder.path,
        settings.monitor,
        experiment=settings.experiment,
        steps=settings.trainer.steps,
        start=start,
        quiet=quiet,
    )
    result = None
    try:
        monitor.log(start_summary(trainer))
        if notice:
            monitor.log(notice)
        monitor.texts(
            {
                "config": (folder.path / "config.yaml").read_text(encoding="utf-8"),
                "manifest": (folder.path / "manifest.json").read_text(),
                "command": shlex.join(sys.argv),
            }
        )
        result = trainer.train(monitor)
        folder.write_result(result)
        monitor.hyperparameters(result["steps"], flat(config), result["metrics"])
        if trainer.signals.received is None:
            trainer.show(monitor)
        monitor.log(end_summary(result))
    except (Exception, KeyboardInterrupt) as error:
        if trainer.progress.step > start and result is None:
            stopped = f"{type(error).__name__}: {first_line(error)}"
            # The disk may be full.
            with suppress(OSError):
                folder.write_result(trainer.result({}) | {"stopped": stopped})
                monitor.log(f"steps up to {trainer.progress.step} are saved in {folder.path}")
        elif trainer.progress.step == start and isinstance(error, UserError | KeyboardInterrupt):
            monitor.close()
            folder.discard()
        raise
    finally:
        monitor.close()


def start_summary(trainer: Trainer) -> str:
    """What is about to be trained, in one line."""
    settings, start = trainer.settings, trainer.progress.step
    count = sum(p.numel() for p in trainer.parameters.values())
    begin = f", from step {start}" if start else ""
    return (
        f"{settings.experiment}: task {settings.task.name} ({count:,} parameters), "
        f"estimator {settings.estimator.name}, {settings.trainer.steps:,} steps on {trainer.device}{begin}"
    )


def end_summary(result: dict[str, Any]) -> str:
    """What happened and where to look."""
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in result["metrics"].items())
    return (
        f"{result['experiment']}: {result['stopped']}: {result['steps']:,} steps "
        f"in {result['seconds']:.1f} s of training; {metrics or 'not evaluated'}\n"
        f"tensorboard --logdir {result['run']} shows the run; result.json, media/ and checkpoints/ are in its folder:"
    )


def flat(config: Any) -> dict[str, Any]:
    """The configuration as one level of dotted keys, interpolations unresolved: no secret is shown."""
    from omegaconf import OmegaConf

    def walk(node: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            return {prefix: node}
        return {
            k: v for name, value in node.items() for k, v in walk(value, f"{prefix}.{name}").items()
        }

    plain = OmegaConf.to_container(config, resolve=False)
    return {k.lstrip("."): v for k, v in walk(plain, "").items()}
