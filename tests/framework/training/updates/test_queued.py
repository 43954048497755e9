"""Steps that a device decides by itself: the same training as one whose every gradient is looked at at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import framework
from framework import Context, Task, UserError, waiting
from framework.training.updates.optimization import adam, sgd
from framework.training.updates.queued import decides_itself

OPTIONS = [
    "monitor.tensorboard=false",
    "trainer.quality.every=0",
    "trainer.checkpoint_every=4",
    "trainer.log_every=4",
    "trainer.steps=16",
    "trainer.clip_norm=0.5",
]


class Bowl(Task):
    """A squared norm whose gradient is not finite at some steps; a buffer counts them all."""

    model: nn.BatchNorm1d

    def __init__(self, wrong: tuple[int, ...] = ()) -> None:
        self.model = nn.BatchNorm1d(3)
        self.wrong, self.step = wrong, 0

    def before_step(self, step: int) -> None:
        self.step = step
        assert self.model.running_mean is not None
        self.model.running_mean += 1

    def objective(self, context: Context, batch: Any) -> None:
        scale = float("inf") if self.step in self.wrong else 1.0
        context.cost((self.model.weight * scale - self.model.bias + self.step).square().sum())


def trained(folder: Path, wrong: tuple[int, ...], *options: str) -> framework.Run:
    overrides = [*OPTIONS, *options]
    return framework.train(Bowl(wrong), folder=folder, estimator="exact", overrides=overrides)


@pytest.mark.parametrize(
    ("wrong", "options"), [((0,), ()), ((3, 5, 6, 15), ("optimizer=adamw", "trainer.ema=0.9"))]
)
def test_the_device_decides_as_the_cpu_does(monkeypatch, tmp_path, wrong, options):
    runs = []
    for name, queues in (("at once", False), ("queued", True)):
        monkeypatch.setattr(waiting, "queues", lambda device, queues=queues: queues)
        runs.append(trained(tmp_path / name, wrong, *options))
    at_once, queued = (run.task.model.state_dict() for run in runs)
    torch.testing.assert_close(queued, at_once, rtol=0, atol=0)
    assert all(run.result["skipped"] == len(wrong) for run in runs)
    norms = [[r.get("gradient/skipped_steps") for r in run.records] for run in runs]
    assert norms[0] == norms[1]


@pytest.mark.parametrize("answer", ["skip", "roll_back"])
def test_too_many_in_a_row_end_it_or_go_back_at_the_next_log(monkeypatch, tmp_path, answer):
    """Steps 6 to 8 are wrong, which is seen after step 8; the checkpoint before is that of step 4."""
    monkeypatch.setattr(waiting, "queues", lambda device: True)
    options = "trainer.nonfinite_patience=3", f"trainer.on_nonfinite={answer}"
    wrong = (5, 6, 7)
    if answer == "skip":
        with pytest.raises(UserError, match="step 8: the gradient was not finite 3 times in a row"):
            trained(tmp_path / "run", wrong, *options)
        return
    run = trained(tmp_path / "run", wrong, *options)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert (
        "step 8: the gradient was not finite 3 times in a row; back to the parameters of step 4"
        in log
    )
    assert run.result["skipped"] == 3
    assert all(value.isfinite().all() for value in run.task.model.state_dict().values())


@pytest.mark.parametrize(
    ("queues", "answer", "float16", "optimizer", "queued"),
    [
        (True, "skip", False, adam, True),
        (True, "roll_back", False, adam, True),
        (True, "stop", False, adam, False),
        (True, "skip", True, adam, False),
        (True, "skip", False, sgd, False),
        (False, "skip", False, adam, False),
    ],
)
def test_steps_are_left_to_the_device_where_it_can_decide(
    monkeypatch, queues, answer, float16, optimizer, queued
):
    monkeypatch.setattr(waiting, "queues", lambda device: queues)
    trainer: Any = SimpleNamespace(
        device=torch.device("cpu"),
        options=SimpleNamespace(on_nonfinite=answer),
        scaler=torch.amp.GradScaler("cpu", enabled=float16),
        optimizer=optimizer([nn.Parameter(torch.zeros(1))]),
    )
    assert decides_itself(trainer) is queued
