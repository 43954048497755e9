"""Train and pack the runs that the demo shows, and its example pictures: `python -m experiments.demo_runs [NAME ...]`

Each is trained in `outputs/demo/NAME` (or continued there) and written to `plugins/demo/runs/NAME.zip` as a run folder
with its best parameters only, rounded to eight bits behind the point so that all of them stay under five megabytes. It
prints the run's primary metric before and after rounding, and the bytes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

import framework
from experiments.command import given_arguments
from framework import Run
from framework.plugin import ROOT
from framework.training.checkpoints import checkpoint
from plugins.demo.runs import PACKED, Runs
from plugins.detection.data.generated import scene
from plugins.faces.synthetic.crops import FIRST_UNSEEN
from plugins.faces.synthetic.scenes import synthetic_scenes

WORKING = ROOT / "outputs" / "demo"
EXAMPLES = PACKED.with_name("examples")
# `faces` with fewer steps than its experiment has: each is trained on whatever machine prepares a release.
TRAININGS: Mapping[str, tuple[str, ...]] = {
    "cartpole": ("experiment=cartpole",),
    "acrobot": ("experiment=acrobot",),
    "detection": ("experiment=detection", "task.workers=0"),
    "faces": (
        "experiment=faces",
        "trainer.steps=600",
        "task.margin_start=180",
        "task.margin_warmup=300",
    ),
}
# Of a float32's 23 bits behind the point.
KEPT_BITS = 8
QUIET = ("monitor.tensorboard=false", "trainer.checkpoint_every=100")
LIMIT = 5_000_000


def train(name: str) -> Run:
    """The trained run, from where an earlier call has left it."""
    folder = WORKING / name
    overrides = [*TRAININGS[name], *QUIET]
    if not (folder / "result.json").is_file():
        framework.train(overrides=overrides, folder=folder, resume="auto", progress=True)
    return framework.load(folder)


def rounded(value: Tensor) -> Tensor:
    """A tensor with `KEPT_BITS` bits behind the point, to nearest; what is no float32 stays as it is."""
    if value.dtype != torch.float32:
        return value
    # As whole numbers, two floats of one sign are in their own order: to round one is to round the other.
    bits, dropped = value.contiguous().view(torch.int32), 23 - KEPT_BITS
    return ((bits + (1 << (dropped - 1))) >> dropped << dropped).view(torch.float32)


def pack(name: str, run: Run) -> Path:
    """Write a run's archive: its configuration, and its best parameters, averaged and rounded, as a checkpoint."""
    state: dict[str, Any] = checkpoint.load_newest(run.folder / "checkpoints", print, kind="best")
    model = {key: rounded(value) for key, value in run.task.model.state_dict().items()}
    slim = {
        "format": checkpoint.FORMAT,
        "step": run.step,
        "task": without_experience(state["task"]),
        "model": model,
        "average": None,
        # It is there to be used, not to be trained on.
        "progress": {"step": run.step},
        "optimizer": {},
        "estimator": {},
        "scaler": {},
    }
    path = PACKED / f"{name}.zip"
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "checkpoints").mkdir()
        shutil.copy(run.folder / "config.yaml", folder)
        checkpoint.save(folder / "checkpoints", checkpoint.name("best", run.step), slim)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                # A date of its own would change the archive each time.
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_LZMA)
    return path


def without_experience(state: dict[str, Any]) -> dict[str, Any]:
    """A task's state as that of a run that holds no games under way."""
    return {
        key: value for key, value in state.items() if key not in {"games", "position", "rollout"}
    }


def examples() -> None:
    """Pictures to drop: scenes that no training has seen."""
    EXAMPLES.mkdir(exist_ok=True)
    drawn = [scene(numpy.random.default_rng(seed), 256, seed) for seed in range(12)]
    fullest = sorted(drawn, key=lambda one: len(one.boxes), reverse=True)
    for number, one in enumerate(fullest[:2]):
        pixels = one.image.permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(EXAMPLES / f"objects_{number + 1}.png", optimize=True)
    scenes = synthetic_scenes(7, 90_000, 12, 320, FIRST_UNSEEN + 90_000, 12, 6)
    crowded = scenes.image_index.bincount(minlength=len(scenes)).argsort(descending=True)
    for number, place in enumerate(crowded[:2].tolist()):
        pixels = scenes.images[place].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(EXAMPLES / f"faces_{number + 1}.png", optimize=True)


def main(names: list[str]) -> int:
    """Train, pack, and say what rounding has changed; returns 1 where all together are too large."""
    for name in names or list(TRAININGS):
        run = train(name)
        path, metric = pack(name, run), run.task.primary_metric
        packed = Runs()
        after = packed.trained(name).evaluate()[metric]
        packed.close()
        print(
            f"{name}: step {run.step}, {metric} {run.evaluate()[metric]:.4g}, as packed {after:.4g}, "
            f"{path.stat().st_size:,} bytes"
        )
    examples()
    files = [*PACKED.glob("*.zip"), *EXAMPLES.glob("*.png")]
    total = sum(file.stat().st_size for file in files)
    print(f"in all {total:,} bytes of at most {LIMIT:,}")
    return int(total > LIMIT)


if __name__ == "__main__":
    sys.exit(main(given_arguments(__doc__)))
