"""A photograph looked at in several sizes, and what they say together: a network knows faces of some sizes only."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import nms

from plugins.detection.boxes import area, overlap, pairwise_iou

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
# Pixels of a face's height from and to which a size should show it, and its score where it does not.
VISIBLE, UNSEEN = (16.0, 85.0), 0.05


class Look(NamedTuple):
    """The faces, boxes in the photograph's own pixels, that were detected in it at `factor` times its size."""

    factor: float
    faces: dict[str, Tensor]

    @property
    def heights(self) -> Tensor:
        """The faces' heights `[K]` in pixels at this size."""
        boxes = self.faces["boxes"]
        return (boxes[:, 3] - boxes[:, 1]) * self.factor


def sides_of(longest: int, side: int) -> list[int]:
    """The lengths of the longer side at which a photograph is looked at: `side`, as in training, half, twice, ..."""
    sides = [side // 2, side]
    while sides[-1] < min(longest, LARGEST_SIDE):
        sides.append(min(2 * sides[-1], longest, LARGEST_SIDE))
    return sides


def together(looks: list[Look], usual: float) -> dict[str, Tensor]:
    """The faces of all looks, best first: of each look those of the sizes that count there, each face once.

    Args:
        usual: the factor at which a photograph has the size of the training's scenes.
    """
    found = []
    for look in looks:
        smallest = LARGEST_FACE / 2 if look.factor < usual else 0.0
        largest = LARGEST_FACE if look.factor > usual else math.inf
        kept = (look.heights >= smallest) & (look.heights <= largest)
        found.append({name: value[kept] for name, value in look.faces.items()})
    faces = {name: torch.cat([one[name] for one in found]) for name in found[0]}
    order = nms(faces["boxes"], faces["scores"], SAME_FACE)
    faces = {name: value[order] for name, value in faces.items()}
    return chosen(faces, ~part_of_a_face(faces["boxes"], faces["scores"]))


def part_of_a_face(boxes: Tensor, scores: Tensor) -> Tensor:
    """Which boxes `[K, 4]` are no faces but parts of one, such as a nose: inside a larger one about as certain."""
    sizes = area(boxes)
    both, _ = overlap(boxes[:, None], boxes)
    inside = (both > PART * sizes[:, None]) & (sizes[:, None] < 0.5 * sizes)
    return (inside & (scores >= AS_CERTAIN * scores[:, None])).any(1)


def agreed(faces: dict[str, Tensor], looks: list[Look], least: float) -> dict[str, Tensor]:
    """The faces with the mean of their scores over all looks that should show them, from the score `least` on.

    What looks like a face at one size alone, a knot or a letter, is less certain than what does at two.
    """
    boxes, scores = faces["boxes"], faces["scores"]
    heights = boxes[:, 3] - boxes[:, 1]
    total, count = torch.zeros_like(scores), torch.zeros_like(scores)
    for look in looks:
        seen = torch.full_like(scores, UNSEEN)
        if len(look.faces["boxes"]) and len(boxes):
            same = pairwise_iou(boxes, look.faces["boxes"]) >= SAME_FACE
            seen = torch.where(same, look.faces["scores"], UNSEEN).amax(1)
        visible = (heights * look.factor >= VISIBLE[0]) & (heights * look.factor <= VISIBLE[1])
        total, count = total + visible * seen, count + visible
    means = torch.where(count > 0, total / count.clamp(min=1), scores)
    order = means.argsort(descending=True, stable=True)
    ranked = {name: value[order] for name, value in (faces | {"scores": means}).items()}
    return chosen(ranked, ranked["scores"] >= least)


def chosen(faces: dict[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    return {name: value[kept] for name, value in faces.items()}
