"""Finding faces in one's own photographs, whose boxes a list tells: WIDER FACE's or RetinaFace's.

Such lists do not say who a face belongs to, so that boxes and landmarks are learned and features are not. Photographs
are shrunk to fit a square, and every tenth or so is held out to judge by, at that very size.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy
import torch
from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor

from framework import Image, Text, UserError
from framework.media import Media
from framework.randomness import generator
from plugins.faces.card import card
from plugins.faces.faces import CLEAR, Count, Faces, SceneData, Weight, above, detection_metrics
from plugins.faces.photographs import (
    Listed,
    read_lines,
    read_photograph,
    read_retinaface,
    read_wider,
)
from plugins.faces.scenes import Scenes
from plugins.faces.showing import marked

SMALLEST = 4.0  # pixels of a face's height once the photograph is shrunk; smaller ones are left out


class FaceDetection(Faces):
    """Find faces in photographs from a list of boxes."""

    headline: ClassVar[str] = "AP50"
    goal: ClassVar[Literal["min", "max"]] = "max"

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
        photographs = read_list(self.list)
        if len(photographs) < 2:
            raise UserError(
                f"task.list = '{list}': {len(photographs)} photographs; expected two or more"
            )
        order = torch.randperm(len(photographs), generator=generator(seed, "held-out photographs"))
        tested = min(len(photographs) - 1, max(1, round(held_out * len(photographs))))
        shuffled = [photographs[k] for k in order.tolist()]
        self.parts = shuffled[tested:], shuffled[:tested]
        super().__init__(
            route="two_stage",
            data=SceneData(side=side, scenes=len(self.parts[0]), people=2),
            loss={"name": "softmax"},
            identity_weight=0.0,
            box_weight=box_weight,
            landmark_weight=landmark_weight,
            batch_size=batch_size,
        )

    @cached_property
    def learned(self) -> Scenes:
        """The photographs to learn from."""
        return scenes_of(self.parts[0], self.folder, self.data.side)

    @cached_property
    def held_out(self) -> Scenes:
        """The photographs to judge by."""
        return scenes_of(self.parts[1], self.folder, self.data.side)

    def tested(self, seed: int) -> Scenes:
        return self.held_out

    @property
    def drawn(self) -> bool:
        return False

    def evaluate(self, seed: int) -> dict[str, float]:
        """Average precision on the held-out photographs."""
        return detection_metrics(self.held_out, self.judge(self.held_out, self.model))

    def show(self, seed: int) -> Iterator[Media]:
        """Held-out photographs with what was found, and the model card."""
        judged = self.judge(self.held_out, self.model)
        found = [above(one, CLEAR) for one in judged.found]
        yield Image("scenes", marked(self.held_out, found))
        numbers = detection_metrics(self.held_out, judged)
        told = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        about = {
            "What it does": "boxes, scores and five landmarks for each face in an image; its features mean nothing",
            "Learned from": f"{len(self.parts[0]):,} photographs of {self.list}",
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
    images, boxes, landmarks, owner, bad = [], [], [], [], 0
    for number, photograph in enumerate(photographs):
        try:
            image, factor = fitted(read_photograph(folder / photograph.file), side)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
            image, factor, bad = torch.full((3, side, side), 127, dtype=torch.uint8), 0.0, bad + 1
        own = photograph.boxes * factor
        kept = ((own[:, 3] - own[:, 1]) >= SMALLEST) & ~photograph.ignored
        images.append(image)
        boxes.append(own[kept])
        landmarks.append(photograph.landmarks[kept] * factor)
        owner += [number] * int(kept.sum())
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
    )


def fitted(photograph: Pillow.Image, side: int) -> tuple[Tensor, float]:
    """A photograph at the top left of a grey square, and by what its pixels were multiplied."""
    factor = side / max(photograph.size)
    width, height = (max(1, min(side, round(n * factor))) for n in photograph.size)
    small = numpy.array(photograph.resize((width, height), Pillow.Resampling.BILINEAR))
    canvas = torch.full((3, side, side), 127, dtype=torch.uint8)
    canvas[:, :height, :width] = torch.from_numpy(small).permute(2, 0, 1)
    return canvas, factor
