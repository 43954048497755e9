"""The weights that `task.init_from=pretrained` starts from: made, and compared with random ones.

    python -m experiments.detection_weights make FOLDER [steps=1500] [images=3000]
    python -m experiments.detection_weights compare FOLDER [steps=200] [seeds=2]

`make` renders the scenes into FOLDER/scenes, trains `nano` on them into FOLDER/run, and writes its parameters without
the class heads to plugins/detection/models/pretrained/nano.pt. `compare` trains on two data sets that the weights have
not seen, from them and from random weights, with the experiment's own settings, and prints the table of the README.
scikit-image, scikit-learn and matplotlib ship the photographs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import framework
from experiments.command import given_arguments
from experiments.detection_own_data.cells import write as write_cells
from experiments.detection_weights.cut_outs import write_cut_outs
from experiments.detection_weights.photographs import LEARNED, photographs
from experiments.detection_weights.scenes import Scenes
from framework.plugin import ROOT
from plugins.detection.data.writing import write

# Sides of the scenes as rendered and as learned, in pixels.
SIDE, LEARNED_SIDE = 192, 128
WEIGHTS = ROOT / "plugins" / "detection" / "models" / "pretrained" / "nano.pt"
# Parameters of single classes, which mean nothing to another data set.
CLASS_HEADS = "score."
DATA_SETS: dict[str, Callable[[Path], None]] = {"cells": write_cells, "cut-outs": write_cut_outs}


def make(folder: Path, *, steps: int = 1500, images: int = 3000) -> None:
    """Render, train, and write the weights."""
    textures = photographs(LEARNED)
    counts = {"train": images, "validation": 200, "test": 400}
    if not (folder / "scenes").exists():
        scenes = {name: Scenes(name, count, SIDE, textures) for name, count in counts.items()}
        write(folder / "scenes", "yolo", scenes)
    run = framework.train(
        "detection",
        steps=steps,
        folder=folder / "run",
        overrides=[
            f"task.data.root={folder / 'scenes'}", f"task.data.size={LEARNED_SIDE}", "task.batch_size=16",
            "task.workers=0", f"trainer.evaluate_every={steps}",
            "task.augmentation.photometric=0.3", "task.augmentation.vertical_flip=0.5", "monitor.tensorboard=false",
        ],
    )  # fmt: skip
    WEIGHTS.parent.mkdir(exist_ok=True)
    torch.save(without_class_heads(run.folder), WEIGHTS)
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size:,} bytes; {run.metrics['AP']:.3f} AP on scenes")


def without_class_heads(run: Path) -> dict[str, torch.Tensor]:
    """The last parameters of a run, in half precision."""
    last = framework.load(run, checkpoint="last").task.model.state_dict()
    return {
        name: halved(name, value)
        for name, value in last.items()
        if not name.startswith(CLASS_HEADS) and not name.endswith("num_batches_tracked")
    }


def halved(name: str, value: torch.Tensor) -> torch.Tensor:
    """A tensor in half precision, which holds it to a thousandth.

    Raises:
        ValueError: it does not.
    """
    half = value.contiguous().half()
    if not torch.allclose(half.float(), value.float(), rtol=1e-3, atol=1e-5):
        raise ValueError(f"{name}: its values do not fit into half precision")
    return half


def compare(folder: Path, *, steps: int = 200, seeds: int = 2) -> None:
    """Print a row for each data set and start."""
    print("| data set | start | AP | AP50 | CPU-seconds |\n|---|---|---|---|---|")
    for name, write_data in DATA_SETS.items():
        data = folder / name
        if not data.exists():
            write_data(data)
        for start in ("null", "pretrained"):
            rows = [
                trained(data, folder / f"{name}_{start}_{s}", start, steps, s) for s in range(seeds)
            ]
            values = (", ".join(f"{row[i]:.3f}" for row in rows) for i in (0, 1))
            spent = sum(row[2] for row in rows) / seeds
            what = "random" if start == "null" else start
            print(f"| {name} | {what} | {' | '.join(values)} | {spent:.0f} |", flush=True)


def trained(
    data: Path, folder: Path, start: str, steps: int, seed: int
) -> tuple[float, float, float]:
    """AP and AP50 on the test images after `steps`, and the CPU-seconds of all of it."""
    before = time.process_time()
    run = framework.train(
        "detection",
        steps=steps,
        seed=seed,
        folder=folder,
        overrides=[
            f"task.data.root={data}", f"task.init_from={start}", "task.workers=0", "monitor.tensorboard=false",
            "trainer.evaluate_every=0",
        ],
    )  # fmt: skip
    return run.metrics["AP"], run.metrics["AP50"], time.process_time() - before


if __name__ == "__main__":
    given = given_arguments(__doc__)
    actions: dict[str, Callable[..., None]] = {"make": make, "compare": compare}
    if len(given) < 2 or given[0] not in actions:
        sys.exit(__doc__)
    numbers = {key: int(value) for key, _, value in (a.partition("=") for a in given[2:])}
    actions[given[0]](Path(given[1]), **numbers)
