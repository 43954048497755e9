"""A trained detector tuned in three ways for the same time: prints the table.

    python -m experiments.detection_reward.study START [FOLDER]

START is the run folder of `diffobj train experiment=detection`. Every arm continues from its best checkpoint for
`SECONDS` CPU-seconds of one thread: a step of each arm is timed first and the number of steps follows, so that a
schedule ends when the time does. Runs are kept in FOLDER (outputs/detection_reward by default) and not repeated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.command import given_arguments
from experiments.runs import result, trained
from framework import UserError
from framework.config.composition import compose
from framework.config.validation import validate
from framework.task import TrainingPlan
from framework.training.assembly import make_components
from framework.training.checkpoints.restoring import load_for_use

SECONDS = 20.0
SEEDS = (0, 1, 2)
SHARED = (
    "experiment=detection_reward",
    "task.data.test=300",
    "trainer.threads=1",
    "trainer.evaluate_every=0",
    "trainer.checkpoint_every=0",
    "monitor.tensorboard=false",
)
METRICS = ("reward", "reward_above_threshold", "reward_at_best", "AP", "AP50")
LOSSES = ("task.criterion=losses", "estimator=exact")


@dataclass(frozen=True)
class Arm:
    """One way to continue the training."""

    label: str
    options: tuple[str, ...]


ARMS = (
    Arm("ordinary losses", (*LOSSES, "optimizer.learning_rate=0.0003")),
    Arm("ordinary losses, faster", (*LOSSES, "optimizer.learning_rate=0.001")),
    Arm("reward, rloo", ()),
    Arm("reward, rloo, boxes sampled", ("task.reward.box_std=0.05",)),
    Arm("relaxed AP", ("task.criterion=average_precision", "estimator=exact")),
)


def overrides(arm: Arm, start: Path) -> list[str]:
    """The arm's overrides."""
    return [*SHARED, *arm.options, f"task.init_from={start}"]


def steps_of(arm: Arm, start: Path, timed: int = 20, before: int = 5) -> int:
    """The number of the arm's steps in `SECONDS`, by the CPU-seconds of `timed` of them."""
    parts = make_components(
        validate(compose([*overrides(arm, start), "task.data.train=100"]).config)
    )
    torch.set_num_threads(1)
    parts.task.begin(TrainingPlan(seed=0, steps=before + timed))
    program = parts.task.program(parts.estimator)
    batches = parts.task.batches(program, 0, 0)
    optimizer = torch.optim.AdamW(parts.task.parameters.values())
    parts.task.model.train()
    began = 0.0
    for step in range(before + timed):
        if step == before:
            began = time.process_time()
        optimizer.zero_grad()
        parts.estimator.backward(program, parts.task.parameters, next(batches))
        optimizer.step()
    return round(SECONDS * timed / (time.process_time() - began))


def run(arm: Arm, seed: int, steps: int, start: Path, folder: Path) -> dict[str, float]:
    """Train, unless that was done before; returns the final metrics."""
    name = arm.label.replace(",", "").replace(" ", "_")
    place = folder / name / f"seed_{seed}"
    trained(place, *overrides(arm, start), f"trainer.steps={steps}", f"seed={seed}")
    metrics: dict[str, float] = result(place)["metrics"]
    return metrics


def before(start: Path) -> dict[str, float]:
    """The metrics of the initial parameters, on the same images."""
    parts = make_components(validate(compose([*SHARED, f"task.init_from={start}"]).config))
    load_for_use(parts.task, start, "best")
    parts.task.model.eval()
    with torch.no_grad():
        return parts.task.evaluate(0)


def cell(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def main(arguments: Sequence[str]) -> None:
    if not arguments:
        raise UserError("which run? python -m experiments.detection_reward.study START [FOLDER]")
    start = Path(arguments[0])
    folder = Path(arguments[1] if len(arguments) > 1 else "outputs/detection_reward")
    print(f"| | steps | {' | '.join(METRICS)} |\n|---|---|{'---|' * len(METRICS)}")
    at_first = before(start)
    print(f"| start | 0 | {' | '.join(cell([at_first[m]]) for m in METRICS)} |", flush=True)
    steps = [steps_of(arm, start) for arm in ARMS]
    runs = [
        [run(arm, seed, count, start, folder) for arm, count in zip(ARMS, steps, strict=True)]
        for seed in SEEDS
    ]
    for arm, count, results in zip(ARMS, steps, zip(*runs, strict=True), strict=True):
        cells = " | ".join(cell([result[m] for result in results]) for m in METRICS)
        print(f"| {arm.label} | {count} | {cells} |")


if __name__ == "__main__":
    main(given_arguments(__doc__))
