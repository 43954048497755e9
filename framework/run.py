"""The front door in Python: train an experiment or a task of your own, load a trained run, evaluate it, use it.

    run = framework.train("cartpole", estimator="ppo", seed=1, overrides=["trainer.steps=200"])
    run = framework.load("outputs/cartpole/<time>")
    run.metrics, run.task, run.folder

The commands are thin callers of these functions: the same settings give the same bits. Nothing here changes signal
handlers outside the main thread or ends the process; a user's mistake raises `UserError`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from framework.arguments import as_choice, as_names, as_path
from framework.config import composition
from framework.config.schema import Settings
from framework.config.tuning import untuned_notice
from framework.config.validation import check_components, validate
from framework.errors import UserError
from framework.given_task import copied, name_of, other_task_notice, require_task, task_object
from framework.launch import check_processes, follows
from framework.training.assembly import refuse_to_divide, refuse_together, require_extras
from framework.training.checkpoints.resume import change_config, load_config, reopen, warn
from framework.training.folders.records import read_records
from framework.training.folders.run_folder import RunFolder
from framework.training.runs import find_run
from framework.training.together import followed, held_and_trained, own_torch_state

if TYPE_CHECKING:
    import torch

    from framework.gradients.estimator import Estimate
    from framework.media import Media
    from framework.task import Split, Task

Which = Literal["best", "last"]
# What is chosen by its registered name.
GROUPS = ("experiment", "estimator", "optimizer", "scheduler")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained run: its folder, its settings, and its task with the parameters of one of its checkpoints.

    Attributes:
        folder: the run folder.
        settings: the validated configuration.
        task: the task, its model in evaluation mode; games have `task.act`, detectors `task.detect`.
        device: where the model is.
        checkpoint: which checkpoint's parameters the task has, "best" or "last".
        step: the optimiser step of that checkpoint.
        stopped_by: the number of the signal that stopped the training in this process; None: none did.
    """

    folder: Path
    settings: Settings
    task: Task
    device: torch.device
    checkpoint: Which
    step: int
    stopped_by: int | None = None

    def __post_init__(self) -> None:
        self.task.loaded(self.folder)

    @property
    def result(self) -> dict[str, Any]:
        """`result.json`: metrics, best, steps, seconds and why the training stopped; empty where it has not ended."""
        return RunFolder(self.folder).result()

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the final evaluation, by name; empty where there was none."""
        return dict(self.result.get("metrics", {}))

    @property
    def records(self) -> list[dict[str, Any]]:
        """`metrics.jsonl`: what was logged, in order, each with "step" and "seconds"."""
        return read_records(self.folder / "metrics.jsonl", warn)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The model in evaluation mode, no gradients, the run's own precision and number of threads."""
        import torch

        from framework.training.updates.precision import autocast

        options, threads = self.settings.trainer, torch.get_num_threads()
        self.task.model.eval()
        torch.set_num_threads(options.threads or threads)
        try:
            with torch.no_grad(), autocast(self.device, options.precision):
                yield
        finally:
            torch.set_num_threads(threads)

    def evaluate(self, *, seed: int | None = None, split: Split = "test") -> dict[str, float]:
        """The task's metrics again; see `framework.evaluate`."""
        return evaluate(self, seed=seed, split=split)

    def predict(
        self, source: str | Path | None = None, *, seed: int | None = None
    ) -> Iterator[Media]:
        """What the task makes of an image, a folder or a video, or of nothing: pictures, videos and texts.

        Raises:
            UserError: there is no such file, or the task takes no input of this kind.
        """
        from framework.randomness import key

        path = None if source is None else as_path("input", source)
        if path is not None and not path.exists():
            raise UserError(f"input = '{source}': there is no such file or folder")
        with self.in_use():
            seed = self.settings.seed if seed is None else seed
            yield from self.task.predict(path, key(seed, "predict") % 2**31)

    def export(self, path: str | Path, **options: Any) -> Path:
        """Write the trained model to a file that runs without this framework, where the task can; returns its path.

        Raises:
            UserError: the task cannot be exported.
        """
        with self.in_use():
            return self.task.export(as_path("path", path), **options)


def compose(*overrides: str) -> Settings:
    """The validated settings of an experiment, as the command would have them.

    Args:
        overrides: "group=option" or "key=value", as on the command line: `compose("experiment=javelin", "seed=1")`.

    Raises:
        UserError: an unknown option or key, a wrong type, a value out of range; one line.
    """
    check_arguments(overrides)
    settings = validate(composition.compose(overrides).config)
    check_components(settings)
    return settings


