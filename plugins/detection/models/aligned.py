"""Anchor-free with learned assignment: the places that already tell an object best are the ones that learn it.

The pyramid and the head of `anchor_free`, and

    assignment   the places inside an object with the largest score * IoU^6 learn it         (Feng et al. 2021)
    scores       learn the IoU that their boxes reach: quality focal loss                    (Li et al. 2020)
    distances    each of the four is a distribution over 0, 1, ..., `reach` cells, told by its mean and learned also by
                 distribution focal loss: sides that are hard to see may be told vaguely     (Li et al. 2020)

Neighbouring places tell the same object, so overlapping boxes are suppressed. An object so small that no cell has its
centre inside it is not learned: `nano` and its family are better at such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from plugins.detection.models.anchor_free import Agreement, AnchorFree, Maps, Weight
from plugins.detection.models.assignment import cell_centres, task_aligned
from plugins.detection.models.losses import (
    box_loss,
    distribution_focal,
    expected_distance,
    quality_focal,
)
from plugins.detection.sample import Batch

Reach = Annotated[int, Field(ge=4, le=64)]
Places = Annotated[int, Field(ge=1)]


class Aligned(AnchorFree):
    """Scores that are qualities, distances that are distributions.

    Args:
        widths, blocks, levels, neck, head: as in `AnchorFree`.
        reach: the largest distance that can be told, in cells.
        places: how many places learn an object.
        agreement, box_weight, distance_weight: the boxes' loss and the weights of it and of the distributions'.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        levels: int,
        neck: int,
        head: int,
        *,
        reach: int = 16,
        places: int = 10,
        agreement: Agreement = "giou",
        box_weight: float = 5.0,
        distance_weight: float = 1.0,
    ) -> None:
        super().__init__(
            classes, widths, blocks, levels, neck, head, agreement=agreement, box_weight=box_weight
        )
        self.repeats = True  # neighbouring places tell the same object
        self.reach, self.places, self.distance_weight = reach, places, distance_weight
        self.distance = nn.Conv2d(head, 4 * (reach + 1), 1)
        nn.init.normal_(self.distance.weight, std=0.01)
        falling = -torch.arange(reach + 1.0) / 2  # a mean of about one and a half cells at first
        self.distance.bias = nn.Parameter(falling.repeat(4))

    def maps(self, features: Sequence[Tensor]) -> list[Maps]:
        found = []
        for feature, stride in zip(features, self.strides, strict=True):
            logits, sides = self.told_of(feature)
            distances = stride * expected_distance(sides).permute(0, 3, 1, 2)
            found.append(Maps(logits, distances, stride))
        return found

    def told_of(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `[B, C, H, W]` and distributions `[B, H, W, 4, reach + 1]` of one level, as logits."""
        x = self.head(feature)
        sides = self.distance(x).float().unflatten(1, (4, -1)).permute(0, 3, 4, 1, 2)
        return self.score(x).float(), sides

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        parts, points, strides = [], [], []
        for feature, stride in zip(self.features(batch.images), self.strides, strict=True):
            logits, sides = self.told_of(feature)
            parts.append((logits.flatten(2).mT, sides.flatten(1, 2)))
            points.append(cell_centres(logits.shape[2], logits.shape[3], stride, logits.device))
            strides.append(points[-1].new_full((len(points[-1]), 1), stride))
        logits, sides = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        point, stride_of = torch.cat(points), torch.cat(strides)
        distance = expected_distance(sides) * stride_of
        found = torch.cat([point - distance[..., :2], point + distance[..., 2:]], -1)
        terms = [
            self.image_losses(logits[i], sides[i], found[i], point, stride_of, *batch.objects_of(i))
            for i in range(len(logits))
        ]
        names = ("quality", "box", "distance")
        columns = (torch.stack(term) / self.usual_objects for term in zip(*terms, strict=True))
        return dict(zip(names, columns, strict=True))

    def image_losses(
        self,
        logits: Tensor,
        sides: Tensor,
        found: Tensor,
        point: Tensor,
        stride: Tensor,
        boxes: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The three losses of one image, scalars; an object's places have weights that sum to 1.

        Args:
            logits: `[P, C]`, sides: `[P, 4, reach + 1]`, found: `[P, 4]`, of its places point: `[P, 2]`.
            stride: `[P, 1]`.
            boxes: `[n, 4]`, labels: `[n]`.
        """
        thing, wanted = task_aligned(
            logits.detach().sigmoid(), found.detach(), point, boxes, labels, most=self.places
        )
        quality = torch.zeros_like(logits)
        taken = (thing >= 0).nonzero().squeeze(1)
        mine = thing[taken]
        quality[taken, labels[mine]] = wanted[taken]
        weight = wanted[taken] + 1e-3  # a place that is still far off learns a little
        weight = weight / weight.new_zeros(len(boxes)).index_add(0, mine, weight)[mine]
        true = boxes[mine]
        right = torch.cat([point[taken] - true[:, :2], true[:, 2:] - point[taken]], -1)
        vague = distribution_focal(sides[taken], right / stride[taken]).mean(-1)
        wrong = box_loss(self.agreement, found[taken], true)
        return (
            quality_focal(logits, quality).sum(),
            self.box_weight * (weight * wrong).sum(),
            self.distance_weight * (weight * vague).sum(),
        )


def aligned_nano(
    classes: int,
    *,
    reach: Reach = 16,
    places: Places = 10,
    agreement: Agreement = "giou",
    box_weight: Weight = 5.0,
    distance_weight: Weight = 1.0,
) -> Aligned:
    """0.4 M parameters, one map of stride 8: boxes of up to 256 pixels."""
    return Aligned(
        classes,
        (16, 32, 48, 64, 64),
        (0, 0, 1, 2, 1),
        levels=1,
        neck=48,
        head=64,
        reach=reach,
        places=places,
        agreement=agreement,
        box_weight=box_weight,
        distance_weight=distance_weight,
    )


def aligned_tiny(
    classes: int,
    *,
    reach: Reach = 16,
    places: Places = 10,
    agreement: Agreement = "giou",
    box_weight: Weight = 5.0,
    distance_weight: Weight = 1.0,
) -> Aligned:
    """2.6 M parameters, maps of stride 8 and 16: boxes of up to 512 pixels."""
    return Aligned(
        classes,
        (24, 48, 96, 160, 192),
        (0, 1, 2, 2, 1),
        levels=2,
        neck=96,
        head=128,
        reach=reach,
        places=places,
        agreement=agreement,
        box_weight=box_weight,
        distance_weight=distance_weight,
    )
