"""Trainings that a benchmark of games times: ours with nothing beside them, and what both sides are measured by."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from framework.commands import train
from framework.training.monitor import Monitor
from framework.training.trainer import Trainer


def clocks() -> tuple[float, float]:
    """CPU seconds of this process and the wall clock's."""
    return time.process_time(), time.perf_counter()


def rates(steps: int, began: tuple[float, float]) -> tuple[float, float]:
    """Steps per CPU and per wall-clock second since `began`."""
    processor, wall = (now - then for now, then in zip(clocks(), began, strict=True))
    return steps / processor, steps / wall


def run_quietly(
    overrides: Sequence[str],
    seed: int,
    loop: Callable[[Trainer, Monitor], None],
    log_every: int = 1,
) -> list[dict[str, Any]]:
    """Train without anything beside it, by `loop` in place of the trainer's; returns what was logged."""
    quiet = ["monitor.tensorboard=false", "monitor.progress=none", "task.video_frames=1"]
    quiet += ["trainer.evaluate_every=0", "trainer.quality.every=0"]
    quiet += [f"trainer.log_every={log_every}"]
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        run = Path(place, "run")
        with patch.object(Trainer, "loop", loop):
            train.run([*overrides, *quiet, f"seed={seed}", f"hydra.run.dir={run}"])
        return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def has_peer() -> bool:
    try:
        import stable_baselines3  # noqa: F401
    except ImportError:
        print("  Stable-Baselines3 is not installed: make install EXTRAS=benchmarks", flush=True)
        return False
    return True
