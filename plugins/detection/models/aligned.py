"""Anchor-free with task-aligned assignment: the cells that already predict an object best learn it.

The pyramid and the head of `anchor_free`, and

    assignment   the cells inside an object with the largest score * IoU^6 learn it          (Feng et al. 2021)
    scores       learn the IoU of their boxes: quality focal loss                            (Li et al. 2020)
    distances    each of the four is the mean of a distribution over 0, 1, ..., `reg_max` cells, also trained by
                 distribution focal loss: it stays wide where a side is hard to see          (Li et al. 2020)

Neighbouring cells predict the same object, so non-maximum suppression is needed. An object too small to contain any
cell's centre is not learned: `nano` and its family detect such objects better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from framework.config.types import Count, Positive
from plugins.detection.models.anchor_free import AnchorFree, IouType, Maps
from plugins.detection.models.assignment import cell_centres, task_aligned
from plugins.detection.models.losses import (
    box_loss,
    distribution_focal,
    expected_distance,
    quality_focal,
)
from plugins.detection.sample import Batch

RegMax = Annotated[int, Field(ge=4, le=64)]


class Aligned(AnchorFree):
    """Scores that are qualities, distances that are distributions.

    Args:
        widths, blocks, levels, neck, head: as in `AnchorFree`.
        reg_max: the largest distance that can be predicted, in cells.
        top_k: how many cells learn an object.
        iou_type, box_weight, distance_weight: the boxes' loss, its weight, and that of distribution focal loss.
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
        reg_max: int = 16,
        top_k: int = 10,
        iou_type: IouType = "giou",
        box_weight: float = 5.0,
        distance_weight: float = 1.0,
    ) -> None:
        super().__init__(
            classes, widths, blocks, levels, neck, head, iou_type=iou_type, box_weight=box_weight
        )
        # Neighbouring cells predict the same object.
        self.needs_nms = True
        self.reg_max, self.top_k, self.distance_weight = reg_max, top_k, distance_weight
        self.distance = nn.Conv2d(head, 4 * (reg_max + 1), 1)
        nn.init.normal_(self.distance.weight, std=0.01)
        # Distances of about one and a half cells at first.
        falling = -torch.arange(reg_max + 1.0) / 2
        self.distance.bias = nn.Parameter(falling.repeat(4))

    def maps(self, features: Sequence[Tensor]) -> list[Maps]:
        found = []
        for feature, stride in zip(features, self.strides, strict=True):
            logits, sides = self.raw_outputs(feature)
            distances = stride * expected_distance(sides).permute(0, 3, 1, 2)
            found.append(Maps(logits, distances, stride))
        return found

    def raw_outputs(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `[B, C, H, W]` and distributions `[B, H, W, 4, reg_max + 1]` of one level, as logits."""
        x = self.head(feature)
        sides = self.distance(x).float().unflatten(1, (4, -1)).permute(0, 3, 4, 1, 2)
        return self.score(x).float(), sides

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        parts, points, strides = [], [], []
        for feature, stride in zip(self.features(batch.images), self.strides, strict=True):
            logits, sides = self.raw_outputs(feature)
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
        columns = (
            torch.stack(term) / self.mean_objects_per_image for term in zip(*terms, strict=True)
        )
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
        """The three losses of one image, scalars; the weights of an object's cells sum to 1.

        Args:
            logits: `[P, C]`, sides: `[P, 4, reg_max + 1]`, found: `[P, 4]`, outputs, and decoded boxes, of P cells.
            point: `[P, 2]`, the cells' centres, stride: `[P, 1]`, of their levels.
            boxes: `[n, 4]`, labels: `[n]`, the targets.
        """
        assigned, target_score = task_aligned(
            logits.detach().sigmoid(), found.detach(), point, boxes, labels, top_k=self.top_k
        )
        quality = torch.zeros_like(logits)
        taken = (assigned >= 0).nonzero().squeeze(1)
        mine = assigned[taken]
        quality[taken, labels[mine]] = target_score[taken]
        # A cell whose box is still far off learns a little, too.
        weight = target_score[taken] + 1e-3
        weight = weight / weight.new_zeros(len(boxes)).index_add(0, mine, weight)[mine]
        true = boxes[mine]
        right = torch.cat([point[taken] - true[:, :2], true[:, 2:] - point[taken]], -1)
        vague = distribution_focal(sides[taken], right / stride[taken]).mean(-1)
        wrong = box_loss(self.iou_type, found[taken], true)
        return (
            quality_focal(logits, quality).sum(),
            self.box_weight * (weight * wrong).sum(),
            self.distance_weight * (weight * vague).sum(),
        )


def aligned_nano(
    classes: int,
    *,
    reg_max: RegMax = 16,
    top_k: Count = 10,
    iou_type: IouType = "giou",
    box_weight: Positive = 5.0,
    distance_weight: Positive = 1.0,
) -> Aligned:
    """0.4 M parameters, one map of stride 8: boxes of up to 256 pixels."""
    return Aligned(
        classes,
        (16, 32, 48, 64, 64),
        (0, 0, 1, 2, 1),
        levels=1,
        neck=48,
        head=64,
        reg_max=reg_max,
        top_k=top_k,
        iou_type=iou_type,
        box_weight=box_weight,
        distance_weight=distance_weight,
    )


def aligned_tiny(
    classes: int,
    *,
    reg_max: RegMax = 16,
    top_k: Count = 10,
    iou_type: IouType = "giou",
    box_weight: Positive = 5.0,
    distance_weight: Positive = 1.0,
) -> Aligned:
    """2.6 M parameters, maps of stride 8 and 16: boxes of up to 512 pixels."""
    return Aligned(
        classes,
        (24, 48, 96, 160, 192),
        (0, 1, 2, 2, 1),
        levels=2,
        neck=96,
        head=128,
        reg_max=reg_max,
        top_k=top_k,
        iou_type=iou_type,
        box_weight=box_weight,
        distance_weight=distance_weight,
    )