def train(
    experiment: str | Task | None = None,
    *,
    estimator: str | None = None,
    optimizer: str | None = None,
    scheduler: str | Callable[[int], float] | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    resume: str | Path | None = None,
    force: bool = False,
    on_step: Callable[[int, Estimate], Any] | None = None,
    on_evaluation: Callable[[int, dict[str, float]], Any] | None = None,
    progress: bool = False,
) -> Run:
    """Train, and return the run with the last parameters (their averages, where `trainer.ema` makes some).

    Args:
        experiment: an experiment's name, or a task object of your own, which needs no configuration and no plugin.
        estimator, optimizer, scheduler: by registered name; None: the experiment's, for a task object the defaults.
            Or a scheduler of your own: a function of the step, from 0, that gives the factor of the learning rate.
        steps, learning_rate, seed: short for the overrides `trainer.steps`, `optimizer.learning_rate` and `seed`.
        overrides: "key=value", as on the command line; they count above all other arguments.
        folder: the run folder; None: `outputs/<experiment>/<time>`.
        resume: an earlier run's folder, as `load` takes it, to be continued exactly; with it only `overrides`,
            callbacks and a scheduler of your own apply, and `experiment` where that run trained a task object. "auto":
            begin in `folder`, or continue what is there.
        force: resume although a change decides which data a step sees (`trainer.accumulate`).
        on_step: called with (step, estimate) after each optimiser step, from 1; returning False stops the training.
        on_evaluation: called with (step, metrics) after each evaluation; returning False stops the training.
        progress: print what the command would print.

    Trainings in several threads at once share torch's random streams: their bits are then not reproducible.

    Raises:
        UserError: a mistake in the settings, the task or its data; one line.
        ProgramError: an estimator that cannot serve the task.
    """
    own = task_object(experiment)
    schedule = scheduler if callable(scheduler) else None
    check_arguments(overrides, on_step, on_evaluation)
    chosen = {
        "experiment": None if own is not None else experiment,
        "estimator": estimator,
        "optimizer": optimizer,
        "scheduler": None if schedule else scheduler,
        "trainer.steps": steps,
        "optimizer.learning_rate": learning_rate,
        "seed": seed,
        "hydra.run.dir": None if folder is None else as_path("folder", folder),
    }
    if resume is not None and resume != "auto":
        refuse_choices(chosen)
        place = find_run(resume)
        config, settings = reopen(place, list(overrides), registered=own is None, force=force)
        notice = "" if own is None else other_task_notice(settings.task.name, name_of(own))
    else:
        found = composed(own, chosen, overrides)
        config, place = found.config, found.run_folder
        settings = validate(config, registered=own is None)
        notice = untuned_notice(settings, found.choices, composition.config_options())
        if resume is None:
            # The first process answers for all.
            if not follows():
                RunFolder(place).refuse_second_run()
        elif folder is None and not any(o.startswith("hydra.run.dir=") for o in overrides):
            raise UserError(
                "resume=auto needs a folder that the next start finds again: hydra.run.dir=PATH "
                "(in Python: folder=PATH)"
            )
    return train_composed(
        config,
        settings,
        place,
        task=own,
        resume="auto" if resume == "auto" else resume is not None,
        force=force,
        notice=notice,
        on_step=on_step,
        on_evaluation=on_evaluation,
        schedule=schedule,
        progress=progress,
    )


def fit(
    task: Task,
    *,
    estimator: str | None = None,
    optimizer: str | None = None,
    scheduler: str | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    on_step: Callable[[int, Estimate], Any] | None = None,
) -> None:
    """Train a task object in memory: its parameters change, and nothing is written, evaluated or shown.

    For a fit inside another program's work, such as one drawing of many. Arguments as in `train`; torch's own random
    streams and number of threads are as before afterwards.

    Raises:
        UserError: a mistake in the settings, the task or its data; one line.
        ProgramError: an estimator that cannot serve the task.
    """
    import torch

    from framework.training.assembly import make_components
    from framework.training.session import train_in_memory
    from framework.training.trainer import Callbacks

    require_task(task)
    check_arguments(overrides, on_step)
    chosen = {
        "estimator": estimator,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "trainer.steps": steps,
        "optimizer.learning_rate": learning_rate,
        "seed": seed,
    }
    alone = ["monitor.tensorboard=false", "trainer.quality.every=0"]
    settings = validate(composed(task, chosen, [*alone, *overrides]).config, registered=False)
    with own_torch_state(), torch.enable_grad():
        train_in_memory(
            settings, make_components(settings, task, to_train=True), Callbacks(on_step=on_step)
        )
    task.model.eval()


def check_arguments(overrides: Any, *callbacks: Any) -> None:
    """Refuse overrides that are no list of strings, and callbacks that cannot be called.

    Raises:
        UserError: names the argument's value.
    """
    as_names("overrides", overrides, "trainer.steps=5")
    for callback in callbacks:
        if callback is not None and not callable(callback):
            raise UserError(f"callback {callback!r}: expected a function of (step, what happened)")


def refuse_choices(chosen: Mapping[str, Any]) -> None:
    """Refuse what a new run chooses and a resumed one has already.

    Raises:
        UserError: names the first of them.
    """
    for key, value in chosen.items():
        if value is not None:
            name = {"hydra.run.dir": "folder"}.get(key, key.rpartition(".")[2])
            raise UserError(
                f"{name} = '{value}' does not go with resume, which continues a run as it is; "
                "overrides=['key=value'] changes single keys"
            )


