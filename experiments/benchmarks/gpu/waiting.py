"""Waits: how often a training waits for the device between two logs, as CUDA itself counts it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import framework
from experiments.benchmarks.gpu.figures import Figure, Machine
from experiments.benchmarks.gpu.playing import PPO, QUIET, RLOO
from framework.training.trainer import Trainer

TRAININGS = {
    "PPO": (*PPO, "task.games=1024", "estimator.epochs=1"),
    "RLOO, whole episodes": (*RLOO, "task.games=256"),
    "evolution strategies": (
        *RLOO,
        "estimator=evolution_strategies",
        "estimator.directions=2",
    ),
}
# Between two logs, when all that is recorded as a graph has been.
STEPS, LOG = range(24, 30), 32


def waits(machine: Machine) -> Iterator[Figure]:
    """Warnings of `torch.cuda.set_sync_debug_mode`; none on a machine without a GPU."""
    for name, settings in TRAININGS.items():
        count = counted(machine, *settings)
        bar = machine.bar(0.0) if name == "PPO" else None
        yield Figure(f"waits in {len(STEPS)} steps: {name}", count, "", bar, most=True)


def counted(machine: Machine, *settings: str) -> float:
    """How often some steps of a training waited."""
    step, found = Trainer.step, 0

    def watched(trainer: Trainer, *arguments: Any) -> Any:
        nonlocal found
        if machine.device.type != "cuda" or trainer.progress.step not in STEPS:
            return step(trainer, *arguments)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                taken = step(trainer, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found += sum("synchronizing" in str(warning.message) for warning in seen)
        return taken

    with tempfile.TemporaryDirectory() as place, patch.object(Trainer, "step", watched):
        framework.train(
            folder=Path(place, "run"),
            overrides=[
                *settings,
                *QUIET,
                *machine.small,
                f"trainer.device={machine.device.type}",
                "trainer.evaluate_every=0",
                f"trainer.log_every={LOG}",
                f"trainer.steps={LOG if machine.sizes.bars else 2}",
                "task.evaluation_episodes=1",
            ],
        )
    return float(found)
