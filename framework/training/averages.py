"""Averages: of the parameters over steps, of numbers between two log records, of several batches' estimates."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from framework.gradients.estimator import Estimate


class Window:
    """Sums between two records; stays on the device until it is read."""

    def __init__(self, step: int) -> None:
        self.count = 0
        self.evaluations = 0
        self.total: Tensor | float = 0.0
        self.told: dict[str, Tensor | float] = {}  # sums of the estimates' extras
        self.times: dict[str, int] = {}  # how often each was told
        self.started = time.monotonic()

    @torch.no_grad()
    def add(self, estimate: Estimate) -> None:
        self.count += 1
        self.evaluations += estimate.evaluations
        self.total = self.total + estimate.objective
        for name, value in estimate.extras.items():
            self.told[name] = self.told.get(name, 0.0) + value
            self.times[name] = self.times.get(name, 0) + 1

    def mean(self) -> float:
        return float(self.total) / self.count

    def extras(self) -> dict[str, float]:
        """Means of what the estimator told."""
        return {name: float(value) / self.times[name] for name, value in self.told.items()}

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


def decay(highest: float, step: int) -> float:
    """Of the average at a step: first about a ninth of all steps count, so that what was random is soon forgotten.

    The rule is that of TensorFlow's `tf.train.ExponentialMovingAverage` with `num_updates`.
    """
    return min(highest, (1 + step) / (10 + step))
