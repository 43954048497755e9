"""What the tasks on whole images share: their model and batches, evaluation on scenes, and detection in photographs."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image as Pillow
from torch import Tensor

from framework import Image, Program, Text, UserError
from framework.config.validation import check_options
from framework.media import Media
from framework.task import Split
from plugins.detection.evaluation.metrics import require_coco_evaluation
from plugins.faces.analysis.detected import DetectedFaces
from plugins.faces.data.photographs import readable_pictures, within
from plugins.faces.evaluation.figures import photograph_with_detections, scenes_with_detections
from plugins.faces.evaluation.scene_evaluator import SceneEvaluator
from plugins.faces.evaluation.scene_metrics import EvaluatedScenes, above, detection_metrics
from plugins.faces.models.face_finder import SceneBatch
from plugins.faces.models.face_model import DISPLAY_THRESHOLD, FaceModel
from plugins.faces.synthetic.scenes import Scenes
from plugins.faces.tasks.face_task import FaceTask
from plugins.faces.tasks.scene_batches import scene_batches


class SceneTask(FaceTask):
    """A task that detects the faces of whole images.

    Args:
        model: the network and its identity loss.
        side: pixels of the longer side at which images are seen.
        batch_size: scenes in a batch.
        box_jitter: see `scene_batches`.
    """

    model: FaceModel
    batch_axes: ClassVar[int] = 1

    def __init__(
        self, model: FaceModel, *, side: int, batch_size: int, box_jitter: float = 0.0
    ) -> None:
        require_coco_evaluation()
        self.model, self.side = model, side
        self.batch_size, self.box_jitter = batch_size, box_jitter
        self.latest: dict[str, float] = {}

    @property
    @abstractmethod
    def training(self) -> Scenes:
        """The scenes to train on."""

    @abstractmethod
    def evaluated(self, seed: int, split: Split) -> Scenes:
        """The scenes to evaluate on."""

    def batches(self, program: Program, seed: int, start: int) -> Iterator[SceneBatch]:
        """Augmented scenes; batch number k depends on the seed and k only."""
        return scene_batches(self.training, self.batch_size, self.box_jitter, seed, start)

    def scalars(self) -> dict[str, float]:
        """The last batch's terms before they are weighted."""
        return {f"train/{name}": value for name, value in self.latest.items()}

    @property
    def evaluator(self) -> SceneEvaluator:
        """What evaluates the current model on scenes."""
        return SceneEvaluator(self.model, self.device)

    def detection_media(self, evaluated: EvaluatedScenes) -> tuple[Image, str]:
        """Scenes with the detections in them, and the detection metrics in words."""
        detections = [above(one, DISPLAY_THRESHOLD) for one in evaluated.detections]
        numbers = detection_metrics(evaluated)
        words = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        return Image("scenes", scenes_with_detections(evaluated.scenes, detections)), words

    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """The faces of a photograph, which is resized to a scene's side for the network."""
        return self.model.faces_in(photograph, self.side)

    @property
    def embedding_size(self) -> int:
        return self.model.finder.embedding_size

    # The detection plugin's name for it.
    detect = FaceTask.find

    def export(self, path: Path, **options: Any) -> Path:
        """Write the detector as ONNX (`.onnx`) or torch.export (`.pt2`), without photographs; see `exporting.py`.

        Raises:
            UserError: an option, of which there is none, another suffix, or a file that computes something else.
        """
        from plugins.faces.analysis.exporting import export_finder

        check_options(export_finder, options, "export")
        return export_finder(self.model.finder, path, self.side)

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """For each picture its faces as JSON, and the picture with them drawn in."""
        if source is None:
            raise UserError("which picture? input=PICTURE or input=FOLDER")
        self.warn()
        for file, name, photograph in readable_pictures(source):
            found = self.find(photograph)
            faces = [face_record(found, k) for k in range(len(found))]
            content = {
                "file": within(file, source),
                "trained_on_synthetic_faces": self.synthetic,
                "faces": faces,
            }
            yield Text(name, json.dumps(content), ".json")
            yield Image(name, photograph_with_detections(photograph, found))


def face_record(found: DetectedFaces, number: int) -> dict[str, Any]:
    """One face in plain Python; without an embedding where none was trained, null for landmarks that are not known."""
    names = ("boxes", "scores", "landmarks", "embeddings", "qualities")
    values = {name: getattr(found, name) for name in names}
    record = {name: value[number].tolist() for name, value in values.items() if value is not None}
    # JSON has no NaN.
    if not found.landmarks[number].isfinite().all():
        record["landmarks"] = None
    return record
