"""diffobj train: run an experiment: diffobj train experiment=javelin estimator=spsa trainer.steps=200

    diffobj train [experiment=NAME] [task=NAME] [estimator=NAME] [key=value ...]
    diffobj train resume=RUN_FOLDER [key=value ...]     continue a stopped run exactly
    diffobj train -m estimator=rloo,spsa seed=0,1,2     a sweep (Hydra's launchers and sweepers apply)
    diffobj train --help                                every group, option and default

The run folder is outputs/<experiment>/<time>, or what hydra.run.dir=PATH says; its path is the last line printed.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.config.composition import (
    CORE_CONFIGS,
    compose,
    forgiving,
    join_search_path,
    name_experiment,
    refuse_conflicts,
    told_in_one_line,
    without_hydra,
)
from framework.config.explanation import first_line
from framework.config.schema import Settings
from framework.config.validation import build, check_components, validate
from framework.errors import UserError
from framework.training.allocator import keep_freed_memory
from framework.training.assembly import Parts, make_parts
from framework.training.resume import reopen
from framework.training.run_folder import RunFolder

if TYPE_CHECKING:
    from framework.training.trainer import Trainer


def run(arguments: Sequence[str]) -> int:
    """Train, resume or sweep; returns the exit status."""
    resumed = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    overrides = [a for a in arguments if not a.startswith("resume=")]
    if options := [a for a in overrides if a.startswith("-")]:
        if resumed:
            raise UserError(f"resume continues one run: {' '.join(options)} does not go with it")
        return hydra_main(overrides)
    if resumed:
        earlier = Path(resumed[-1])
        config, settings = reopen(earlier, overrides)
        return train(config, settings, RunFolder(earlier), resume=True)
    composition = compose(overrides)
    settings = validate(composition.config)
    folder = RunFolder(composition.run_folder)
    if folder.holds_run:
        raise UserError(f"{folder.path} holds a run already; resume={folder.path} continues it")
    return train(composition.config, settings, folder)


def hydra_main(overrides: list[str]) -> int:
    """Hydra's own command line: --help, --cfg, and -m with its launchers and sweepers.

    A job's mistake is told in one line and the next job begins; the status is then 2. A signal ends the sweep.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    if any(flag in overrides for flag in ("-m", "--multirun")):
        check_sweep([o for o in overrides if not o.startswith("-")])
    join_search_path()
    failures: list[int] = []

    def job(config: Any) -> None:
        try:
            status = hydra_job(config, HydraConfig.get().runtime)
        except UserError as error:
            print(f"diffobj: {error}", file=sys.stderr)
            failures.append(2)
            remove_empty(Path(HydraConfig.get().runtime.output_dir))
        else:
            if status:
                raise SystemExit(status)

    options = [o for o in overrides if o.startswith("-")]
    sys.argv = [
        "diffobj train",
        *options,
        *forgiving(o for o in overrides if not o.startswith("-")),
    ]
    with told_in_one_line():
        hydra.main(config_path=str(CORE_CONFIGS), config_name="train", version_base="1.3")(job)()
    return max(failures, default=0)


def remove_empty(folder: Path) -> None:
    """Remove a folder that Hydra made and nobody used, and those around it inside the working directory."""
    with suppress(OSError):  # not empty
        folder.rmdir()
        for parent in folder.parents:
            if Path.cwd() not in parent.parents:
                break
            parent.rmdir()


def hydra_job(config: Any, runtime: Any) -> int:
    """Train in the folder that Hydra made."""
    refuse_conflicts(runtime.choices)
    name_experiment(config, runtime.choices)
    plain = without_hydra(config)
    return train(plain, validate(plain), RunFolder(Path(runtime.output_dir)))


def check_sweep(overrides: list[str]) -> None:
    """Check every single choice of a sweep, its components' options included, before its first job starts."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with told_in_one_line():
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


def train(config: Any, settings: Settings, folder: RunFolder, *, resume: bool = False) -> int:
    """Train in a folder; returns 0, or 128+n where signal n stopped the run."""
    from framework.training.trainer import Trainer

    keep_freed_memory()
    parts = make_parts(settings)
    optimizer = build("optimizer", settings.optimizer, list(parts.task.parameters.values()))
    trainer = Trainer(
        settings, parts.task, parts.estimator, optimizer, parts.schedule, folder, parts.device
    )
    folder.open()
    try:
        if resume:
            take_up(trainer, folder)
        train_in(folder, config, trainer, greeting(settings, parts, trainer.progress.step))
    finally:
        folder.close()
    print(folder.path.resolve(), flush=True)
    return 0 if trainer.stopped_by is None else 128 + trainer.stopped_by


def take_up(trainer: Trainer, folder: RunFolder) -> None:
    """Continue from the newest undamaged checkpoint, or begin where the run was killed before its first."""
    from framework.training.checkpoint import forget_after, load_newest, numbered

    if not numbered(folder.checkpoints) and not (folder.path / "result.json").exists():
        print(f"{folder.path}: stopped before its first checkpoint; it begins anew", flush=True)
        return
    trainer.load(load_newest(folder.checkpoints, print))
    forget_after(folder.checkpoints, trainer.progress.step)


def train_in(folder: RunFolder, config: Any, trainer: Trainer, hello: str) -> None:
    """Train with a monitor. Where an error ends it before the first step, nothing stays of a folder made for it."""
    from framework.training.monitor import Monitor

    settings, start = trainer.settings, trainer.progress.step
    folder.write_config(config)
    folder.write_manifest(settings, str(trainer.device))
    monitor = Monitor(
        folder.path,
        settings.monitor,
        experiment=settings.experiment,
        steps=settings.trainer.steps,
        start=start,
    )
    result = None
    try:
        monitor.say(hello)
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
        if trainer.stopped_by is None:
            trainer.show(monitor)
        monitor.say(farewell(result))
    except (Exception, KeyboardInterrupt) as error:
        if trainer.progress.step > start and result is None:
            stopped = f"{type(error).__name__}: {first_line(error)}"
            with suppress(OSError):  # a full disk
                folder.write_result(trainer.result({}) | {"stopped": stopped})
                monitor.say(f"what was made until step {trainer.progress.step} is in {folder.path}")
        elif trainer.progress.step == start and isinstance(error, UserError | KeyboardInterrupt):
            monitor.close()
            folder.discard()
        raise
    finally:
        monitor.close()


def greeting(settings: Settings, parts: Parts, start: int) -> str:
    """What is about to be trained, in one line."""
    count = sum(p.numel() for p in parts.task.parameters.values())
    begin = f", from step {start}" if start else ""
    return (
        f"{settings.experiment}: task {settings.task.name} ({count:,} parameters), "
        f"estimator {settings.estimator.name}, {settings.trainer.steps:,} steps on {parts.device}{begin}"
    )


def farewell(result: dict[str, Any]) -> str:
    """What happened and where to look."""
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in result["metrics"].items())
    return (
        f"{result['experiment']}: {result['stopped']}: {result['steps']:,} steps "
        f"in {result['seconds']:.1f} s of training; {metrics or 'not evaluated'}\n"
        f"look: tensorboard --logdir {result['run']}; result.json, media/ and checkpoints/ in"
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