def composed(
    task: Task | None, chosen: Mapping[str, Any], overrides: Sequence[str]
) -> composition.Composition:
    """The configuration of an experiment or of a task object; what is chosen as None is left to the defaults.

    Raises:
        UserError: a component that is chosen by something else than its name, or an unknown key.
    """
    for group in GROUPS:
        if not isinstance(chosen.get(group), str | None):
            raise UserError(f"{group} = {chosen[group]!r}: expected a name as text")
    given = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    name = None if task is None else name_of(task)
    return composition.compose([*given, *overrides], task=name)


def train_composed(
    config: Any,
    settings: Settings,
    folder: Path,
    *,
    task: Task | None = None,
    resume: bool | Literal["auto"] = False,
    force: bool = False,
    notice: str = "",
    on_step: Callable[[int, Estimate], Any] | None = None,
    on_evaluation: Callable[[int, dict[str, float]], Any] | None = None,
    schedule: Callable[[int], float] | None = None,
    progress: bool = False,
) -> Run:
    """Train by a configuration that is composed already, in a folder; arguments as in `train`.

    Args:
        notice: a line to print below the start summary.
        schedule: the factor of the learning rate at each step, in place of the configured one.
    """
    require_extras(settings)
    refuse_together(settings)
    refuse_to_divide(settings)
    check_processes(settings.trainer.ranks, settings.trainer.launcher)
    callbacks = {"on_step": on_step, "on_evaluation": on_evaluation, "schedule": schedule}
    divided = settings.trainer.sharding == "full"
    # The one that is trained is in parts from now on.
    kept = copied(task, without_parameters=True) if divided else None
    if follows():
        trainer = followed(settings, task, callbacks)
        folder = trainer.folder.path
    else:
        trainer = held_and_trained(
            RunFolder(folder),
            config,
            settings,
            task,
            callbacks,
            resume=resume,
            force=force,
            notice=notice,
            quiet=not progress,
        )
    if divided:
        stopped_by = trainer.signals.received
        # Gradients and the optimiser's state make room for the whole model.
        trainer.optimizer.zero_grad()
        del trainer
        gc.collect()
        if kept is not None:
            from framework.sharding import give_memory

            give_memory(kept.model)
            kept.__dict__.pop("parameters", None)
        run = load(folder, checkpoint="last", task=kept)
        return replace(run, stopped_by=stopped_by)
    trainer.use_averages()
    if settings.trainer.activation_checkpointing:
        from framework.training.updates.recomputation import keep

        keep(trainer.task.model)
    trainer.task.model.eval()
    return Run(
        folder=folder,
        settings=settings,
        task=trainer.task,
        device=trainer.device,
        checkpoint="last",
        step=trainer.progress.step,
        stopped_by=trainer.signals.received,
    )


def load(
    folder: str | Path,
    *,
    checkpoint: Which = "best",
    overrides: Sequence[str] = (),
    task: Task | None = None,
) -> Run:
    """A trained run, ready for use.

    Args:
        folder: the run folder; "latest": the newest run below `outputs`; another folder: the newest run inside it.
        checkpoint: "best" by the task's primary metric, or "last".
        overrides: changes of the task's own options, "task.key=value".
        task: the task, where the run trained a task object; its parameters are replaced.

    Raises:
        UserError: a folder without a run, a checkpoint that is not there or does not fit, an unknown key.
    """
    as_choice("checkpoint", checkpoint, get_args(Which))
    changes = as_names("overrides", overrides, "task.option=value")
    if wrong := [change for change in changes if not change.startswith("task.")]:
        raise UserError(f"'{wrong[0]}': a trained run permits changes of task.* only")
    place = find_run(folder)
    config = change_config(load_config(place), changes)
    if task is not None:
        require_task(task)
    settings = validate(config, registered=task is None)
    require_extras(settings)
    # Torch is imported when the settings are known to be right.
    from framework.training.assembly import make_components
    from framework.training.checkpoints.restoring import load_for_use

    with own_torch_state():
        components = make_components(settings, task)
    step = load_for_use(components.task, place, checkpoint)
    components.task.model.eval()
    return Run(
        folder=place,
        settings=settings,
        task=components.task,
        device=components.device,
        checkpoint=checkpoint,
        step=step,
    )


def evaluate(
    run: Run | str | Path, *, seed: int | None = None, split: Split = "test"
) -> dict[str, float]:
    """A run's metrics, measured again.

    Args:
        run: a run, or its folder (its best checkpoint).
        seed: None: the randomness of the run's own final evaluation.
        split: which data, where the task has several.

    Raises:
        UserError: there is no such run or split, or the seed is no whole number.
    """
    from framework.randomness import key
    from framework.task import Split

    as_choice("split", split, get_args(Split))
    loaded = run if isinstance(run, Run) else load(run)
    seed = loaded.settings.seed if seed is None else seed
    with loaded.in_use():
        return loaded.task.evaluate(key(seed, split) % 2**31, split)
