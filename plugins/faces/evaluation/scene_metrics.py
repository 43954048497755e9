"""What a face model makes of whole scenes, in numbers: detection metrics, matched faces, verification over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.detection.boxes import area, overlap, pairwise_iou
from plugins.detection.evaluation.metrics import precision
from plugins.detection.sample import Detections
from plugins.faces.data.crops import Crops
from plugins.faces.models.alignment import patches, similarity
from plugins.faces.models.face_finder import Located
from plugins.faces.synthetic.scenes import Scenes

# Scores that count for average precision; and that count as found.
FLOOR, CLEAR = 0.01, 0.3
# Of the faces, and of pairs of one person's: else no EER.
LEAST_FOUND, LEAST_PAIRS = 0.5, 100
FOUND = 0.5  # agreement (IoU) from which a detection is of a face
LARGE = 24.0  # pixels of a head's height; smaller faces are also left out in one of the metrics


@dataclass(frozen=True)
class Judged:
    """What was found in scenes, and whose the found faces are.

    Attributes:
        found: for each scene, as the model gives it.
        face: `[F]`, which of the scenes' faces was found.
        embeddings: `[F, D]`, and where each was found, as told.
    """

    found: list[dict[str, Tensor]]
    face: Tensor
    embeddings: Tensor
    where: Located


def crops_of(scenes: Scenes, judged: Judged, side: int) -> Crops:
    """The found faces, aligned by the landmarks that were told, as pictures in the order of `judged`."""
    matrices, extent = similarity(judged.where.landmarks), scenes.images.shape[-2:]
    cut = []
    for some in torch.arange(len(judged.face)).split(64):
        pixels = scenes.images[judged.where.owner[some]].float()
        each = torch.arange(len(some))
        cut.append(patches(pixels, each, matrices[some], side, (extent[0], extent[1])))
    images = torch.cat(cut).round().clamp(0, 255).to(torch.uint8)
    people = scenes.people[judged.face]
    names = tuple(f"person {p}" for p in range(int(people.max()) + 1))
    return Crops(images, people, names, drawn=True)


def matches(found: Tensor, true: Tensor) -> list[tuple[int, int]]:
    """(detection, face) of boxes that agree, each face with the first detection of it."""
    pairs: list[tuple[int, int]] = []
    if not len(found) or not len(true):
        return pairs
    agreement = pairwise_iou(found, true)
    for detection in range(len(found)):
        best, face = agreement[detection].max(0)
        if float(best) >= FOUND:
            pairs.append((detection, int(face)))
            agreement[:, face] = 0.0
    return pairs


def comparable(people: Tensor) -> bool:
    """Whether there are two people, and two faces of one."""
    counts = people.unique(return_counts=True)[1]
    return len(counts) > 1 and bool((counts > 1).any())


def enough(people: Tensor, faces: int) -> bool:
    """Whether so many of the faces and so many pairs of one person were found that an EER says something."""
    counts = people.unique(return_counts=True)[1]
    pairs = int((counts * (counts - 1) // 2).sum())
    return comparable(people) and pairs >= LEAST_PAIRS and len(people) >= LEAST_FOUND * faces


def heights(scenes: Scenes) -> Tensor:
    return scenes.boxes[:, 3] - scenes.boxes[:, 1]


def above(found: dict[str, Tensor], floor: float) -> dict[str, Tensor]:
    return {name: value[found["scores"] >= floor] for name, value in found.items()}


def detection_metrics(scenes: Scenes, judged: Judged) -> dict[str, float]:
    """AP and AP50 as COCO has them, and the shares of true faces found and of found ones that are true."""
    truths = [scenes.sample(number) for number in range(len(scenes))]
    told = [
        Detections(one["boxes"], one["scores"], torch.zeros(len(one["boxes"]), dtype=torch.long))
        for one in judged.found
    ]
    numbers = precision(truths, told, ["face"]).numbers
    clear = sum(
        int(counted(scenes, number, one["boxes"][one["scores"] >= CLEAR]).sum())
        for number, one in enumerate(judged.found)
    )
    return {
        "AP50": numbers["AP50"],
        "AP": numbers["AP"],
        "recall": len(judged.face) / max(1, int((~scenes.ignored).sum())),
        "precision": len(judged.face) / max(1, clear),
    }


def counted(scenes: Scenes, number: int, boxes: Tensor) -> Tensor:
    """Which of a scene's found boxes `[K, 4]`, best first, are right or wrong: not those of ignored faces."""
    mine = scenes.owner == number
    both, _ = overlap(boxes[:, None], scenes.boxes[mine & scenes.ignored])
    wrong = (both < FOUND * area(boxes)[:, None]).all(1)
    right = [detection for detection, _ in matches(boxes, scenes.boxes[mine & ~scenes.ignored])]
    wrong[right] = True
    return wrong
