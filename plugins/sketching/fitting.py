"""Fitting a drawing within other work, such as each picture of a folder."""

from __future__ import annotations

import sys

import framework
from framework import Task, TrainingPlan
from framework.gradients.estimator import Estimate


def fit_in_memory(task: Task, plan: TrainingPlan, seed: int, label: str) -> None:
    """Take all steps of a plan, by Adam at a rate that falls to a tenth.

    Args:
        label: begins the lines of progress on stderr; "": none are written.
    """
    every = max(1, plan.steps // 4)

    def report(step: int, estimate: Estimate) -> None:
        if label and step % every == 0:
            loss = float(estimate.objective)
            sys.stderr.write(f"{label}: step {step}/{plan.steps}  objective {loss:.4g}\n")

    framework.fit(
        task,
        estimator="exact",
        optimizer="adam",
        scheduler="cosine",
        steps=plan.steps,
        learning_rate=plan.learning_rate,
        seed=seed,
        overrides=["scheduler.final=0.1", f"trainer.device={task.device.type}"],
        on_step=report,
    )
