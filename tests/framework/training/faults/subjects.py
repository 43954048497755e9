"""What the battery is set upon: trainings by the framework, and by a deliberately naive trainer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from framework import Context, Image, Program, Task
from framework.config.composition import compose
from framework.config.validation import validate
from framework.data import batches
from framework.randomness import generator, seeded
from framework.run import train, train_composed
from framework.task import Split
from framework.training.checkpoints.checkpoint import list_checkpoints, load, load_newest
from framework.training.folders.run_folder import RunFolder


class Subject(Protocol):
    """A training of a few steps that can be stopped in the middle."""

    def start(self, folder: Path, stop_at: int | None = None) -> None:
        """Begin in a folder, or go on with what is there."""

    def resume(self, folder: Path) -> None:
        """Go on with what is there."""

    def end(self, folder: Path) -> Any:
        """What a finished run leaves, to be compared."""


class Line(Task):
    """A line with batch normalisation, dropout and a draw."""

    batch_axes = 1

    def __init__(self) -> None:
        # A task object's own weights are not the run's to draw.
        with seeded(3):
            self.model = nn.Sequential(
                nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1)
            )

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        number = start
        while True:
            yield torch.randn(8, 3, generator=generator(seed, "batch", number))
            number += 1

    def objective(self, context: Context, batch: Tensor) -> None:
        output = self.model(batch).squeeze(-1)
        offset = context.sample("offset", Normal(self.model[3].bias.mean(), 0.1))  # type: ignore[index]
        context.cost((output + offset.reshape(-1, 1) - batch.sum(-1)).square())

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        inputs = torch.linspace(-1, 1, 12).view(4, 3)
        return {
            "objective": (self.model(inputs).squeeze(-1) - inputs.sum(-1)).square().mean().item()
        }

    def show(self, seed: int) -> Iterator[Image]:
        yield Image("square", numpy.full((8, 8, 3), 200, dtype=numpy.uint8))


class Loaded(Line):
    """The same from rows that two workers load."""

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        rows = torch.randn(64, 3, generator=generator(seed, "rows"))
        return batches([*rows], 8, seed, start, workers=2)


OPTIONS = (
    "monitor.tensorboard=false",
    "monitor.progress=none",
    "trainer.device=cpu",
    "trainer.quality.every=0",
)


class Framework:
    """A training by the framework.

    Args:
        experiment: of a plugin; None: a task of this module.
        overrides: further options.
        task: this one.
    """

    def __init__(self, experiment: str | None, *overrides: str, task: type[Line] = Line) -> None:
        self.own, self.task = experiment is None, task
        given = [*([f"experiment={experiment}"] if experiment else []), *OPTIONS, *overrides]
        name = f"{task.__module__}:{task.__name__}" if self.own else None
        self.config = compose(given, task=name).config
        self.settings = validate(self.config, registered=not self.own)

    def start(self, folder: Path, stop_at: int | None = None) -> None:
        """By the words `resume=auto`."""
        config = self.config.copy()
        config.trainer.stop_at = stop_at
        settings = validate(config, registered=not self.own)
        train_composed(config, settings, folder, task=self.made(), resume="auto")

    def resume(self, folder: Path) -> None:
        """By `resume=FOLDER` where there is a run, else by the command that began it."""
        if not RunFolder(folder).holds_run:
            train_composed(self.config, self.settings, folder, task=self.made())
        else:
            changes = ["trainer.stop_at=null"]
            train(self.made(), resume=folder, overrides=changes)

    def made(self) -> Line | None:
        """The task's object; None: it is the experiment's."""
        return self.task() if self.own else None

    def end(self, folder: Path) -> Any:
        refuse_leftovers(folder)
        result = json.loads((folder / "result.json").read_text())
        best = list_checkpoints(folder / "checkpoints", "best")
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return {
            "state": plain(load_newest(folder / "checkpoints", print)),
            "best": {path.stem: plain(load(path)["model"]) for path in best},
            "result": {k: result[k] for k in ("steps", "metrics", "best", "stopped", "skipped")},
            "records": [record["step"] for record in records],
            "evaluated": [
                (record["step"], value)
                for record in records
                for tag, value in record.items()
                if tag.startswith(("evaluation/", "final/"))
            ],
            "config": (folder / "config.yaml").read_text(),
            "media": sorted(path.name for path in (folder / "media").glob("*")),
        }


class Naive:
    """How training scripts usually save: in place, the newest file only."""

    def start(self, folder: Path, stop_at: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "config.json", "w") as file:
            file.write(json.dumps({"steps": 4}))
        self.train(folder, {"step": 0, "weights": [0.0] * 50}, stop_at or 4)

    def resume(self, folder: Path) -> None:
        if not (folder / "config.json").exists():
            return self.start(folder)
        steps = json.loads((folder / "config.json").read_text())["steps"]
        state = {"step": 0, "weights": [0.0] * 50}
        if (folder / "checkpoint.json").exists():
            state = json.loads((folder / "checkpoint.json").read_text())
        return self.train(folder, state, steps)

    def train(self, folder: Path, state: dict[str, Any], steps: int) -> None:
        while state["step"] < steps:
            state["step"] += 1
            state["weights"] = [weight + 0.5 for weight in state["weights"]]
            with open(folder / "checkpoint.json", "w") as file:
                file.write(json.dumps(state))

    def end(self, folder: Path) -> Any:
        return json.loads((folder / "checkpoint.json").read_text())


def plain(node: Any) -> Any:
    """State that `==` compares bit for bit; the time that was spent and the configuration's text are left out."""
    if isinstance(node, Tensor):
        return (str(node.dtype), tuple(node.shape), node.numpy().tobytes())
    if isinstance(node, dict):
        return {k: plain(v) for k, v in node.items() if k not in {"seconds", "config"}}
    return [plain(item) for item in node] if isinstance(node, list | tuple) else node


def refuse_leftovers(folder: Path) -> None:
    """No temporary file stays, and no half of a checkpoint."""
    names = [name for _, _, files in os.walk(folder) for name in files]
    assert [name for name in names if name.startswith(".partial")] == []
    halves = {Path(name).stem for name in names if name.endswith((".pt", ".json")) and "_" in name}
    for stem in halves - {"nonfinite_batch"}:
        assert {f"{stem}.pt", f"{stem}.json"} <= set(names), stem
