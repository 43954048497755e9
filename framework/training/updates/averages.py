"""Averages: of the parameters over steps, of numbers between two log records, of several batches' estimates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from framework.gradients.estimator import Estimate
from framework.sharding import divided_as


class RunningMeans:
    """Sums between two records; stays on the device until it is read."""

    def __init__(self) -> None:
        self.count = 0
        self.evaluations = 0
        self.total: Tensor | float = 0.0
        # Of the estimates' extras, and how often each was given.
        self.sums: dict[str, Tensor | float] = {}
        self.times: dict[str, int] = {}
        self.started = time.monotonic()

    @torch.no_grad()
    def add(self, estimate: Estimate) -> None:
        self.count += 1
        self.evaluations += estimate.evaluations
        self.total = self.total + estimate.objective
        for name, value in estimate.extras.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.times[name] = self.times.get(name, 0) + 1

    def mean(self) -> float:
        return float(self.total) / self.count

    def extras(self) -> dict[str, float]:
        """Means of the estimates' extras."""
        return {name: float(value) / self.times[name] for name, value in self.sums.items()}

    def steps_per_second(self) -> float:
        return self.count / max(1e-9, time.monotonic() - self.started)

    def evaluations_per_second(self) -> float:
        return self.evaluations / max(1e-9, time.monotonic() - self.started)


def mean_estimate(estimates: list[Estimate]) -> Estimate:
    """Several batches' estimates as one; the extras are the last one's."""
    if len(estimates) == 1:
        return estimates[0]
    objective = torch.stack([estimate.objective for estimate in estimates]).mean()
    evaluations = sum(estimate.evaluations for estimate in estimates)
    return replace(estimates[-1], objective=objective, evaluations=evaluations)


class AveragedParameters:
    """An exponential moving average of the parameters (Polyak averaging), updated after each optimiser step."""

    def __init__(self, parameters: Mapping[str, Tensor], highest: float) -> None:
        self.parameters = parameters
        self.highest = highest
        self.values = {name: p.detach().clone() for name, p in parameters.items()}

    def update(self, step: int, unless: Tensor | None = None) -> None:
        """Move the average towards the parameters, by 1 - decay; it stays where it is where `unless` is true."""
        share = 1 - ema_decay(self.highest, step)
        values = list(self.values.values())
        latest = [p.detach() for p in self.parameters.values()]
        if unless is None:
            torch._foreach_lerp_(values, latest, share)
            return
        for value, now in zip(values, latest, strict=True):
            value.lerp_(torch.where(unless, value, now), share)

    def copy_from(self, values: Mapping[str, Tensor]) -> None:
        """Take the average from elsewhere: a checkpoint, or the parameters themselves."""
        for name, value in self.values.items():
            value.copy_(divided_as(values[name].detach(), value))


def ema_decay(highest: float, step: int) -> float:
    """The average's decay at a step, low at first, so that random initial parameters are soon forgotten.

    The rule is that of TensorFlow's `tf.train.ExponentialMovingAverage` with `num_updates`.
    """
    return min(highest, (1 + step) / (10 + step))
