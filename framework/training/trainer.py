"""The one loop: batches -> estimator.backward -> clip -> optimiser step -> schedule -> average.

The estimator owns the backward pass; the trainer owns time: when to log, evaluate, save and stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework import ranks, waiting
from framework.batch import map_tensors
from framework.config.schema import Settings
from framework.data import LostWorker
from framework.errors import Elsewhere, ProgramError, UserError
from framework.gradients.estimator import Estimate
from framework.gradients.registered import make_estimator
from framework.gradients.selection.comparison import compare
from framework.optimizer_state import forget_rows
from framework.randomness import key, seed_torch
from framework.recording.sampling import unvalidated
from framework.sharding import mixing_in_one_line, whole
from framework.task import Task, TrainingPlan
from framework.training.assembly import Components
from framework.training.checkpoints.resume import warn
from framework.training.checkpoints.saving import Saving
from framework.training.checkpoints.whole_state import put_back, state_of
from framework.training.clock import TrainingClock
from framework.training.evaluation import Evaluation
from framework.training.folders.run_folder import RunFolder
from framework.training.monitor import Monitor
from framework.training.parted import refuse_mixed_data
from framework.training.parts import (
    drifted,
    refuse_same_batch,
    refuse_uneven_runs,
    take_first_model,
)
from framework.training.reporting import Reported
from framework.training.signals import Interrupted, StopSignals
from framework.training.stopping import Progress, early_stop, improves, is_best, spent
from framework.training.updates.averages import AveragedParameters, RunningMeans, mean_estimate
from framework.training.updates.batch_norm import share_batch_norm
from framework.training.updates.clipping import clip
from framework.training.updates.nonfinite import (
    described,
    diverged,
    skip_step,
    without_estimate,
)
from framework.training.updates.optimization import checked
from framework.training.updates.precision import autocast
from framework.training.updates.queued import QueuedSteps, decides_itself
from framework.training.updates.replayed import ReplayedGradients, is_replayed
from framework.training.updates.rollback import Rollback
from framework.training.watchdog import Watchdog

# Of a first gradient that is exactly 0.
NO_GRADIENT = (
    "the gradient is exactly 0: all samples cost the same so far, or no cost depends on a draw or a parameter of "
    "the model, or it is charged before the draw; `diffobj check` (framework.check_task) says which"
)
# What iterators that have ended give.
ENDED = object()


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """A user's own functions, called while training; one that returns False stops it, as a signal would.

    Attributes:
        on_step: called after each optimiser step with its number, from 1, and its estimate.
        on_evaluation: called after each evaluation with the step and the metrics.
        schedule: the factor of the learning rate at each step, from 0; None: as configured.
    """

    on_step: Callable[[int, Estimate], Any] | None = None
    on_evaluation: Callable[[int, dict[str, float]], Any] | None = None
    schedule: Callable[[int], Any] | None = None


class Trainer:
    """Trains one task with one estimator in one run folder."""

    def __init__(
        self,
        settings: Settings,
        components: Components,
        folder: RunFolder,
        callbacks: Callbacks = Callbacks(),
    ) -> None:
        self.settings, self.options = settings, settings.trainer
        self.task, self.estimator = components.task, components.estimator
        self.optimizer, self.schedule = components.optimizer, components.schedule
        if callbacks.schedule is not None:
            self.schedule = checked(callbacks.schedule)
        self.device, self.folder, self.callbacks = components.device, folder, callbacks
        self.program = self.task.program(self.estimator)
        self.divided = self.options.sharding == "full"
        if self.divided:
            refuse_uneven_runs(self.program)
            # The watch over the first run looks for derivatives by whole parameters.
            self.program.checked = False
        share_batch_norm(self.task.model)
        self.parameters = self.task.parameters
        self.rollback = Rollback(self.task.model)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        ema = self.options.ema
        self.average = None if ema is None else AveragedParameters(self.parameters, ema)
        float16 = self.options.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=float16)
        # Where the device decides by itself which gradients are finite.
        self.queued = QueuedSteps(self) if decides_itself(self) else None
        self.replayed = ReplayedGradients(self) if is_replayed(self) else None
        self.progress = Progress()
        # Of the step under way, kept in case its gradient is not finite.
        self.batch: Any = None
        # Of several processes: whether their batches are known to differ.
        self.parted = False
        # Whether a step of this session is done: the program has been looked at.
        self.begun = False
        # Whether the optimiser has begun to change the parameters in a step that is not counted yet.
        self.moving = False
        self.stop_reason = ""
        self.clock = TrainingClock()
        self.signals = StopSignals(self.clock.restart)
        self.watchdog = Watchdog(self.options.watchdog)
        self.evaluation = Evaluation(settings, self.task, self.average, self.device, self.watchdog)
        # The configuration as `config.yaml` holds it: a checkpoint carries it, too.
        self.config = ""
        first = ranks.rank() == 0
        kept, divided = self.options.keep_checkpoints, self.divided
        self.saving = Saving(folder.checkpoints, kept, writes=first, divided=divided)
        self.reported = Reported(self.task, self.average, folder.path, warn)

    def train(self, monitor: Monitor) -> dict[str, Any]:
        """Train to the end of the budget; returns what `result.json` holds. What was made is saved whatever ends it."""
        start = self.progress.step
        together = False
        quiet = waiting.deferred(self.device)
        with self.signals.handled(), self.watchdog.watching(), quiet:
            try:
                self.begin()
                self.loop(monitor)
                self.validate_last(monitor, start)
                together = True
            except Interrupted as interruption:
                if interruption.between:
                    self.rollback.restore()
                    self.save(together)
                if not interruption.first:
                    raise
                self.check_budget(start)
            except Exception as error:
                if self.progress.step > start and not self.moving:
                    # What the step under way has changed in the model goes.
                    self.rollback.restore()
                    self.save(together)
                # A signal to all processes may reach the workers first.
                if not (isinstance(error, LostWorker) and self.signals.comes()):
                    raise
                self.check_budget(start)
            self.save(together)
        return self.finish(monitor)

    def begin(self) -> None:
        """Let the task prepare; a new run's averages and buffers start from what it has put into the model."""
        plan = TrainingPlan(
            seed=self.settings.seed,
            steps=self.options.steps,
            accumulate=self.options.accumulate,
            learning_rate=float(self.rates[0]),
            start=self.progress.step,
        )
        self.task.begin(plan)
        other = [] if self.divided else take_first_model(self.task.model)
        if other and ranks.rank() == 0:
            warn(f"'{other[0]}' began with other values in each process; all take the first's")
        if not plan.resumed and self.average is not None:
            self.average.copy_from(self.parameters)
        self.rollback.keep()

    def loop(self, monitor: Monitor) -> None:
        """Optimiser steps until the budget, a target or a signal ends them."""
        options, progress, seed = self.options, self.progress, self.settings.seed
        self.clock.seconds = progress.seconds
        batches = self.task.batches(self.program, seed, progress.step * options.accumulate)
        window = RunningMeans()
        self.task.model.train()
        start = progress.step
        if start > 0:
            self.report_jump(monitor.log)
        if due(start, options.evaluate_every) and progress.evaluated < start:
            # It raised in the session before.
            self.validate(monitor)
        self.stop_reason = early_stop(options.early_stopping, progress, self.task)
        self.check_budget(start)
        self.clock.restart()
        # A task that prepares each step has changed by the time that the step's batch is fetched.
        prepares = type(self.task).before_step is not Task.before_step
        while not self.stop_reason:
            self.watchdog.step()
            self.signals.phase = "within" if prepares else "fetching"
            seed_torch(key(seed, "training", progress.step, ranks.rank()))
            self.set_rate(self.schedule(progress.step))
            self.task.before_step(progress.step)
            if rows := self.task.restarted_rows():
                forget_rows(self.optimizer, self.parameters, rows)
            estimate, norm = self.step(batches, monitor.log)
            progress.step += 1
            self.moving, self.begun = False, True
            self.signals.phase = "between"
            for message in (*self.estimator.messages(), *self.program.findings.read()):
                monitor.log(message)
            if progress.step == start + 1 and self.parted:
                self.look_for_drift(monitor.log)
            window.add(estimate)
            progress.seconds = self.clock.lap()
            if progress.step % options.log_every == 0 or progress.step == options.steps:
                monitor.scalars(progress.step, self.scalars(window, norm))
                if progress.step - start <= options.log_every and norm == 0:
                    monitor.log(f"step {progress.step}: {NO_GRADIENT}")
                window = RunningMeans()
            self.called(self.callbacks.on_step, estimate)
            self.run_periodic(monitor)
            self.agree()
            # Evaluation is no training time.
            self.clock.restart()
            self.check_budget(start)
        if self.queued is not None:
            self.queued.read(progress)

    def step(self, batches: Iterator[Any], log: Callable[[str], None]) -> tuple[Estimate, Tensor]:
        """One optimiser step: the estimate, and the norm of its gradient; NaN where there was none."""
        failure: Exception | None = None
        try:
            estimate = self.accumulate(batches)
        except Exception as error:
            failure = error
        try:
            failed = any(ranks.largest(failure is not None))
        except UserError as lost:
            # The others are elsewhere: this one's own error says more.
            raise failure or lost from None
        if failed:
            failure = failure or Elsewhere("the program raised an error in another process")
            return without_estimate(self, failure, log), torch.tensor(math.nan)
        # Of a divided model they are added up on the way back.
        learned = [] if self.divided else [*self.parameters.values()]
        estimate.objective = ranks.add_gradients(learned, estimate.objective)
        return estimate, self.clip_and_step(log)

    def look_for_drift(self, log: Callable[[str], None]) -> None:
        """Say what the processes have made different of each other in one step of data."""
        if self.program.recorded_trajectories or self.divided:
            return
        if other := drifted(self.task.model):
            log(
                f"'{other[0]}' differs between processes after a step, as each makes it from its own data: "
                "framework.ranks.summed and all_rows have what belongs to all"
            )

    def agree(self) -> None:
        """Let all processes stop for what one has met: a signal, the end of its time, a callback's wish."""
        if ranks.size() == 1:
            return
        signal = self.signals.come or 0
        numbers = self.progress.seconds, signal, bool(self.stop_reason)
        seconds, received, stopped = ranks.largest(*numbers)
        self.progress.seconds = self.clock.seconds = seconds
        self.signals.agreed = int(received) or None
        if stopped and not self.stop_reason:
            self.stop_reason = "stopped by a callback in another process"

    def report_jump(self, log: Callable[[str], None]) -> None:
        """Say where a resumed run's learning rate does not go on from the one that it was stopped at."""
        step, full = self.progress.step, float(self.rates[0])
        before, after = float(self.optimizer.param_groups[0]["lr"]), full * self.schedule(step)
        if not math.isclose(before, full * self.schedule(step - 1), rel_tol=1e-6, abs_tol=1e-12):
            log(
                f"the learning rate jumps from {before:.3g} to {after:.3g}: its schedule and optimizer.learning_rate "
                f"are now those of a run of {self.options.steps:,} steps"
            )

    def accumulate(self, batches: Iterator[Any]) -> Estimate:
        """The gradient of one optimiser step, averaged over `accumulate` batches, into `.grad`."""
        self.optimizer.zero_grad()
        times = self.options.accumulate
        scale: float | Tensor = 1.0 / times
        if self.scaler.is_enabled():
            scale = self.scaler.scale(torch.tensor(scale, device=self.device))
        estimates = []
        for _ in range(times):
            share = self.fetched(batches)
            if share != 1.0 and not self.parted:
                self.parted = refuse_same_batch(self.program, self.batch)
                refuse_mixed_data(self.program, self.parameters, self.batch)
                # Running means have taken note of it.
                self.rollback.restore()
            mixing = mixing_in_one_line() if self.divided else nullcontext()
            apart = ranks.alone() if self.program.apart else nullcontext()
            with self.autocast(), unvalidated(after=self.begun), mixing, apart:
                if self.replayed is not None:
                    estimate = self.replayed(self.batch)
                else:
                    estimate = self.estimator.backward(
                        self.program, self.parameters, self.batch, scale=scale * share
                    )
            # Of several objectives the mean is reported.
            weight = 1 / ranks.size() if self.program.apart else share
            if weight != 1.0:
                estimate.objective = estimate.objective * weight
            estimates.append(estimate)
        return mean_estimate(estimates)

    def fetched(self, batches: Iterator[Any]) -> float:
        """Fetch the next batch; returns this process's part of it.

        Raises:
            Exception: a process could not fetch its own; the others need not wait for it.
        """
        try:
            self.batch = to_device(self.next_batch(batches), self.device)
        except Exception:
            with suppress(UserError):
                self.program.share(None, failed=True)
            raise
        self.signals.phase = "within"
        return self.program.share(self.batch)

    def next_batch(self, batches: Iterator[Any]) -> Any:
        """The next batch; what fetching it changed in the model, such as observation statistics, outlives a skip.

        Episodes are played in the precision in which they are learned from, else their probabilities would differ.
        """
        recorded = self.program.recorded_trajectories
        with self.rollback.keeping_changes(), self.autocast() if recorded else nullcontext():
            batch = next(batches, ENDED)
        if batch is ENDED:
            raise ProgramError("the task's batches ended: `batches` must never end")
        return batch

    def clip_and_step(self, log: Callable[[str], None]) -> Tensor:
        """Clip the gradient, and step unless it is not finite; returns its norm."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        if self.queued is not None:
            self.queued.step(norm)
            if self.reads_after(self.progress.step + 1):
                self.queued.settle(log)
            return norm
        if math.isfinite(length := norm.item()):
            self.optimizer_step(norm, length)
            self.progress.skipped_in_a_row = 0
            self.progress.finite = self.progress.step
        else:
            skip_step(self, log)
        if self.scaler.is_enabled():
            # A smaller scale where it was too large.
            self.scaler.update()
        return norm

    def reads_after(self, step: int) -> bool:
        """Whether anything is read from the device after a step: a log, an evaluation, a checkpoint."""
        options = self.options
        every = options.evaluate_every, options.checkpoint_every, options.quality.every
        return step >= options.steps or any(due(step, n) for n in (options.log_every, *every))

    def optimizer_step(self, norm: Tensor, length: float) -> None:
        """One step of the optimiser along the clipped gradient, then the averages."""
        longest = self.options.clip_norm or math.inf
        if length > longest:
            clip(self.clip_groups(), longest, norm)
        self.moving = True
        self.scaler.step(self.optimizer)
        if self.average is not None:
            self.average.update(self.progress.step)
        self.rollback.keep()

    def clip_groups(self) -> list[list[Tensor]]:
        """Parameters whose gradients are clipped together: those of each objective, or of each loss of one."""
        own = self.program.groups(self.parameters)
        return own or self.estimator.clip_groups(self.parameters)

    def scalars(self, window: RunningMeans, norm: Tensor) -> dict[str, float]:
        """What is logged every `log_every` steps; the estimator's extras are means over them."""
        values = {
            "train/objective": window.mean(),
            "gradient/norm": norm.item(),
            "train/learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "time/steps_per_second": window.steps_per_second(),
            "time/evaluations_per_second": window.evaluations_per_second(),
        }
        values |= {f"train/{name}": value for name, value in window.extras().items()}
        values |= {tag: float(value) for tag, value in self.task.scalars().items()}
        if self.progress.skipped:
            values["gradient/skipped_steps"] = self.progress.skipped
        return values

    def run_periodic(self, monitor: Monitor) -> None:
        """Histograms, evaluation and checkpoints, each when it is due."""
        step, options = self.progress.step, self.options
        last = step >= options.steps
        if due(step, self.settings.monitor.histograms_every):
            monitor.histograms(step, {name: whole(p) for name, p in self.parameters.items()})
        if due(step, options.evaluate_every):
            self.validate(monitor)
            times = step // options.evaluate_every
            if due(times, self.settings.monitor.show_every) and not last:
                self.show(monitor)
        if due(step, options.quality.every) and ranks.size() == 1 and not self.divided:
            monitor.scalars(step, self.quality())
        # A skipped step has nothing new to save, and would push a sound checkpoint out.
        if due(step, options.checkpoint_every) and not last and not self.progress.skipped_in_a_row:
            self.save()

    def validate(self, monitor: Monitor) -> None:
        """Evaluate on the validation split: the best checkpoint, early stopping, what is logged."""
        progress = self.progress
        try:
            metrics = self.evaluation.metrics("validation")
        except Exception as error:
            if isinstance(error, UserError) or not diverged(self.task.model.parameters()):
                raise
            monitor.log(
                f"step {progress.step}: not evaluated, as the parameters have diverged ({described(error)})"
            )
            return
        tags = {f"evaluation/{name}": value for name, value in metrics.items()}
        monitor.scalars(progress.step, tags, announce=True)
        improved = improves(progress, self.task, metrics)
        if is_best(progress, self.task, metrics):
            self.save_best(metrics)
        # Nothing counts before all is written: where the disk is full, a resume evaluates again.
        progress.without_improvement = 0 if improved else progress.without_improvement + 1
        progress.record = metrics if improved else progress.record
        progress.evaluated, self.saving.changed = progress.step, True
        stop = early_stop(self.options.early_stopping, progress, self.task)
        self.stop_reason = stop or self.stop_reason
        self.called(self.callbacks.on_evaluation, metrics)

    def validate_last(self, monitor: Monitor, start: int) -> None:
        """Evaluate the last step on the validation split, too, where the best one is reported.

        Else an earlier checkpoint would be reported although the last steps have improved on it.
        """
        progress, options = self.progress, self.options
        spent_all = options.seconds is not None and progress.seconds >= options.seconds
        over = progress.step >= options.steps or spent_all
        wanted = self.task.reports_best and options.evaluate_every > 0 and over
        learned = progress.skipped < progress.step and self.signals.received is None
        if wanted and learned and progress.evaluated < progress.step:
            self.validate(monitor)
            self.check_budget(start)

    def called(self, callback: Callable[[int, Any], Any] | None, given: Any) -> None:
        """Call a user's function, where there is one; False from it stops the training after this step."""
        if callback is not None and callback(self.progress.step, given) is False:
            self.stop_reason = "stopped by a callback"

    def quality(self) -> dict[str, float]:
        """How good the estimator is at these parameters and on the latest batch, and those named to compare it with."""
        compared = {self.settings.estimator.name: self.estimator}
        for name in self.options.quality.estimators:
            compared[name] = make_estimator(name, self.settings.estimator.options.get("samples"))
        repeats = self.options.quality.repeats
        seed = key(self.settings.seed, "quality", self.progress.step)
        # The estimator itself is at work.
        self.signals.phase = "within"
        with self.autocast():
            found = compare(
                compared, self.program, self.parameters, self.batch, repeats=repeats, seed=seed
            )
        # Running means have taken note of it.
        self.rollback.restore()
        self.signals.phase = "between"
        return {t: v for name, q in found.items() for t, v in q.scalars(f"quality/{name}").items()}

    def show(self, monitor: Monitor) -> None:
        """The task's pictures and videos, of what is reported where the training is over."""
        over = self.progress.step >= self.options.steps or bool(self.stop_reason)
        reported = self.reported.in_use(self.progress) if over else nullcontext()
        self.evaluation.show(monitor, self.progress.step, reported)

    def check_budget(self, start: int) -> None:
        """Set `stop_reason` where the budget is spent; `start` is the step that this session began with."""
        stopped_by = self.signals.received
        self.stop_reason = spent(self.options, self.progress, start, stopped_by) or self.stop_reason

    def finish(self, monitor: Monitor) -> dict[str, Any]:
        """The final evaluation, on randomness of its own.

        Raises:
            UserError: nothing was learned, since every step was skipped.
        """
        progress = self.progress
        metrics: dict[str, float] = {}
        if self.signals.received is None:
            if progress.skipped == progress.step:
                raise UserError(
                    f"nothing was learned: the gradient was not finite in any of {progress.step} steps"
                )
            takes_part = ranks.rank() == 0 or self.evaluation.by_all
            with self.reported.in_use(progress) if takes_part else nullcontext():
                metrics = self.evaluation.metrics("test")
            tags = {f"final/{name}": value for name, value in metrics.items()}
            monitor.scalars(progress.step, tags, announce=True)
            self.called(self.callbacks.on_evaluation, metrics)
            if not progress.best and is_best(progress, self.task, metrics):
                self.save_best(metrics)
            elif not progress.best:
                value = metrics[self.task.primary_metric]
                monitor.log(f"{self.task.primary_metric} is {value}: there is no best checkpoint")
        return self.result(metrics)

    def result(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What `result.json` holds."""
        return {
            "experiment": self.settings.experiment,
            "steps": self.progress.step,
            "seconds": round(self.progress.seconds, 3),
            "metrics": dict(metrics),
            "evaluated": self.reported.described(self.progress),
            "best": self.progress.best,
            "skipped": self.progress.skipped,
            "saved": self.saving.step,
            "stopped": self.stop_reason,
            "run": str(self.folder.path.resolve()),
        }

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs: tensors and plain Python."""
        return state_of(self)

    def save(self, together: bool = True) -> None:
        """Save this step; not `together`: the other processes may be elsewhere, with their parts of a divided model."""
        if self.divided and not together:
            return
        with nullcontext() if together else ranks.alone():
            self.saving.save(self.progress, self.state)

    def save_best(self, metrics: Mapping[str, float]) -> None:
        self.saving.save_best(self.progress, metrics, self.state)

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            UserError: what it holds does not fit the task's model or the optimiser, or another version saved it.
        """
        put_back(self, state)
        self.saving.resumed(self.progress)

    @torch.no_grad()
    def use_averages(self) -> None:
        """Put the averaged parameters, where there are any, into the model: what evaluations have measured."""
        for name, value in self.evaluation.averages.items():
            self.parameters[name].copy_(value)

    def set_rate(self, factor: float) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.device, self.options.precision)


def due(count: int, every: int) -> bool:
    return every > 0 and count % every == 0


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with all its tensors on the device."""
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), batch)
