"""Finding faces in one's own photographs, whose boxes a list tells: WIDER FACE's or RetinaFace's.

Such lists do not say who a face belongs to, so that boxes and landmarks are learned and features are not. Photographs
are shrunk to fit a square, and every tenth or so is held out to judge by, at that very size. Faces that the list calls
invalid or that become too small are ignored: nobody is told that there is none, and nobody is blamed for finding them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy
import torch
from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor

from framework import Estimator, Image, Program, Text, UserError
from framework.media import Media
from framework.task import Split
from plugins.faces.data.lists import Listed, read_lines, read_retinaface, read_wider
from plugins.faces.data.photographs import Divided, digest, divided, read_photograph
from plugins.faces.evaluation.figures import marked
from plugins.faces.evaluation.model_card import card
from plugins.faces.evaluation.scene_metrics import CLEAR, above, detection_metrics
from plugins.faces.synthetic.scenes import Scenes
from plugins.faces.tasks.scenes_task import Count, Faces, SceneData, Weight

SMALLEST = 4.0  # pixels of a face's height once the photograph is shrunk; smaller ones are ignored


class FaceDetection(Faces):
    """Find faces in photographs from a list of boxes."""

    tells_people: ClassVar[bool] = False
    primary_metric: ClassVar[str] = "AP50"
    split: Split = "test"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        *,
        list: str,
        images: str,
        side: Annotated[int, Field(ge=96, le=1024, multiple_of=32)] = 320,
        held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        seed: Annotated[int, Field(ge=0)] = 0,
        box_weight: Weight = 5.0,
        landmark_weight: Weight = 5.0,
        batch_size: Count = 8,
    ) -> None:
        for key, value in (("list", list), ("images", images)):
            if not value:
                raise UserError(
                    f"task.{key} is not named: task.list=label.txt task.images=FOLDER, "
                    "a list of boxes in WIDER FACE's or RetinaFace's form and the folder of its photographs"
                )
        self.list, self.folder = Path(list).expanduser(), Path(images).expanduser()
        self.share, self.seed = held_out, seed
        super().__init__(
            route="two_stage",
            data=SceneData(side=side, people=2),
            loss={"name": "softmax"},
            identity_weight=0.0,
            box_weight=box_weight,
            landmark_weight=landmark_weight,
            batch_size=batch_size,
        )

    def state_dict(self) -> dict[str, Any]:
        """Which photographs the network knows."""
        return {"seen": sorted(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = set(state["seen"])

    def program(self, estimator: Estimator) -> Program:
        """The losses; asked for when a training begins, which needs the photographs."""
        learned = self.shown(self.learned, self.parts.learned)
        others = self.shown(self.unseen, self.others)
        for double in learned.keys() & others.keys():
            raise UserError(
                f"task.list = '{self.list}': '{others[double]}', to judge by, is the very photograph "
                f"'{learned[double]}', to learn from"
            )
        return super().program(estimator)

    @cached_property
    def photographs(self) -> list[Listed]:
        """The list.

        Raises:
            UserError: it cannot be read, or names fewer than two photographs.
        """
        listed = read_list(self.list)
        if len(listed) < 2:
            raise UserError(
                f"task.list = '{self.list}': {len(listed)} photographs; expected two or more"
            )
        return listed

    @cached_property
    def parts(self) -> Divided:
        """What each photograph is for."""
        return divided(len(self.photographs), self.share, 1, "held-out photographs", self.seed)

    def scenes(self, numbers: Sequence[int]) -> Scenes:
        return scenes_of([self.photographs[n] for n in numbers], self.folder, self.data.side)

    def shown(self, scenes: Scenes, numbers: Sequence[int]) -> dict[int, str]:
        """The files of photographs with faces, by what they show."""
        with_faces = scenes.owner.unique().tolist()
        return {digest(scenes.images[k]): self.photographs[numbers[k]].file for k in with_faces}

    @cached_property
    def learned(self) -> Scenes:
        """The photographs to learn from."""
        return self.scenes(self.parts.learned)

    @cached_property
    def validated(self) -> Scenes:
        """The photographs that choose the checkpoint; none where there are too few."""
        return self.scenes(self.parts.validated)

    @cached_property
    def seen(self) -> set[int]:
        """The keys of the photographs that were learned from or chose the checkpoint."""
        return {self.photographs[n].key for n in (*self.parts.learned, *self.parts.validated)}

    @property
    def others(self) -> list[int]:
        """The photographs of the list that were not seen in training."""
        return [n for n in self.parts.order if self.photographs[n].key not in self.seen]

    @cached_property
    def unseen(self) -> Scenes:
        """The photographs to judge by."""
        if not self.others:
            raise UserError(f"task.list = '{self.list}': all its photographs were learned from")
        return self.scenes(self.others)

    def tested(self, seed: int) -> Scenes:
        validating = self.split == "validation" and self.parts.validated
        return self.validated if validating else self.unseen

    @property
    def drawn(self) -> bool:
        return False

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Average precision on photographs that were not learned from."""
        self.split = split
        scenes = self.tested(seed)
        return detection_metrics(scenes, self.judge(scenes, self.model))

    def show(self, seed: int) -> Iterator[Media]:
        """Held-out photographs with what was found, and the model card."""
        scenes = self.tested(seed)
        judged = self.judge(scenes, self.model)
        found = [above(one, CLEAR) for one in judged.found]
        yield Image("scenes", marked(scenes, found))
        numbers = detection_metrics(scenes, judged)
        told = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        about = {
            "What it does": "boxes, scores and five landmarks for each face in an image; its features mean nothing",
            "Learned from": f"{len(self.parts.learned):,} photographs of {self.list}",
            "Input": f"RGB images with the longer side shrunk to {self.data.side} pixels",
        }
        yield Text("model_card", card(about, f"Detection at {self.data.side} pixels: {told}."))


