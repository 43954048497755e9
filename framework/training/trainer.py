"""The one loop: batches -> estimator.backward -> clip -> optimiser step -> schedule -> average.

The estimator owns the backward pass; the trainer owns time: when to log, evaluate, save and stop.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from framework.batch import leaves, mapped
from framework.config.schema import Settings
from framework.errors import ProgramError, UserError
from framework.gradients.estimate import make_estimator
from framework.gradients.estimator import Estimate, Estimator
from framework.gradients.selection.quality import compare
from framework.parameters import placed
from framework.randomness import key, restore_states, save_states, seed_torch, seeded
from framework.task import Task
from framework.training import checkpoint
from framework.training.averages import Window, decay, mean_estimate
from framework.training.monitor import Monitor
from framework.training.optimization import Schedule
from framework.training.precision import autocast
from framework.training.restoring import load_model, load_task
from framework.training.run_folder import RunFolder

ENDED = object()  # what iterators that have ended give


@dataclass
class Progress:
    """Where a run is: what a resume continues from."""

    step: int = 0
    seconds: float = 0.0  # of training, evaluation left out
    best: dict[str, float] = field(default_factory=dict)  # step and metrics of the best evaluation
    without_improvement: int = 0
    skipped: int = 0  # steps whose gradient was not finite
    skipped_in_a_row: int = 0


class Trainer:
    """Trains one task with one estimator in one run folder."""

    def __init__(
        self,
        settings: Settings,
        task: Task,
        estimator: Estimator,
        optimizer: Optimizer,
        schedule: Schedule,
        folder: RunFolder,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.options = settings.trainer
        self.task, self.estimator, self.optimizer = task, estimator, optimizer
        self.schedule, self.folder, self.device = schedule, folder, device
        self.program = task.program(estimator)
        self.parameters = task.parameters
        self.buffers = list(
            task.model.buffers()
        )  # such as running means; put back after a skipped step
        self.buffers_before = [buffer.clone() for buffer in self.buffers]
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.average = (
            {name: p.detach().clone() for name, p in self.parameters.items()}
            if self.options.ema
            else None
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.options.precision == "float16")
        self.progress = Progress()
        self.batch: Any = None  # of the step under way, kept in case its gradient is not finite
        self.stop_reason = ""
        self.stopped_by: int | None = None  # a signal's number

    def train(self, monitor: Monitor) -> dict[str, Any]:
        """Train to the end of the budget; returns what `result.json` holds. What was made is saved whatever ends it."""
        start = self.progress.step
        with self.listening(monitor):
            try:
                self.loop(monitor)
            except Exception:
                if self.progress.step > start:
                    self.save()
                raise
            self.save()
        return self.finish(monitor)

    def loop(self, monitor: Monitor) -> None:
        """Optimiser steps until the budget, a target or a signal ends them."""
        options, progress, seed = self.options, self.progress, self.settings.seed
        started = time.monotonic() - progress.seconds
        batches = self.task.batches(self.program, seed, progress.step * options.accumulate)
        window = Window(progress.step)
        self.task.model.train()
        start = progress.step
        self.check_budget(start)
        while not self.stop_reason:
            seed_torch(key(seed, "training", progress.step))
            self.set_rate(self.schedule(progress.step))
            estimate = self.accumulate(batches)
            norm = self.step()
            for news in self.estimator.news():
                monitor.say(news)
            progress.step += 1
            window.add(estimate)
            progress.seconds = time.monotonic() - started
            if progress.step % options.log_every == 0 or progress.step == options.steps:
                monitor.scalars(progress.step, self.scalars(window, norm))
                window = Window(progress.step)
            self.at_intervals(monitor)
            started = time.monotonic() - progress.seconds  # evaluation is no training time
            self.check_budget(start)

    def accumulate(self, batches: Iterator[Any]) -> Estimate:
        """The gradient of one optimiser step, averaged over `accumulate` batches, into `.grad`."""
        self.optimizer.zero_grad()
        times = self.options.accumulate
        scale: float | Tensor = 1.0 / times
        if self.scaler.is_enabled():
            scale = self.scaler.scale(torch.tensor(scale, device=self.device))
        estimates = []
        for _ in range(times):
            self.batch = moved(self.next_batch(batches), self.device)
            with self.autocast():
                estimates.append(
                    self.estimator.backward(self.program, self.parameters, self.batch, scale=scale)
                )
        return mean_estimate(estimates)

    def next_batch(self, batches: Iterator[Any]) -> Any:
        """The next batch; what its making changed in the model, such as statistics of what was seen, outlives a skip.

        Episodes are played in the precision in which they are learned from, else their probabilities would differ.
        """
        versions = [buffer._version for buffer in self.buffers]
        with self.autocast() if self.program.steps else nullcontext():
            batch = next(batches, ENDED)
        if batch is ENDED:
            raise ProgramError("the task's batches ended: `batches` must go on for ever")
        buffers = zip(self.buffers_before, self.buffers, versions, strict=True)
        for before, now, version in buffers:
            if now._version != version:
                before.copy_(now)
        return batch

    def step(self) -> Tensor:
        """Clip, refuse what is not finite, move the parameters; returns the gradient's norm."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if math.isfinite(length := norm.item()):
            self.move(norm, length)
            self.progress.skipped_in_a_row = 0
        else:
            self.skip()
        if self.scaler.is_enabled():
            self.scaler.update()  # a smaller scale where it was too large
        return norm

    def move(self, norm: Tensor, length: float) -> None:
        """One step of the optimiser, no longer than it may be, and of the average behind it."""
        longest = self.options.clip_norm or math.inf
        if length > longest:
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), longest, norm)
        self.scaler.step(self.optimizer)
        if self.average is not None:
            share = 1 - decay(self.options.ema or 0.0, self.progress.step)
            averaged = list(self.average.values())
            torch._foreach_lerp_(averaged, [p.detach() for p in self.parameters.values()], share)
        if self.buffers:
            torch._foreach_copy_(self.buffers_before, self.buffers)

    def skip(self) -> None:
        """Leave the model as it was before this step; give up after too many in a row."""
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.buffers_before)
        progress = self.progress
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        searching = self.scaler.is_enabled() and self.scaler.get_scale() > 1  # float16's scale
        if progress.skipped_in_a_row >= self.options.nonfinite_patience and not searching:
            tensors = list(leaves(self.batch))
            if tensors:
                torch.save(tensors, self.folder.path / "nonfinite_batch.pt")
            kept = "; nonfinite_batch.pt holds the batch" if tensors else ""
            raise UserError(
                f"step {progress.step + 1}: the gradient was not finite {progress.skipped_in_a_row} times in a row; "
                f"a smaller optimizer.learning_rate or trainer.clip_norm may help{kept}"
            )

    def scalars(self, window: Window, norm: Tensor) -> dict[str, float]:
        """What is logged every `log_every` steps; what the estimator tells is a mean over them."""
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

    def at_intervals(self, monitor: Monitor) -> None:
        """Histograms, evaluation and checkpoints, each when it is due."""
        step, options = self.progress.step, self.options
        last = step >= options.steps
        if due(step, self.settings.monitor.histograms_every):
            monitor.histograms(step, self.parameters)
        if due(step, options.evaluate_every):
            metrics = self.evaluate("validation")
            monitor.scalars(step, {f"evaluation/{k}": v for k, v in metrics.items()}, announce=True)
            self.judge(metrics)
            times = step // options.evaluate_every
            if due(times, self.settings.monitor.show_every) and not last:
                self.show(monitor)
        if due(step, options.quality.every):
            monitor.scalars(step, self.quality())
        if due(step, options.checkpoint_every) and not last:
            self.save()

    def quality(self) -> dict[str, float]:
        """How good the estimator is at these parameters and on the latest batch, and those named to compare it with."""
        wanted = {self.settings.estimator.name: self.estimator}
        for name in self.options.quality.estimators:
            wanted[name] = make_estimator(name, self.settings.estimator.options.get("samples"))
        repeats, seed = (
            self.options.quality.repeats,
            key(self.settings.seed, "quality", self.progress.step),
        )
        with self.autocast():
            found = compare(
                wanted, self.program, self.parameters, self.batch, repeats=repeats, seed=seed
            )
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.buffers_before)  # running means took note of it
        return {t: v for name, q in found.items() for t, v in q.scalars(f"quality/{name}").items()}

    def evaluate(self, stage: Literal["validation", "test"]) -> dict[str, float]:
        """The task's metrics, with averaged parameters where there are any; training's randomness is untouched."""
        model, states = self.task.model, save_states()
        self.task.stage = stage
        model.eval()
        try:
            with torch.no_grad(), self.autocast(), placed(model, self.average or {}):
                metrics = self.task.evaluate(key(self.settings.seed, stage) % 2**31)
        finally:
            model.train()
            restore_states(states)
        if self.task.headline not in metrics:
            known = ", ".join(metrics) or "none"
            raise ProgramError(
                f"the task's headline '{self.task.headline}' is not among its metrics: {known}"
            )
        return {name: float(value) for name, value in metrics.items()}

    def show(self, monitor: Monitor) -> None:
        """The task's pictures and videos, reproducible and without effect on training."""
        model, seed = self.task.model, key(self.settings.seed, "show") % 2**31
        model.eval()
        with torch.no_grad(), seeded(seed), placed(model, self.average or {}):
            monitor.media(self.progress.step, self.task.show(seed))
        model.train()

    def judge(self, metrics: Mapping[str, float]) -> None:
        """Keep the best evaluation's checkpoint; stop where the headline is good enough or no longer improves."""
        headline = metrics[self.task.headline]
        sign = 1 if self.task.goal == "max" else -1
        progress, stopping = self.progress, self.options.early_stopping
        best = progress.best.get(self.task.headline, -sign * math.inf)
        if sign * headline > sign * best:  # never so where it is NaN
            progress.without_improvement = 0
            self.save_best(metrics)
        else:
            progress.without_improvement += 1
        if stopping.target is not None and sign * headline >= sign * stopping.target:
            self.stop_reason = f"{self.task.headline} reached {headline:.4g}"
        elif stopping.patience and progress.without_improvement >= stopping.patience:
            self.stop_reason = f"no improvement in {stopping.patience} evaluations"

    def check_budget(self, start: int) -> None:
        """Set `stop_reason` where the budget is spent; `start` is the step that this process began with."""
        options, progress = self.options, self.progress
        if self.stopped_by is not None:
            self.stop_reason = f"stopped by {signal.Signals(self.stopped_by).name}"
        elif progress.step >= options.steps:
            self.stop_reason = "all steps done"
        elif options.seconds is not None and progress.seconds >= options.seconds:
            self.stop_reason = f"{options.seconds:g} seconds of training are over"
        elif options.stop_at is not None and progress.step >= options.stop_at > start:
            self.stop_reason = f"stopped at step {progress.step} as told"

    def finish(self, monitor: Monitor) -> dict[str, Any]:
        """The final evaluation, on randomness of its own."""
        metrics: dict[str, float] = {}
        if self.stopped_by is None:
            metrics = self.evaluate("test")
            tags = {f"final/{name}": value for name, value in metrics.items()}
            monitor.scalars(self.progress.step, tags, announce=True)
            if not self.progress.best:
                self.save_best(metrics)
        return self.result(metrics)

    def result(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What `result.json` holds."""
        return {
            "experiment": self.settings.experiment,
            "steps": self.progress.step,
            "seconds": round(self.progress.seconds, 3),
            "metrics": dict(metrics),
            "best": self.progress.best,
            "stopped": self.stop_reason,
            "run": str(self.folder.path.resolve()),
        }

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs: tensors and plain Python."""
        return {
            "step": self.progress.step,
            "progress": dict(vars(self.progress)),
            "model": dict(self.task.model.state_dict()),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "estimator": self.estimator.state_dict(),
            "task": self.task.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def save(self) -> None:
        """A checkpoint of now; the oldest ones go."""
        name = checkpoint.name("step", self.progress.step)
        checkpoint.save(self.folder.checkpoints, name, self.state())
        checkpoint.prune(self.folder.checkpoints, self.options.keep_checkpoints)

    def save_best(self, metrics: Mapping[str, float]) -> None:
        """A checkpoint of now, the best so far; the one that was best goes."""
        self.progress.best = {"step": self.progress.step, **metrics}
        name = checkpoint.name("best", self.progress.step)
        saved = checkpoint.save(self.folder.checkpoints, name, self.state())
        for path in checkpoint.numbered(self.folder.checkpoints, "best"):
            if path != saved:
                checkpoint.delete(path)

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            UserError: its model has other parameters or shapes than the task's.
        """
        load_model(self.task, state["model"])
        self.optimizer.load_state_dict(copied(state["optimizer"]))
        self.estimator.load_state_dict(moved(state["estimator"], self.device))
        load_task(self.task, state["task"])
        if state["scaler"]:  # empty where the run had another precision before
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            averages = state["average"] or self.parameters
            for name, value in self.average.items():
                value.copy_(averages[name].detach())
        for before, now in zip(self.buffers_before, self.buffers, strict=True):
            before.copy_(now)
        self.progress = Progress(**state["progress"])

    def set_rate(self, factor: float) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.device, self.options.precision)

    @contextmanager
    def listening(self, monitor: Monitor) -> Iterator[None]:
        """A first signal stops between steps and saves; a second one leaves at once. What is ignored stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heard(number: int, frame: Any) -> None:
            if self.stopped_by is not None:
                raise SystemExit(128 + number)
            self.stopped_by = number

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
        heeded = [
            n for n in signals if signal.getsignal(n) != signal.SIG_IGN
        ]  # nohup ignores SIGHUP
        before = {number: signal.signal(number, heard) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def due(count: int, every: int) -> bool:
    return every > 0 and count % every == 0


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with all its tensors on the device."""
    return mapped(batch, lambda tensor: tensor.to(device, non_blocking=True))


def copied(state: Any) -> Any:
    """Nested state with its tensors copied: an optimiser keeps the very tensors that it is given."""
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, Mapping):
        return {name: copied(value) for name, value in state.items()}
    if isinstance(state, list):
        return [copied(value) for value in state]
    return state
