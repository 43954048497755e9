"""Signals at each place of a training: between steps, in a step, and while a step waits for a worker."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from framework import Context, Program, Task, train
from framework.data import Order, batches, waits_for_worker
from framework.task import Split
from framework.training.signals import Interrupted, StopSignals
from tests.runs import newest, result

OPTIONS = [
    "monitor.tensorboard=false",
    "trainer.steps=8",
    "trainer.checkpoint_every=100",
    "trainer.evaluate_every=4",
    "trainer.quality.every=0",
    "trainer.device=cpu",
]


class Waits:
    """Rows; the worker that is to make row `at` waits for the file `gate`, stops the training and hangs."""

    def __init__(self, gate: Path | None, at: int) -> None:
        self.gate, self.at = gate, at

    def __len__(self) -> int:
        return 8

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        row = torch.rand(3, generator=generator)
        if (
            self.gate is not None
            and index == self.at
            and not self.gate.with_suffix(".was").exists()
        ):
            while not self.gate.exists():
                time.sleep(0.01)
            # Meanwhile the training comes to wait for this row; it ends alike where it has not.
            time.sleep(0.5)
            self.gate.with_suffix(".was").write_text("")
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(600)
        return row


class Sum(Task):
    """Learn to add up, with batch normalisation, one row at a time."""

    batch_axes = 1

    def __init__(self, rows: Waits, workers: int) -> None:
        self.rows, self.workers = rows, workers
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        return batches(self.rows, 2, seed, start, workers=self.workers, timeout=60.0)

    def objective(self, context: Context, batch: Tensor) -> None:
        context.cost((self.model(batch).squeeze(-1) - batch.sum(-1)).square())

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        rows = torch.linspace(-1, 1, 12).view(4, 3)
        return {"objective": (self.model(rows).squeeze(-1) - rows.sum(-1)).square().mean().item()}


def learned(folder: Path) -> list[Any]:
    """The model and the optimiser of the newest checkpoint, as lists of numbers."""
    state = newest(folder)
    moments = [t for part in state["optimizer"]["state"].values() for t in part.values()]
    return [t.tolist() for t in [*state["model"].values(), *moments] if isinstance(t, Tensor)]


def whole(folder: Path, rows: Waits) -> list[Any]:
    train(Sum(rows, 0), overrides=OPTIONS, folder=folder)
    return learned(folder)


def test_a_signal_ends_the_wait_for_a_hanging_worker_and_what_was_learned_is_saved(
    tmp_path, monkeypatch
):
    # Torch looks after its workers, and waits for them at the end, in steps of five seconds.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    gate = tmp_path / "gate"
    seen: list[int] = []
    # The row that the fourth batch needs first.
    fourth = list_of_rows(4)[3][0]
    hanging = Sum(Waits(gate, fourth), 1)

    def on_step(step: int, estimate: Any) -> None:
        seen.append(step)
        if step == 3:
            gate.write_text("")

    run = train(hanging, overrides=OPTIONS, folder=tmp_path / "run", on_step=on_step)
    assert run.stopped_by == signal.SIGTERM
    assert seen == [1, 2, 3]
    ended = result(tmp_path / "run")
    assert (ended["steps"], ended["saved"], ended["stopped"]) == (3, 3, "stopped by SIGTERM")
    assert not waits_for_worker()
    train(Sum(Waits(gate, fourth), 0), resume=tmp_path / "run")
    assert learned(tmp_path / "run") == whole(tmp_path / "whole", Waits(None, 0))


def list_of_rows(count: int) -> list[list[int]]:
    """The rows of the first batches with seed 0."""
    order = iter(Order(8, 2, 0, 0))
    return [[index for _, index in next(order)] for _ in range(count)]


def test_a_second_signal_between_two_steps_saves_too(tmp_path):
    def on_step(step: int, estimate: Any) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "run"
    with pytest.raises(Interrupted) as interrupted:
        train(Sum(Waits(None, 0), 0), overrides=OPTIONS, folder=folder, on_step=on_step)
    assert interrupted.value.number == signal.SIGINT
    assert newest(folder)["step"] == result(folder)["saved"] == 5
    train(Sum(Waits(None, 0), 0), resume=folder)
    assert learned(folder) == whole(tmp_path / "whole", Waits(None, 0))


@pytest.mark.parametrize(
    ("phase", "waits", "first", "second"),
    [
        ("between", False, None, True),
        ("between", True, True, True),
        ("fetching", False, None, False),
        ("fetching", True, True, True),
        ("within", True, None, False),
    ],
)
def test_what_a_signal_does_depends_on_where_the_training_is(
    monkeypatch, phase, waits, first, second
):
    """None: it is only noted; else it interrupts, and says whether the training may be saved."""
    monkeypatch.setattr("framework.training.signals.waits_for_worker", lambda: waits)
    signals = StopSignals(lambda: None)
    signals.phase = phase
    assert interruption(signals, signal.SIGINT) == (None if first is None else (True, first))
    assert signals.received == signal.SIGINT
    assert interruption(signals, signal.SIGTERM) == (False, second)
    assert signals.received == signal.SIGINT


def interruption(signals: StopSignals, number: int) -> tuple[bool, bool] | None:
    try:
        signals.on_signal(number, None)
    except Interrupted as interrupted:
        return interrupted.first, interrupted.between
    return None
