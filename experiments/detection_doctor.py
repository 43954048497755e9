"""How many forgotten labels the doctor finds: a tenth of the boxes of a generated data set is deleted, and looked for.

    python -m experiments.detection_doctor FOLDER [images=600] [steps=900] [folds=2]

writes the data set in YOLO's form, trains `nano` on it, lets `diagnose` judge every image by a model that has not
learned from it, and prints how many of the N deleted boxes are among the first 50 and the first N doubts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

import framework
from experiments.command import given_arguments
from plugins.detection.boxes import pairwise_iou
from plugins.detection.data.generated import Generated
from plugins.detection.data.writing import write
from plugins.detection.inspection.doctor import Diagnosis, diagnose

DELETED, REVIEWED, SAME = 0.1, 50, 0.5
Boxes = dict[str, list[list[float]]]


def delete_boxes(root: Path, size: int) -> Boxes:
    """Delete a tenth of the lines of all text files; returns the boxes by their images' names, in pixels."""
    draw = torch.Generator().manual_seed(0)
    deleted: Boxes = {}
    for path in sorted(root.glob("labels/*/*.txt")):
        kept = []
        for line in path.read_text().splitlines():
            # An image that loses all of its objects would be taken for a background.
            if float(torch.rand((), generator=draw)) >= DELETED:
                kept.append(line)
                continue
            x, y, w, h = (size * float(v) for v in line.split()[1:])
            box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            deleted.setdefault(path.stem, []).append(box)
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
    folder: Path, *, images: int = 600, steps: int = 900, folds: int = 2, size: int = 128
) -> None:
    counts = {"train": images, "validation": images // 6, "test": images // 3}
    write(folder / "data", "yolo", {name: Generated(name, n, size) for name, n in counts.items()})
    deleted = delete_boxes(folder / "data", size)
    framework.train(
        "detection",
        steps=steps,
        folder=folder / "run",
        overrides=[
            f"task.data.root={folder / 'data'}", f"task.data.size={size}", "task.workers=0", "task.batch_size=16",
            "task.augmentation.photometric=0", "task.augmentation.scale_jitter=0", "monitor.tensorboard=false",
            "trainer.evaluate_every=300",
        ],
    )  # fmt: skip
    run = framework.load(folder / "run")
    total = sum(map(len, deleted.values()))
    result: dict[str, Any] = {"AP": run.metrics["AP"], "deleted": total}
    for name, parts in (("own model", 0), ("folds", folds)):
        found = diagnose(run, folds=parts, steps=steps)
        found.save(folder / f"doctor_{parts}")
        result[name] = {count: found_among(found, deleted, count) for count in (REVIEWED, total)}
    print(json.dumps(result))


if __name__ == "__main__":
    given = given_arguments(__doc__)
    if not given:
        sys.exit(__doc__)
    numbers = {key: int(value) for key, _, value in (a.partition("=") for a in given[1:])}
    main(Path(given[0]), **numbers)
