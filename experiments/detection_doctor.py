"""How many forgotten labels the doctor finds: a tenth of the boxes of a data set is deleted, and looked for.

    python -m experiments.detection_doctor FOLDER [set=generated|cut-outs] [images=400] [steps=600] [folds=2]
    python -m experiments.detection_doctor FOLDER [set=...] [images=400] run=RUN_FOLDER

writes the data set, of generated shapes or of things cut out of photographs that wheels ship, in YOLO's form, trains
`nano` on it, lets `diagnose` judge every image by a model that has not learned from it, and prints how many of the N
deleted boxes are among the first 50 and the first N doubts. With `run=` nothing is trained: an earlier run judges all
of the images, none of which are among those of `experiment=detection`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

import framework
from experiments.command import given_arguments
from experiments.detection_weights.cut_outs import CutOuts
from framework.photographs import size_of
from plugins.detection.boxes import pairwise_iou
from plugins.detection.data.generated import Generated
from plugins.detection.data.writing import write
from plugins.detection.inspection.doctor import Diagnosis, diagnose
from plugins.detection.sample import Source

DELETED, REVIEWED, SAME = 0.1, 50, 0.5
# The longer side of the model's images.
SIZE = 128
Boxes = dict[str, list[list[float]]]


def sources(name: str, images: int) -> dict[str, Source]:
    """The three splits of a data set.

    Raises:
        SystemExit: another name.
    """
    counts = {"train": images, "validation": images // 6, "test": images // 3}
    if name == "generated":
        return {split: Generated(f"doctor/{split}", count, SIZE) for split, count in counts.items()}
    if name == "cut-outs":
        return {split: CutOuts(split, count) for split, count in counts.items()}
    sys.exit(f"set={name}: expected generated or cut-outs")


def delete_boxes(root: Path, chance: float = DELETED) -> Boxes:
    """Delete a tenth of the lines of all text files; returns the boxes by their images' names, in pixels."""
    draw = torch.Generator().manual_seed(0)
    deleted: Boxes = {}
    for path in sorted(root.glob("labels/*/*.txt")):
        size = size_of(root / "images" / path.parent.name / f"{path.stem}.png")
        assert size is not None
        kept = []
        for line in path.read_text().splitlines():
            if float(torch.rand((), generator=draw)) >= chance:
                kept.append(line)
                continue
            x, y, w, h = map(float, line.split()[1:])
            height, width = size
            corners = (
                (x - w / 2) * width,
                (y - h / 2) * height,
                (x + w / 2) * width,
                (y + h / 2) * height,
            )
            deleted.setdefault(path.stem, []).append(list(corners))
        path.write_text("".join(f"{line}\n" for line in kept))
    return deleted


def found_among(found: Diagnosis, deleted: Boxes, count: int) -> int:
    """How many deleted boxes the first doubts show."""
    left = {name: torch.tensor(boxes) for name, boxes in deleted.items()}
    hits = 0
    for doubt in found.doubts[:count]:
        boxes = left.get(Path(doubt.image).stem, torch.zeros(0, 4))
        iou = pairwise_iou(torch.tensor([doubt.box]), boxes)[0]
        if len(boxes) and float(iou.max()) >= SAME:
            hits += 1
            left[Path(doubt.image).stem] = boxes[torch.arange(len(boxes)) != iou.argmax()]
    return hits


def main(
    folder: Path,
    *,
    name: str = "generated",
    run: str | None = None,
    images: int = 400,
    steps: int = 600,
    folds: int = 2,
) -> None:
    data = folder / "data"
    write(data, "yolo", sources(name, images))
    deleted = delete_boxes(data)
    total = sum(map(len, deleted.values()))
    judge = trained(folder, data, steps) if run is None else of_earlier_run(run, data)
    result: dict[str, Any] = {"AP": judge.metrics["AP"], "deleted": total}
    for which, parts in {"own model": 0, **({"folds": folds} if run is None else {})}.items():
        found = diagnose(judge, folds=parts, steps=steps)
        found.save(folder / f"doctor_{parts}")
        result[which] = {n: found_among(found, deleted, n) for n in (REVIEWED, total)}
    print(json.dumps(result))


def trained(folder: Path, data: Path, steps: int) -> framework.Run:
    """`nano`, trained on the data set with its deleted boxes."""
    framework.train(
        "detection",
        steps=steps,
        folder=folder / "run",
        overrides=[
            f"task.data.root={data}", f"task.data.size={SIZE}", "task.workers=0", "task.batch_size=16",
            "task.augmentation.photometric=0", "task.augmentation.scale_jitter=0", "monitor.tensorboard=false",
            "trainer.evaluate_every=300",
        ],
    )  # fmt: skip
    return framework.load(folder / "run")


def of_earlier_run(run: str, data: Path) -> framework.Run:
    """A run that has learned from other images."""
    return framework.load(run, overrides=[f"task.data.root={data}", f"task.data.size={SIZE}"])


if __name__ == "__main__":
    given = given_arguments(__doc__)
    if not given:
        sys.exit(__doc__)
    options = dict(a.split("=", 1) for a in given[1:])
    name, run = options.pop("set", "generated"), options.pop("run", None)
    main(Path(given[0]), name=name, run=run, **{key: int(value) for key, value in options.items()})
