"""WIDER FACE's average precision on its easy, medium and hard faces.

    wider_easy_val.mat, ..._medium_..., ..._hard_...    in the folder, in `ground_truth/` or `eval_tools/ground_truth/`
    images/EVENT/NAME.jpg                               in the folder, or in `WIDER_val/`

Each list names, for every photograph, the faces that count; the others are ignored: detecting them is neither right nor
wrong. As in the data set's own evaluation a detection matches the face with which its IoU is largest, from 0.5 on, and
precision is interpolated, and photographs without any face are left out; the curve here is exact, where that evaluation
samples it at a thousand scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from framework import UserError
from framework.extras import import_extra
from plugins.detection.boxes import pairwise_iou
from plugins.detection.data.inside import inside
from plugins.faces.data.photographs import read_photograph

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis

LEVELS = ("easy", "medium", "hard")
PLACES = ("", "ground_truth", "eval_tools/ground_truth")
MATCH_IOU = 0.5


class Annotated(NamedTuple):
    """A photograph's faces, boxes `[M, 4]` xyxy, and which of them count at each level, bool `[M]`."""

    file: Path
    boxes: Tensor
    counts: dict[str, Tensor]


def measured(faces: FaceAnalysis, folder: Path) -> dict[str, float]:
    """The average precision at each level, and how many faces count there."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {level: [] for level in LEVELS}
    total = dict.fromkeys(LEVELS, 0)
    for photograph in read_levels(folder):
        if not len(photograph.boxes):
            continue
        image = read_photograph(photograph.file)
        if faces.has_seen(image):
            raise UserError(f"{photograph.file}: was trained on; expected other photographs")
        detected = faces.find(image)
        for level, counts in photograph.counts.items():
            total[level] += int(counts.sum())
            found[level].append(judged(detected.boxes, detected.scores, photograph.boxes, counts))
    return {
        **{f"ap_{level}": average_precision(found[level], total[level]) for level in LEVELS},
        **{f"faces_{level}": float(total[level]) for level in LEVELS},
    }


def judged(boxes: Tensor, scores: Tensor, true: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The scores `[N]` of the detections that are right or wrong, best first, and which are right, bool `[N]`.

    Args:
        boxes: `[K, 4]`, best first; true: `[M, 4]`; counts: `[M]` bool, faces that are not ignored.
    """
    right, kept = (
        torch.zeros(len(boxes), dtype=torch.bool),
        torch.ones(len(boxes), dtype=torch.bool),
    )
    if len(true) and len(boxes):
        best, face = pairwise_iou(boxes, true).max(1)
        taken: set[int] = set()
        for number, (iou, which) in enumerate(zip(best.tolist(), face.tolist(), strict=True)):
            if iou < MATCH_IOU:
                continue
            if not counts[which]:
                kept[number] = False
            elif which not in taken:
                taken.add(which)
                right[number] = True
    return scores[kept], right[kept]


def average_precision(found: list[tuple[Tensor, Tensor]], total: int) -> float:
    """The area below the interpolated precision over the recall; NaN where no face counts."""
    if not total:
        return float("nan")
    scores = torch.cat([scores for scores, _ in found])
    order = scores.argsort(descending=True, stable=True)
    right = torch.cat([right for _, right in found])[order].double()
    recall = right.cumsum(0) / total
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    highest = precision.flip(0).cummax(0).values.flip(0)
    steps = recall - torch.cat([torch.zeros(1, dtype=torch.float64), recall[:-1]])
    return float((steps * highest).sum())


def read_levels(folder: Path) -> Iterator[Annotated]:
    """The photographs of the lists, in their order."""
    lists = {level: read_mat(folder, level) for level in LEVELS}
    easy = lists["easy"]
    images = folder / "WIDER_val" / "images"
    images = images if images.is_dir() else folder / "images"
    for e, event in enumerate(easy["event_list"].ravel()):
        for k, name in enumerate(easy["file_list"].ravel()[e].ravel()):
            text = f"{event.item()}/{name.item()}.jpg"
            file = inside(images, images, text)
            if file is None:
                raise UserError(f"input = '{folder}': '{text}' leads out of {images}")
            rows = torch.tensor(easy["face_bbx_list"].ravel()[e].ravel()[k].astype(float).tolist())
            rows = rows.reshape(-1, 4)
            counts = {
                level: chosen(len(rows), one["gt_list"].ravel()[e].ravel()[k], folder, level)
                for level, one in lists.items()
            }
            yield Annotated(file, torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:]], 1), counts)


def chosen(count: int, numbers: Any, folder: Path, level: str) -> Tensor:
    """The faces, bool `[count]`, whose numbers, from 1, a list names."""
    mask = torch.zeros(count, dtype=torch.bool)
    index = torch.tensor(numbers.astype(int).ravel().tolist(), dtype=torch.long)
    if len(index) and not bool(((index >= 1) & (index <= count)).all()):
        raise UserError(
            f"input = '{folder}': wider_{level}_val.mat: a face's number beyond {count}"
        )
    mask[index - 1] = True
    return mask


def read_mat(folder: Path, level: str) -> dict[str, Any]:
    """A level's list."""
    io = import_extra("scipy.io", "faces", "WIDER FACE's lists need scipy")
    name = f"wider_{level}_val.mat"
    for place in PLACES:
        if (folder / place / name).is_file():
            try:
                content: dict[str, Any] = io.loadmat(folder / place / name)
            # Its errors share no class.
            except Exception as error:
                raise UserError(
                    f"{folder / place / name}: {type(error).__name__}: {error}"
                ) from None
            missing = {"event_list", "file_list", "face_bbx_list", "gt_list"} - content.keys()
            if missing:
                raise UserError(f"{folder / place / name}: expected '{min(missing)}' in it")
            return content
    raise UserError(f"input = '{folder}': expected {name} in it or in ground_truth/")
