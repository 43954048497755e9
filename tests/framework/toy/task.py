"""A regression with data workers, batch normalisation, dropout and a draw: whatever a resume could get wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Normal

from framework import Context, Image, Program, Task, Text
from framework.data import batches
from framework.task import Split

Count = Annotated[int, Field(ge=0)]
Fault = Literal[
    "objective",
    "late_objective",
    "mistake",
    "evaluate",
    "primary_metric",
    "show",
    "poison",
    "metric",
    "interrupt",
    "kill",
    "slow",
]
ROWS = 48


class Rows:
    """48 rows of a fixed linear relation; `noise` is added to the inputs anew in each epoch."""

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.inputs = torch.linspace(-1, 1, ROWS * 4).view(4, ROWS).T.sin()
        self.targets = self.inputs @ torch.tensor([1.0, -2.0, 0.5, 0.0])

    def __len__(self) -> int:
        return ROWS

    def item(self, index: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = self.noise * torch.randn(4, generator=generator)
        return self.inputs[index] + noise, self.targets[index]


class Regression(Task):
    """Fit a line, or fail as told: `fault` happens in batch number `fault_at` and behind it."""

    batch_axes = 1

    def __init__(
        self,
        *,
        workers: Count = 0,
        batch_size: Annotated[int, Field(ge=1)] = 8,
        hidden: Annotated[int, Field(ge=1)] = 8,
        layers: Literal["plain", "all"] = "all",
        spread: Annotated[float, Field(ge=0)] = 0.1,
        fault: Fault | None = None,
        fault_at: Count = 0,
        fault_until: Count = 10**6,
        signal: int = 15,
        label: str | None = "",
    ) -> None:
        self.workers, self.batch_size, self.spread = workers, batch_size, spread
        self.fault, self.fault_at, self.fault_until = fault, fault_at, fault_until
        self.signal, self.label = signal, label
        extra = [nn.BatchNorm1d(hidden), nn.Dropout(0.2)] if layers == "all" else []
        self.last = nn.Linear(hidden, 1)
        self.model = nn.Sequential(nn.Linear(4, hidden), *extra, nn.Tanh(), self.last)
        self.noise = 0.05 if layers == "all" else 0.0
        self.number = 0  # of the latest batch

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        loaded = batches(Rows(self.noise), self.batch_size, seed, start, workers=self.workers)
        for number, (inputs, targets) in enumerate(loaded, start):
            self.number = number
            yield {"inputs": inputs, "targets": targets}

    def objective(self, context: Context, batch: dict[str, Tensor]) -> None:
        """The squared error of predictions with a random offset."""
        fault = self.fault if self.fault_at <= self.number < self.fault_until else None
        if fault == "objective":
            raise RuntimeError("the objective is broken")
        if fault == "kill":
            os.kill(os.getpid(), 9)
        if fault == "interrupt" and self.number == self.fault_at:
            os.kill(os.getpid(), self.signal)
        if fault == "slow":
            time.sleep(0.02)
        inputs = batch["inputs"] * (float("nan") if fault == "poison" else 1.0)
        predictions = self.model(inputs).squeeze(-1)  # [batch]
        if fault == "late_objective":
            raise RuntimeError("the objective is broken")
        if self.spread:
            offset = context.sample("offset", Normal(self.last.bias.mean(), self.spread))
            predictions = predictions + offset.reshape(-1, 1)  # [n, batch]
        context.cost((predictions - batch["targets"]).square())

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The mean squared error over all rows."""
        fault = self.fault if self.fault_at <= self.number else None
        if fault == "evaluate":
            raise RuntimeError("the evaluation is broken")
        rows = Rows(0.0)
        error = (self.model(rows.inputs).squeeze(-1) - rows.targets).square().mean().item()
        if fault == "primary_metric":
            return {"error": error}
        return {"objective": float("nan") if fault == "metric" else error}

    def show(self, seed: int) -> Iterator[Image]:
        if self.fault == "show":
            raise RuntimeError("the picture is broken")
        yield Image("square", numpy.full((8, 8, 3), 200, dtype=numpy.uint8))

    def predict(self, source: Path | None, seed: int) -> Iterator[Text]:
        """What the model says of each line of four numbers."""
        lines = source.read_text().splitlines() if source else []
        for number, line in enumerate(lines):
            inputs = torch.tensor([[float(word) for word in line.split()]])
            yield Text(f"rows/{number}", f"{self.model(inputs).item():.6f}", suffix=".txt")
        state = f"training {self.model.training}, gradients {torch.is_grad_enabled()}"
        yield Text("state", f"{state}, {self.label}", suffix=".txt")
