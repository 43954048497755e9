"""Face detection in one's own photographs, whose boxes stand in a list of WIDER FACE's or RetinaFace's format.

Such lists do not say who a face is, so boxes and landmarks are trained and embeddings are not. Photographs are resized
to fit a square, and some are held out for the evaluation at that size. Faces that the list calls invalid, or that
become too small, are ignored: detecting them is neither rewarded nor an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor

from framework import Text, UserError
from framework.config.types import Count, CountOrZero, NonNegative
from framework.media import Media
from framework.saved_state import check_saved
from framework.task import Split, TrainingPlan
from plugins.faces.data.likeness import SAME, copies, nearest_copy, signatures
from plugins.faces.data.lists import AnnotatedPhotograph, read_annotations
from plugins.faces.data.photographs import Partition, partition, square
from plugins.faces.evaluation.model_card import PRIVACY_NOTICE
from plugins.faces.inspection import Inspection, inspect_list
from plugins.faces.losses.identity_loss import make_loss
from plugins.faces.models.face_finder import FaceFinder
from plugins.faces.models.face_model import FaceModel
from plugins.faces.synthetic.scenes import Scenes
from plugins.faces.tasks.annotated_scenes import SIDE, contents, scenes_of
from plugins.faces.tasks.detection_task import DetectionTask


class FaceDetection(DetectionTask):
    """Detect faces in photographs, from a list of boxes."""

    @staticmethod
    def inspect(options: Mapping[str, Any]) -> Inspection:
        """Look at the list of faces that these options name; see `diffobj inspect`."""
        annotations, images = (options.get(name, "") for name in ("annotations", "images"))
        if not annotations or not images:
            raise UserError(
                "which list? diffobj inspect task=face_detection task.annotations=label.txt task.images=FOLDER"
            )
        return inspect_list(annotations, images, options.get("side", 320))

    def __init__(
        self,
        *,
        annotations: str,
        images: str,
        side: Annotated[int, Field(ge=96, le=1024, multiple_of=32)] = 320,
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        seed: CountOrZero = 0,
        box_weight: NonNegative = 5.0,
        landmark_weight: NonNegative = 5.0,
        batch_size: Count = 8,
    ) -> None:
        for key, value in (("annotations", annotations), ("images", images)):
            if not value:
                raise UserError(
                    f"task.{key} is missing: task.annotations=label.txt task.images=FOLDER, "
                    "a list of boxes in WIDER FACE's or RetinaFace's format and the folder of its photographs"
                )
        self.annotations, self.folder = Path(annotations).expanduser(), Path(images).expanduser()
        self.test_fraction, self.seed = test_fraction, seed
        # Whether `seen` comes from a checkpoint.
        self.is_loaded = False
        # The network of `faces`, whose embeddings and identity loss are not trained here.
        identity = make_loss({"name": "softmax"}, 128, 2, "task.loss")
        model = FaceModel(FaceFinder("two_stage"), identity)
        super().__init__(
            model,
            side=side,
            batch_size=batch_size,
            box_weight=box_weight,
            landmark_weight=landmark_weight,
        )

    def state_dict(self) -> dict[str, Any]:
        """Signatures of the photographs that the network has seen; no picture can be restored from them."""
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("the task", state, seen=Tensor)
        self.seen, self.is_loaded = state["seen"], True

    def begin(self, plan: TrainingPlan) -> None:
        """Read the photographs.

        Raises:
            UserError: none can be read, or one, or a copy of it, is both to train on and to test on.
        """
        held_out = [*self.parts.test, *self.parts.validation]
        scenes = self.scenes(held_out)
        known = signatures(contents(self.training))
        cosines, places = nearest_copy(contents(scenes), known)
        doubles = (cosines >= SAME).nonzero()[:, 0].tolist()
        if doubles:
            test, training = held_out[doubles[0]], self.parts.training[int(places[doubles[0]])]
            raise UserError(
                f"task.annotations = '{self.annotations}': {len(doubles)} photographs to test on are copies of others "
                f"to train on, the first '{self.photographs[test].file}' of '{self.photographs[training].file}'; "
                "expected each photograph once"
            )

    def has_seen(self, photograph: Pillow.Image) -> bool:
        return bool(copies(square(photograph, SIDE)[None], self.seen).any())

    @cached_property
    def photographs(self) -> list[AnnotatedPhotograph]:
        """The list.

        Raises:
            UserError: it cannot be read, or names fewer than two photographs.
        """
        photographs = read_annotations(self.annotations)
        if len(photographs) < 2:
            raise UserError(
                f"task.annotations = '{self.annotations}': {len(photographs)} photographs; expected two or more"
            )
        return photographs

    @cached_property
    def parts(self) -> Partition:
        """What each photograph is for."""
        count = len(self.photographs)
        return partition(count, self.test_fraction, 1, "held-out photographs", self.seed)

    def scenes(self, numbers: Sequence[int]) -> Scenes:
        """The photographs of these numbers, resized."""
        return scenes_of([self.photographs[n] for n in numbers], self.folder, self.side)

    @cached_property
    def training(self) -> Scenes:
        return self.scenes(self.parts.training)

    @cached_property
    def validation(self) -> Scenes:
        """The photographs that choose the checkpoint; none where there are too few."""
        return self.scenes(self.parts.validation)

    @cached_property
    def seen(self) -> Tensor:
        """Signatures of the photographs that were trained on or chose the checkpoint; a checkpoint stores them."""
        parts = [self.training, self.validation] if self.parts.validation else [self.training]
        return torch.cat([signatures(contents(part)) for part in parts])

    @cached_property
    def unseen(self) -> Scenes:
        """The photographs to test on: of a loaded run's list those of which it has seen no copy.

        Raises:
            UserError: there is none.
        """
        if not self.is_loaded:
            return self.scenes(self.parts.test)
        everything = self.scenes(self.parts.order)
        cosines, _ = nearest_copy(contents(everything), self.seen)
        others = (cosines < SAME).nonzero()[:, 0]
        if not len(others):
            raise UserError(
                f"task.annotations = '{self.annotations}': all its photographs were trained on"
            )
        return everything.chosen(others)

    def evaluated(self, seed: int, split: Split) -> Scenes:
        """Photographs that were not trained on; of few photographs the validation's are the test's."""
        return self.validation if split == "validation" and self.parts.validation else self.unseen

    @property
    def synthetic(self) -> bool:
        return False

    def show(self, seed: int) -> Iterator[Media]:
        """Held-out photographs with detections, what the folder holds of people, and the model card."""
        yield Text("PRIVACY", f"{PRIVACY_NOTICE[0].upper()}{PRIVACY_NOTICE[1:]}.\n")
        yield from super().show(seed)

    def about(self) -> dict[str, str]:
        return {
            "Trained on": f"{len(self.parts.training):,} photographs of {self.annotations}",
            "Privacy": PRIVACY_NOTICE,
        }
