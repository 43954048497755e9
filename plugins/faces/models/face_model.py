"""The trained module of the tasks on whole images: the network that finds faces, and its identity loss."""

from __future__ import annotations

import math

import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torchvision.ops import nms

from plugins.detection.boxes import area, overlap
from plugins.faces.data.photographs import as_pixels
from plugins.faces.losses.identity_loss import IdentityLoss
from plugins.faces.models.face_finder import FaceFinder

DISPLAY_THRESHOLD = 0.3
# Pixels of the longer side in which a photograph is looked at, at most.
LARGEST_SIDE = 1600
# Pixels of a face's height up to which it counts at sizes beyond that of the training, and from half of which on at
# half of that.
LARGEST_FACE = 80.0
# The IoU from which on two detections are one face.
SAME_FACE = 0.4
# A box of which this part lies inside one that is twice as large or more is a part of that face, if the larger one's
# score is this part of its own or more.
PART, AS_CERTAIN = 0.8, 0.8


def detector() -> FaceFinder:
    """The network that detects faces in photographs without embedding them, with random weights."""
    return FaceFinder(
        "two_stage", embedding_size=0, widths=(16, 32, 48, 96, 96), blocks=(0, 1, 1, 2, 1)
    )


class FaceModel(nn.Module):
    """`model(images)`, from images to faces, and the identity loss that it is trained with, if any."""

    identity: IdentityLoss | None

    def __init__(self, finder: FaceFinder, identity: IdentityLoss | None = None) -> None:
        super().__init__()
        self.finder, self.identity = finder, identity

    def forward(
        self,
        images: Tensor,
        max_detections: int = 50,
        score_threshold: float = DISPLAY_THRESHOLD,
        mirrored: bool = False,
    ) -> list[dict[str, Tensor]]:
        """See `FaceFinder.forward`."""
        faces: list[dict[str, Tensor]] = self.finder(
            images, max_detections, score_threshold, mirrored
        )
        return faces

    def faces_in(
        self, photograph: Pillow.Image, side: int, mirrored: bool = False
    ) -> dict[str, Tensor]:
        """The faces of an RGB photograph, looked at in several sizes.

        The network knows faces of some sizes only. So the photograph is resized until its longer side has `side`
        pixels, as in training, half as many for faces that fill it, and twice, four times ... as many, up to its own
        size; of each size the faces count that are neither too small nor too large there, and of several detections
        of one face that with the highest score.
        Embeddings are read where it is detected, from the photograph's own pixels as far as the network sees them.

        Args:
            mirrored: see `FaceFinder.forward`.

        Returns:
            as `FaceFinder.forward`, for one image and on the CPU; boxes and landmarks in the photograph's own pixels.
        """
        longest = max(photograph.size)
        sides = [side // 2, side]
        while sides[-1] < min(longest, LARGEST_SIDE):
            sides.append(min(2 * sides[-1], longest, LARGEST_SIDE))
        found = []
        for at in sides:
            smallest = LARGEST_FACE / 2 if at < side else 0.0
            largest = LARGEST_FACE if at > side else math.inf
            found.append(
                within(
                    self.faces_at(photograph, at / longest, mirrored),
                    at / longest,
                    smallest,
                    largest,
                )
            )
        faces = {name: torch.cat([one[name] for one in found]) for name in found[0]}
        order = nms(faces["boxes"], faces["scores"], SAME_FACE)
        faces = {name: value[order] for name, value in faces.items()}
        kept = ~part_of_a_face(faces["boxes"], faces["scores"])
        return {name: value[kept] for name, value in faces.items()}

    def faces_at(
        self, photograph: Pillow.Image, factor: float, mirrored: bool
    ) -> dict[str, Tensor]:
        """The faces at one size, in the photograph's own pixels."""
        width, height = (max(1, round(n * factor)) for n in photograph.size)
        small = as_pixels(photograph.resize((width, height), Pillow.Resampling.BILINEAR))
        device = next(self.parameters()).device
        faces = {
            name: value.cpu()
            for name, value in self(small[None].to(device), mirrored=mirrored)[0].items()
        }
        return faces | {name: faces[name] / factor for name in ("boxes", "landmarks")}


def part_of_a_face(boxes: Tensor, scores: Tensor) -> Tensor:
    """Which boxes `[K, 4]` are no faces but parts of one, such as a nose: inside a larger one about as certain."""
    sizes = area(boxes)
    both, _ = overlap(boxes[:, None], boxes)
    inside = (both > PART * sizes[:, None]) & (sizes[:, None] < 0.5 * sizes)
    return (inside & (scores >= AS_CERTAIN * scores[:, None])).any(1)


def within(
    faces: dict[str, Tensor], factor: float, smallest: float, largest: float
) -> dict[str, Tensor]:
    """Those faces whose height at this size of the photograph, in pixels, lies between the two."""
    heights = (faces["boxes"][:, 3] - faces["boxes"][:, 1]) * factor
    kept = (heights >= smallest) & (heights <= largest)
    return {name: value[kept] for name, value in faces.items()}
