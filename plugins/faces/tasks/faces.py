"""Faces in whole images: one network from an image to boxes, scores, landmarks and embeddings.

minimise  centres + 5 boxes + 5 landmarks + w identity      (see models/face_finder.py and losses/)

It is evaluated on scenes with people who were not trained on: by the average precision of detection, and by how well
the embeddings of the faces that it detected distinguish people (the EER), which is reported as chance, 0.5, as long as
fewer than half of the faces or fewer than a hundred genuine pairs are detected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar

from pydantic import Field

from framework import Context, Image, Text
from framework.config.schema import Section
from framework.config.types import Count, CountOrZero, NonNegative
from framework.media import Media, Projection
from framework.task import Split
from plugins.faces.evaluation.figures import contact_sheet, pairs_sheet, roc_picture, table_of
from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE, model_card
from plugins.faces.evaluation.scene_evaluator import enough_detected, identity_metrics
from plugins.faces.evaluation.scene_metrics import comparable, detection_metrics
from plugins.faces.evaluation.verification import all_pairs
from plugins.faces.losses.identity_loss import make_loss
from plugins.faces.losses.margins import margin_scale_at
from plugins.faces.models.descriptors import SIDE as WHITENED_SIDE
from plugins.faces.models.face_finder import FaceFinder, FeatureLevel, FeatureSource, SceneBatch
from plugins.faces.models.face_model import FaceModel
from plugins.faces.models.whitened import Whitened
from plugins.faces.synthetic.crops import FIRST_UNSEEN, synthetic_crops
from plugins.faces.synthetic.scenes import Scenes, synthetic_scenes
from plugins.faces.tasks.scene_task import SceneTask

# From whom the whitened components of the baselines are computed, and how many pictures of each.
WHITENED_PEOPLE, WHITENED_PICTURES = 150, 8
COSFACE: Mapping[str, Any] = {"name": "cosface"}


class SceneData(Section):
    """The synthetic scenes.

    Attributes:
        side: pixels of a scene's side.
        scenes, people: to train on; max_faces: in one scene.
        test_scenes, test_people: to test on; the people of training and test are disjoint.
        seed: of the people and scenes.
    """

    side: Annotated[int, Field(ge=96, le=512, multiple_of=32)] = 160
    scenes: Count = 2500
    people: Annotated[int, Field(ge=2)] = 800
    max_faces: Annotated[int, Field(ge=1, le=30)] = 8
    test_scenes: Count = 200
    test_people: Annotated[int, Field(ge=2)] = 60
    seed: CountOrZero = 0


class Faces(SceneTask):
    """Detect the faces of images and embed each."""

    primary_metric: ClassVar[str] = "eer"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "AP": "average precision of faces as in COCO, mean over IoU 0.50 to 0.95",
        "AP50": "the same at IoU 0.50",
        "recall": "share of the faces that are detected with the display threshold",
        "precision": "share of these detections that are faces",
        "eer": "equal error rate of verification on all pairs, of people not trained on",
        "eer_low": "lower end of its 95 % interval over people",
        "eer_high": "upper end of its 95 % interval over people",
        "tar_at_far_<far>": "true accept rate (TAR) at this false accept rate (FAR)",
        "accuracy": "accuracy of verification, ten-fold as on LFW",
        "impostor_pairs": "pairs of two people",
        "genuine_pairs": "pairs of one person",
        "raw_pixels_eer": "equal error rate of the pixels themselves",
        "even_pixels_eer": "the same of grey pixels with mean 0 and deviation 1",
        "whitened_pixels_eer": "the same of pixels' principal components, whitened within people",
        "whitened_gradients_eer": "the same of histograms of gradient directions",
        "whitened_patterns_eer": "the same of histograms of local binary patterns",
        "random_network_eer": "equal error rate of an untrained network",
        "large_eer": "equal error rate of large faces",
        "train/identity_over_chance": "identity loss over that of embeddings without information",
        "train/<term>": "a term of the loss, before weighting",
    }

    def __init__(
        self,
        *,
        feature_source: FeatureSource = "joint",
        feature_level: FeatureLevel = "early",
        data: SceneData = SceneData(),  # noqa: B008
        embedding_size: Annotated[int, Field(ge=2, le=1024)] = 128,
        patch_size: Annotated[int, Field(ge=8, le=64)] = 24,
        loss: Mapping[str, Any] = COSFACE,
        identity_weight: NonNegative = 1.0,
        box_weight: NonNegative = 5.0,
        landmark_weight: NonNegative = 5.0,
        margin_start: CountOrZero = 0,
        margin_warmup: CountOrZero = 0,
        box_jitter: Annotated[float, Field(ge=0, le=0.3)] = 0.04,
        batch_size: Count = 16,
    ) -> None:
        self.data, self.loss = data, loss
        self.weights = {
            "centre": 1.0,
            "box": box_weight,
            "landmarks": landmark_weight,
            "identity": identity_weight,
        }
        self.margin_start, self.margin_warmup = margin_start, margin_warmup
        self.make_finder = partial(
            FaceFinder,
            feature_source,
            feature_level=feature_level,
            embedding_size=embedding_size,
            patch_size=patch_size,
        )
        identity = make_loss(loss, embedding_size, data.people, "task.loss")
        model = FaceModel(self.make_finder(), identity)
        super().__init__(model, side=data.side, batch_size=batch_size, box_jitter=box_jitter)

    @cached_property
    def training(self) -> Scenes:
        data = self.data
        return synthetic_scenes(
            data.seed, 0, data.scenes, data.side, 0, data.people, data.max_faces
        )

    def evaluated(self, seed: int, split: Split) -> Scenes:
        """Scenes with people who are not trained on; both splits follow the seed."""
        data = self.data
        block = 1 + seed % 1000
        return synthetic_scenes(
            data.seed,
            FIRST_UNSEEN + block * data.test_scenes,
            data.test_scenes,
            data.side,
            FIRST_UNSEEN + block * data.test_people,
            data.test_people,
            data.max_faces,
        )

    @cached_property
    def baseline(self) -> Whitened:
        """Whitened components of crops of some of the people who are trained on."""
        people = min(WHITENED_PEOPLE, self.data.people)
        crops = synthetic_crops(self.data.seed, 0, people, WHITENED_PICTURES, WHITENED_SIDE)
        whitened = Whitened()
        whitened.fit(crops.images, crops.people)
        return whitened

    @property
    def synthetic(self) -> bool:
        return True

    def objective(self, context: Context, batch: SceneBatch) -> None:
        """The losses of detection and of identity on the same images."""
        outputs = self.model.finder.raw_outputs(batch.images)
        terms = self.model.finder.losses(outputs, batch)
        # Batch norm needs two faces.
        if batch.known and self.weights["identity"]:
            identity = self.model.identity
            assert identity is not None
            scale = margin_scale_at(batch.number - self.margin_start, self.margin_warmup)
            features = self.model.finder.features(outputs, batch.images, batch.jittered)
            own = int((batch.people >= 0).sum())
            # Of several processes one may have no face: the mean of nothing is no number.
            loss = identity(features, batch.people, scale) if own else features.sum()
            terms["identity"] = loss * (own / batch.known)
            if own:
                chance = identity.loss_at_chance(batch.people, scale)
                self.latest["identity_over_chance"] = float(loss.detach()) / chance
        for name, term in terms.items():
            self.latest[name] = float(term.detach())
            context.cost(self.weights[name] * term, name)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Average precision, and verification by the embeddings of detected faces, beside baselines."""
        evaluated = self.evaluator.evaluated(self.evaluated(seed, split))
        metrics = detection_metrics(evaluated)
        # Otherwise a network that detects three faces could be the best.
        if not enough_detected(evaluated):
            return metrics | {"eer": 0.5}
        embeddings = self.evaluator.embeddings(evaluated, self.make_finder, self.baseline, seed)
        return metrics | identity_metrics(evaluated, embeddings, seed)

    def show(self, seed: int) -> Iterator[Media]:
        """Scenes with detections, detected people, ROC curves, extreme pairs, the table and the model card."""
        evaluated = self.evaluator.evaluated(self.evaluated(seed, "test"))
        picture, words = self.detection_media(evaluated)
        yield picture
        if not comparable(evaluated.people):
            yield Text("verification", f"Too few faces were detected to compare. {words}\n")
            return
        crops = evaluated.crops(48)
        yield Image("found", contact_sheet(crops))
        embeddings = self.evaluator.embeddings(evaluated, self.make_finder, self.baseline, seed)
        pairs = {name: all_pairs(e, crops.people) for name, e in embeddings.items()}
        yield roc_picture("roc", {name: p.roc() for name, p in pairs.items()})
        yield Image("pairs", pairs_sheet(crops, evaluated.embeddings))
        results = f"{table_of(pairs, seed)}\n\nDetection at {self.side} pixels: {words}."
        yield Text("verification", f"{results}\n")
        yield Text("model_card", model_card(self.about(), results))
        names = [f"person {p}" for p in crops.people.tolist()]
        yield Projection("embeddings", evaluated.embeddings, names, crops.images)

    def about(self) -> dict[str, str]:
        """The data and the network, for the model card."""
        data, finder = self.data, self.model.finder
        count = sum(p.numel() for p in finder.parameters())
        return {
            "Function": "boxes, scores, five landmarks and an embedding of each face in an image",
            "Trained on": f"{data.scenes:,} synthetic scenes with {data.people} synthetic people",
            "Feature source": finder.feature_source,
            "Loss": str(self.loss["name"]),
            "Network": f"{count:,} parameters, {finder.embedding_size} numbers per face",
            "Input": f"RGB images; faces of 10 to 60 pixels in {data.side} x {data.side}",
            "Notice": SYNTHETIC_NOTICE,
        }
