"""Tasks in which faces are detected and people are not distinguished: centres, boxes, landmarks, no embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from framework import Context, Text
from framework.media import Media
from framework.task import Split
from plugins.faces.evaluation.model_card import model_card
from plugins.faces.evaluation.scene_metrics import detection_metrics
from plugins.faces.models.face_finder import SceneBatch
from plugins.faces.models.face_model import FaceModel
from plugins.faces.tasks.scene_task import SceneTask


class DetectionTask(SceneTask):
    """A task that detects faces and does not distinguish people.

    Args:
        box_weight, landmark_weight: of the losses of boxes and landmarks; that of centres has 1.
    """

    has_identity_embeddings: ClassVar[bool] = False
    primary_metric: ClassVar[str] = "AP50"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "AP": "average precision of faces as in COCO, mean over IoU 0.50 to 0.95",
        "AP50": "the same at IoU 0.50",
        "recall": "share of the faces that are detected with the display threshold",
        "precision": "share of these detections that are faces",
        "train/<term>": "a term of the loss, before weighting",
    }

    def __init__(
        self,
        model: FaceModel,
        *,
        side: int,
        batch_size: int,
        box_weight: float,
        landmark_weight: float,
    ) -> None:
        super().__init__(model, side=side, batch_size=batch_size)
        self.weights = {"centre": 1.0, "box": box_weight, "landmarks": landmark_weight}

    def objective(self, context: Context, batch: SceneBatch) -> None:
        """The losses of detection."""
        terms = self.model.finder.losses(self.model.finder.raw_outputs(batch.images), batch)
        for name, term in terms.items():
            self.latest[name] = float(term.detach())
            context.cost(self.weights[name] * term, name)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Average precision on scenes that were not trained on."""
        return detection_metrics(self.evaluator.evaluated(self.evaluated(seed, split)))

    def about(self) -> dict[str, str]:
        """The data, for the model card."""
        return {}

    def show(self, seed: int) -> Iterator[Media]:
        """Scenes that were not trained on with detections, and the model card."""
        evaluated = self.evaluator.evaluated(self.evaluated(seed, "test"))
        picture, words = self.detection_media(evaluated)
        yield picture
        about = {
            "Function": "boxes, scores and five landmarks of each face in an image; its embeddings are not trained",
            **self.about(),
            "Input": f"RGB images with the longer side resized to {self.side} pixels",
        }
        yield Text("model_card", model_card(about, f"Detection at {self.side} pixels: {words}."))
