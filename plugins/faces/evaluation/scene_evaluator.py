"""Evaluation on scenes: what a model detects, which faces these are, and how well it distinguishes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.randomness import seeded
from plugins.faces.evaluation.crop_evaluation import pixel_embeddings
from plugins.faces.evaluation.scene_metrics import (
    LARGE,
    SCORE_THRESHOLD,
    EvaluatedScenes,
    comparable,
    enough,
    heights,
    matches,
)
from plugins.faces.evaluation.verification import all_pairs, verification
from plugins.faces.models.descriptors import DESCRIPTORS
from plugins.faces.models.descriptors import SIDE as WHITENED_SIDE
from plugins.faces.models.face_finder import FaceFinder, Located
from plugins.faces.models.face_model import DISPLAY_THRESHOLD, FaceModel
from plugins.faces.models.networks import unit
from plugins.faces.models.recogniser import components_of
from plugins.faces.models.whitened import Whitened
from plugins.faces.synthetic.scenes import Scenes

# Scenes that the model gets at once.
BATCH = 16
# The side of the crops that the baseline of raw pixels compares.
RAW_SIDE = 32


@dataclass(frozen=True)
class SceneEvaluator:
    """Evaluates a model on scenes.

    Attributes:
        model: the model, in evaluation mode.
        device: where it is.
    """

    model: FaceModel
    device: torch.device

    def evaluated(self, scenes: Scenes) -> EvaluatedScenes:
        """Detect faces; each detection, best first, is the face of the scene with which its IoU is largest."""
        detections: list[dict[str, Tensor]] = []
        for part in scenes.images.split(BATCH):
            batch = self.model(part.to(self.device), score_threshold=SCORE_THRESHOLD)
            detections += [{name: value.cpu() for name, value in one.items()} for one in batch]
        faces: list[Tensor] = []
        kept: list[dict[str, Tensor]] = []
        for number, one in enumerate(detections):
            mine = ((scenes.image_index == number) & ~scenes.ignored).nonzero()[:, 0]
            sure = one["scores"] >= DISPLAY_THRESHOLD
            pairs = matches(one["boxes"][sure], scenes.boxes[mine])
            matched = torch.tensor([detection for detection, _ in pairs], dtype=torch.long)
            faces.append(mine[torch.tensor([face for _, face in pairs], dtype=torch.long)])
            kept.append({name: value[matched] for name, value in one.items()})
        face = torch.cat(faces)
        embeddings, boxes, landmarks = (
            torch.cat([one[name] for one in kept]) for name in ("embeddings", "boxes", "landmarks")
        )
        located = Located(boxes, landmarks, scenes.image_index[face])
        return EvaluatedScenes(scenes, detections, face, embeddings, located)

    def embeddings(
        self,
        evaluated: EvaluatedScenes,
        make_finder: Callable[[], FaceFinder],
        whitened: Whitened,
        seed: int,
    ) -> dict[str, Tensor]:
        """Embeddings `[F, D]` of the detected faces by this network and by baselines that were not trained.

        Args:
            make_finder: builds the network with random weights.
            whitened: components computed from crops of the people who were trained on.
        """
        with seeded(seed):
            untrained = make_finder().to(self.device).eval()
        pixels = evaluated.crops(RAW_SIDE).images.float()
        crops = evaluated.crops(WHITENED_SIDE, "crop").images
        return {
            "this network": evaluated.embeddings,
            **pixel_embeddings(pixels),
            **{f"whitened {name}": components_of(whitened, crops, name) for name in DESCRIPTORS},
            "random network": self.described_by(untrained, evaluated),
        }

    def described_by(self, finder: FaceFinder, evaluated: EvaluatedScenes) -> Tensor:
        """Embeddings `[F, D]` of the detected faces by another network, which does not detect them itself."""
        scenes, located, parts = evaluated.scenes, evaluated.located, []
        for first in range(0, len(scenes), BATCH):
            images = scenes.images[first : first + BATCH].to(self.device)
            index = located.image_index - first
            mine = (index >= 0) & (index < BATCH)
            if mine.any():
                faces = (located.boxes[mine], located.landmarks[mine], index[mine])
                outputs = finder.raw_outputs(images)
                here = Located(*(x.to(self.device) for x in faces))
                parts.append(finder.features(outputs, images, here).cpu())
        return unit(torch.cat(parts))


def identity_metrics(
    evaluated: EvaluatedScenes, embeddings: dict[str, Tensor], seed: int
) -> dict[str, float]:
    """Verification of the detected faces by each method's embeddings, and of the large ones by the network's."""
    people = evaluated.people
    metrics = verification(embeddings["this network"], people, seed)
    for name, features in embeddings.items():
        if name != "this network":
            curve = all_pairs(features, people).roc()
            metrics[f"{name.replace(' ', '_')}_eer"] = curve.eer()
    large = heights(evaluated.scenes)[evaluated.face] >= LARGE
    if comparable(people[large]):
        metrics["large_eer"] = verification(evaluated.embeddings[large], people[large])["eer"]
    return metrics


def enough_detected(evaluated: EvaluatedScenes) -> bool:
    """Whether enough faces were detected for an EER to be informative."""
    return enough(evaluated.people, len(evaluated.scenes.people))
