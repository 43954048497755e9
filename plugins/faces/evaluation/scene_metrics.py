"""Detection metrics of evaluated scenes, and which of their faces suffice for verification."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.detection.boxes import area, overlap, pairwise_iou
from plugins.detection.evaluation.metrics import precision
from plugins.detection.sample import Detections
from plugins.faces.analysis.cutting import TEMPLATES, Framing
from plugins.faces.data.crops import Crops
from plugins.faces.models.alignment import patches, similarity
from plugins.faces.models.face_finder import Located
from plugins.faces.models.face_model import DISPLAY_THRESHOLD
from plugins.faces.synthetic.scenes import Scenes

# The lowest score that counts for average precision; `DISPLAY_THRESHOLD` is that of a detected face.
SCORE_THRESHOLD = 0.01
# An EER needs this fraction of the faces and this number of genuine pairs.
MIN_RECALL, MIN_PAIRS = 0.5, 100
# IoU from which a detection matches a face.
MATCH_IOU = 0.5
# Pixels of a head's height; smaller faces are also left out in one of the metrics.
LARGE = 24.0


@dataclass(frozen=True)
class EvaluatedScenes:
    """What a model detected in scenes, and the true faces that it matches.

    Attributes:
        scenes: the N scenes with their faces.
        detections: for each scene as the model returns it, from `SCORE_THRESHOLD` on.
        face: `[F]`, which of the scenes' faces were detected.
        embeddings: `[F, D]` of these.
        located: where they were detected.
    """

    scenes: Scenes
    detections: list[dict[str, Tensor]]
    face: Tensor
    embeddings: Tensor
    located: Located

    @property
    def people(self) -> Tensor:
        """`[F]`, who the detected faces are."""
        return self.scenes.people[self.face]

    def crops(self, side: int, framing: Framing | None = None) -> Crops:
        """The detected faces, aligned by their predicted landmarks, as pictures of `side` pixels.

        Args:
            framing: where the landmarks lie; None: where they lie in the patches that embeddings are read from.
        """
        scenes, located = self.scenes, self.located
        points = None if framing is None else torch.tensor(TEMPLATES[framing])
        matrices, extent = similarity(located.landmarks, points), scenes.images.shape[-2:]
        cut = []
        for some in torch.arange(len(self.face)).split(64):
            pixels = scenes.images[located.image_index[some]].float()
            one_each = torch.arange(len(some))
            cut.append(patches(pixels, one_each, matrices[some], side, (extent[0], extent[1])))
        images = torch.cat(cut).round().clamp(0, 255).to(torch.uint8)
        names = tuple(f"person {p}" for p in range(int(self.people.max()) + 1))
        return Crops(images, self.people, names, synthetic=True)


def matches(detected: Tensor, true: Tensor) -> list[tuple[int, int]]:
    """(detection, face) of boxes `[K, 4]` and `[M, 4]` that match: each face with the first detection of it."""
    pairs: list[tuple[int, int]] = []
    if not len(detected) or not len(true):
        return pairs
    iou = pairwise_iou(detected, true)
    for detection in range(len(detected)):
        best, face = iou[detection].max(0)
        if float(best) >= MATCH_IOU:
            pairs.append((detection, int(face)))
            iou[:, face] = 0.0
    return pairs


def comparable(people: Tensor) -> bool:
    """Whether there are two people, and two faces of one."""
    counts = people.unique(return_counts=True)[1]
    return len(counts) > 1 and bool((counts > 1).any())


def enough(people: Tensor, faces: int) -> bool:
    """Whether the detected faces, of `people`, are enough of all `faces` for an EER to be informative."""
    counts = people.unique(return_counts=True)[1]
    pairs = int((counts * (counts - 1) // 2).sum())
    return comparable(people) and pairs >= MIN_PAIRS and len(people) >= MIN_RECALL * faces


def heights(scenes: Scenes) -> Tensor:
    """The heights `[M]` of the faces in pixels."""
    return scenes.boxes[:, 3] - scenes.boxes[:, 1]


def above(detections: dict[str, Tensor], score_threshold: float) -> dict[str, Tensor]:
    """The detections of at least this score."""
    return {
        name: value[detections["scores"] >= score_threshold] for name, value in detections.items()
    }


def detection_metrics(evaluated: EvaluatedScenes) -> dict[str, float]:
    """AP and AP50 as COCO defines them; recall and precision from `DISPLAY_THRESHOLD` on."""
    scenes = evaluated.scenes
    targets = [scenes.sample(number) for number in range(len(scenes))]
    predictions = [
        Detections(one["boxes"], one["scores"], torch.zeros(len(one["boxes"]), dtype=torch.long))
        for one in evaluated.detections
    ]
    numbers = precision(targets, predictions, ["face"]).numbers
    total = sum(
        int(counted(scenes, number, one["boxes"][one["scores"] >= DISPLAY_THRESHOLD]).sum())
        for number, one in enumerate(evaluated.detections)
    )
    return {
        "AP50": numbers["AP50"],
        "AP": numbers["AP"],
        "recall": len(evaluated.face) / max(1, int((~scenes.ignored).sum())),
        "precision": len(evaluated.face) / max(1, total),
    }


def counted(scenes: Scenes, number: int, boxes: Tensor) -> Tensor:
    """Which of a scene's detected boxes `[K, 4]`, best first, are right or wrong: not those of ignored faces."""
    mine = scenes.image_index == number
    both, _ = overlap(boxes[:, None], scenes.boxes[mine & scenes.ignored])
    counts = (both < MATCH_IOU * area(boxes)[:, None]).all(1)
    right = [detection for detection, _ in matches(boxes, scenes.boxes[mine & ~scenes.ignored])]
    counts[right] = True
    return counts
