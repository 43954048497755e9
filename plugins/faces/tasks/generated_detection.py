"""A face detector that has seen no person and is meant for photographs: trained on collages of synthetic people.

The scenes (`synthetic/group_scenes.py`) have real textures, hard negatives and a camera's faults. The detector that
comes with this plugin (`analysis/bundled.py`) is such a run.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor

from framework.config.types import Count, CountOrZero, NonNegative
from framework.task import Split, TrainingPlan
from plugins.faces.models.face_model import FaceModel, detector
from plugins.faces.synthetic.crops import FIRST_UNSEEN
from plugins.faces.synthetic.group_scenes import group_scenes
from plugins.faces.synthetic.portraits import Portraits, portraits
from plugins.faces.synthetic.scenes import Scenes
from plugins.faces.synthetic.textures import textures
from plugins.faces.tasks.detection_task import DetectionTask

# People of the scenes to test on.
TEST_PEOPLE = 200


class GeneratedDetection(DetectionTask):
    """Detect faces in photographs, from synthetic people in generated scenes.

    Args:
        side: pixels of a scene's side.
        scenes, people: to train on; max_faces: in one scene.
        test_scenes: to test on, with other people.
        seed: of the people and scenes.
    """

    def __init__(
        self,
        *,
        side: Annotated[int, Field(ge=96, le=512, multiple_of=32)] = 160,
        scenes: Count = 3500,
        people: Count = 1200,
        max_faces: Annotated[int, Field(ge=1, le=30)] = 12,
        test_scenes: Count = 100,
        seed: CountOrZero = 0,
        box_weight: NonNegative = 5.0,
        landmark_weight: NonNegative = 5.0,
        batch_size: Count = 16,
    ) -> None:
        self.scenes, self.people, self.max_faces = scenes, people, max_faces
        self.test_scenes, self.seed = test_scenes, seed
        super().__init__(
            FaceModel(detector()),
            side=side,
            batch_size=batch_size,
            box_weight=box_weight,
            landmark_weight=landmark_weight,
        )

    def begin(self, plan: TrainingPlan) -> None:
        """Look for the textures.

        Raises:
            UserError: too few photographs are installed.
        """
        textures()

    @cached_property
    def training(self) -> Scenes:
        people = portraits(self.seed, self.people, textures())
        return self.generated(0, self.scenes, people)

    def evaluated(self, seed: int, split: Split) -> Scenes:
        """Scenes with people who are not trained on; both splits follow the seed."""
        first = FIRST_UNSEEN + seed % 1000 * self.test_scenes
        people = portraits(FIRST_UNSEEN + self.seed + seed, TEST_PEOPLE, textures())
        return self.generated(first, self.test_scenes, people)

    def generated(self, first: int, count: int, people: Portraits) -> Scenes:
        """Scenes `first` to `first + count - 1`."""
        photographs: tuple[Tensor, ...] = textures()
        return group_scenes(self.seed, first, count, self.side, people, photographs, self.max_faces)

    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """The faces of a photograph, thoroughly looked for; see `FaceModel.faces_in`."""
        return self.model.faces_in(photograph, self.side, thorough=True)

    @property
    def synthetic(self) -> bool:
        return True

    def warn(self) -> None:
        """Print nothing: unlike embeddings of synthetic faces, this detector is meant for photographs of people."""

    def about(self) -> dict[str, str]:
        return {
            "Trained on": f"{self.scenes:,} generated scenes with {self.people:,} synthetic people; no person was seen",
            "Meant for": "photographs of people; what it was measured to do is in plugins/faces/weights/MODEL_CARD.md",
        }