def read_list(path: Path) -> list[Listed]:
    """A list in RetinaFace's form, which begins with `#`, or in WIDER FACE's."""
    lines = read_lines(path)
    return read_retinaface(path) if lines and lines[0].startswith("#") else read_wider(path)


def scenes_of(photographs: Sequence[Listed], folder: Path, side: int) -> Scenes:
    """Photographs shrunk into squares of `side` pixels; one that cannot be read is named and stays empty.

    Raises:
        UserError: none of them can be read.
    """
    images, boxes, landmarks, owner, ignored, bad = [], [], [], [], [], 0
    for number, photograph in enumerate(photographs):
        try:
            image, factor = fitted(read_photograph(folder / photograph.file), side)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
            images.append(torch.full((3, side, side), 127, dtype=torch.uint8))
            bad += 1
            continue
        own = photograph.boxes * factor
        images.append(image)
        boxes.append(own)
        landmarks.append(photograph.landmarks * factor)
        owner += [number] * len(own)
        ignored.append(photograph.ignored | (own[:, 3] - own[:, 1] < SMALLEST))
    if bad == len(photographs):
        raise UserError(
            f"task.images = '{folder}': none of the list's photographs can be read there"
        )
    return Scenes(
        torch.stack(images),
        torch.cat(boxes),
        torch.cat(landmarks),
        torch.full((len(owner),), -1),
        torch.tensor(owner, dtype=torch.long),
        torch.cat(ignored),
    )


def fitted(photograph: Pillow.Image, side: int) -> tuple[Tensor, float]:
    """A photograph at the top left of a grey square, and by what its pixels were multiplied."""
    factor = side / max(photograph.size)
    width, height = (max(1, min(side, round(n * factor))) for n in photograph.size)
    small = numpy.array(photograph.resize((width, height), Pillow.Resampling.BILINEAR))
    canvas = torch.full((3, side, side), 127, dtype=torch.uint8)
    canvas[:, :height, :width] = torch.from_numpy(small).permute(2, 0, 1)
    return canvas, factor
