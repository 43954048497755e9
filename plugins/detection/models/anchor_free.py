"""Objects as points: a heatmap of centres for each class, and in each cell the distances to the box's four sides.

A feature pyramid ends in one map, or several in larger models; a cell of stride s with outputs o predicts the box

    (x - l, y - t, x + r, y + b),   l, t, r, b = s (exp(o) - 1/2)

so that a box smaller than a cell can be predicted by any cell that contains its centre. Peaks of the heatmap are the
detections; one map needs no non-maximum suppression. (CenterNet: Zhou et al. 2019; boxes learned around the centre with
Gaussian weights: TTFNet, Liu et al. 2020; one level for each size: FCOS, Tian et al. 2019.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from framework.config.types import Positive
from plugins.detection.models.assignment import cell_centres, heat_targets, level_of
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.models.losses import box_loss, peak_focal
from plugins.detection.sample import Batch, Detections

# The score of every cell before training (Lin et al. 2017).
PRIOR_PROBABILITY = 0.01
# Of two boxes of a class with a higher IoU the better one stays.
NMS_IOU = 0.65
IouType = Literal["iou", "giou", "diou", "ciou"]


class Maps(NamedTuple):
    """The outputs of one level: scores as logits `[B, C, H, W]`, distances in pixels `[B, 4, H, W]`, and its stride."""

    logits: Tensor
    distances: Tensor
    stride: int


def convolution(inputs: int, outputs: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution with batch normalisation."""
    layers = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *[nn.ReLU(inplace=True)] * relu)


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(width, width), convolution(width, width, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.layers(x))


class Pyramid(nn.Module):
    """A feature pyramid: images to maps of strides 8, 16, ..., each of `neck` channels (Lin et al. 2017)."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], neck: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for inputs, width, count in zip([3, *widths], widths, blocks, strict=False):
            layers = [convolution(inputs, width, 2), *(Block(width) for _ in range(count))]
            self.stages.append(nn.Sequential(*layers))
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[2:])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps `[B, neck, H / s, W / s]` of images `[B, 3, H, W]` with values from 0 to 255, the finest first."""
        x = (images.float() - 127.5) / 64
        if not torch.compiler.is_exporting():
            x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number >= 2:
                maps.append(self.lateral[number - 2](x))
        for fine in reversed(range(len(maps) - 1)):
            above = functional.interpolate(maps[fine + 1], scale_factor=2.0, mode="nearest")
            maps[fine] = maps[fine] + above
        return maps


class AnchorFree(Detector):
    """A pyramid and one head for all its levels.

    Args:
        widths, blocks: channels and residual blocks of the stages of stride 2, 4, 8, ...
        levels: how many maps, from stride 8 on, predict objects; each object belongs to the map that suits its size.
        neck, head: channels of the pyramid's maps and inside the head.
        iou_type: the measure that the boxes' loss is 1 minus of.
        box_weight: weight of the boxes' loss; the heatmap's is 1.
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
        iou_type: IouType = "giou",
        box_weight: float = 5.0,
    ) -> None:
        super().__init__(classes)
        self.size_divisor = 2 ** len(widths)
        self.strides = tuple(8 * 2**level for level in range(levels))
        # An object may be a peak on two levels.
        self.needs_nms = levels > 1
        self.iou_type, self.box_weight = iou_type, box_weight
        self.pyramid: nn.Module = Pyramid(widths, blocks, neck)
        self.head = convolution(neck, head)
        self.score = nn.Conv2d(head, classes, 1)
        self.distance = nn.Conv2d(head, 4, 1)
        for layer, bias in (
            (self.score, math.log(PRIOR_PROBABILITY / (1 - PRIOR_PROBABILITY))),
            (self.distance, math.log(2.5)),
        ):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(torch.full((layer.out_channels,), bias))
        self.to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> list[Tensor]:
        """The pyramid's maps `[B, neck, H / s, W / s]` for each stride of `strides`."""
        return self.pyramid(images)[: len(self.strides)]  # type: ignore[no-any-return]

    def maps(self, features: Sequence[Tensor]) -> list[Maps]:
        """The head's outputs for a pyramid's features."""
        found = []
        for feature, stride in zip(features, self.strides, strict=True):
            x = self.head(feature)
            distances = stride * (self.distance(x).float().clamp(max=6).exp() - 0.5)
            found.append(Maps(self.score(x).float(), distances, stride))
        return found

    def forward(self, images: Tensor) -> list[Maps]:
        """Scores and distances in every cell, the finest level first."""
        return self.maps(self.features(images))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return self.losses_of(self(batch.images), batch)

    def losses_of(self, maps: Sequence[Maps], batch: Batch) -> dict[str, Tensor]:
        """The heatmap's and the boxes' loss of each image, `[B]` each, from the network's outputs."""
        level = level_of(batch.boxes, self.strides)
        heatmap = maps[0].logits.new_zeros(len(batch.images))
        box = heatmap.clone()
        for number, (logits, distances, stride) in enumerate(maps):
            of_level = level == number
            image_index, true = batch.image_index[of_level], batch.boxes[of_level]
            shape = (logits.shape[0], logits.shape[1], logits.shape[2], logits.shape[3])
            target = heat_targets(true, batch.labels[of_level], image_index, shape, stride)
            heatmap = heatmap + peak_focal(logits, target.heat).flatten(1).sum(1)
            found = decode_boxes(distances, stride)[image_index[target.object], target.cell]
            wrong = box_loss(self.iou_type, found, true[target.object]) * target.weight
            box = box.index_add(0, image_index[target.object], wrong)
        return {
            "heatmap": heatmap / self.mean_objects_per_image,
            "box": self.box_weight * box / self.mean_objects_per_image,
        }

    def detect(
        self, images: Tensor, max_detections: int = 100, score_threshold: float = 0.0
    ) -> list[Detections]:
        boxes, scores, labels = self.peaks(self(images), max_detections)
        found = [
            Detections(*one) for one in zip(clip_boxes(boxes, images), scores, labels, strict=True)
        ]
        kept = [one.chosen(self.nms(one)[:max_detections]) for one in found]
        return [one.above(score_threshold) for one in kept]

    def candidates(self, images: Tensor, count: int) -> Candidates:
        """The highest peaks; one that non-maximum suppression removes has the score 0 and comes last."""
        boxes, scores, labels = self.peaks(self(images), count)
        if self.needs_nms:
            seen = torch.zeros_like(scores)
            for *one, mask in zip(clip_boxes(boxes, images), scores, labels, seen, strict=True):
                mask[self.nms(Detections(*one))] = 1
            boxes, scores, labels = sort_by_score(boxes, scores * seen, labels)
        return Candidates(boxes[:, :count], scores[:, :count], labels[:, :count])

    def peaks(self, maps: Sequence[Maps], count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes `[B, k, 4]`, scores and labels `[B, k]` of the up to `count` highest 3x3 peaks of each level."""
        found = [peaks_of(level, count) for level in maps]
        boxes, scores, labels = (torch.cat(part, 1) for part in zip(*found, strict=True))
        return sort_by_score(boxes, scores, labels) if len(maps) > 1 else (boxes, scores, labels)

    def nms(self, found: Detections) -> Tensor:
        """The indices of an image's peaks that stay after non-maximum suppression, best first."""
        if not self.needs_nms:
            return torch.arange(len(found.scores), device=found.scores.device)
        boxes, scores = found.boxes.detach(), found.scores.detach()
        return batched_nms(boxes, scores, found.labels, NMS_IOU)  # type: ignore[no-any-return]


def sort_by_score(boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes `[B, k, 4]`, scores and labels `[B, k]`, best first."""
    # ONNX has no stable sort.
    scores, order = scores.topk(scores.shape[1], 1)
    return boxes.gather(1, order.unsqueeze(-1).expand_as(boxes)), scores, labels.gather(1, order)


def clip_boxes(boxes: Tensor, images: Tensor) -> Tensor:
    """Boxes `[..., 4]` clipped to images `[B, 3, H, W]`."""
    height, width = images.shape[-2:]
    edge = torch.tensor([width, height] * 2, dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), edge)


def decode_boxes(distances: Tensor, stride: int) -> Tensor:
    """Boxes `[B, H * W, 4]` from distances `[B, 4, H, W]` of left, top, right and bottom to the cell's centre."""
    height, width = distances.shape[-2:]
    centres = cell_centres(height, width, stride, distances.device)
    left_top, right_bottom = distances.flatten(2).mT.chunk(2, -1)
    return torch.cat([centres - left_top, centres + right_bottom], -1)


def peaks_of(level: Maps, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes `[B, k, 4]`, scores and labels `[B, k]` of one level's highest peaks."""
    scores = level.logits.sigmoid()
    highest = functional.max_pool2d(scores, 3, 1, 1)
    # [B, C H W]
    peaks = torch.where(scores == highest, scores, 0.0).flatten(1)
    best, index = peaks.topk(min(count, peaks.shape[1]), 1)
    cells = level.logits.shape[-2] * level.logits.shape[-1]
    boxes = decode_boxes(level.distances, level.stride)
    cell = (index % cells).unsqueeze(-1).expand(-1, -1, 4)
    return boxes.gather(1, cell), best, index // cells


def nano(classes: int, *, iou_type: IouType = "giou", box_weight: Positive = 5.0) -> AnchorFree:
    """0.4 M parameters, one map of stride 8: learns from random weights on a CPU in minutes."""
    widths, blocks = (16, 32, 48, 64, 64), (0, 1, 2, 1, 1)
    return AnchorFree(classes, widths, blocks, 1, 48, 64, iou_type=iou_type, box_weight=box_weight)


def tiny(classes: int, *, iou_type: IouType = "giou", box_weight: Positive = 5.0) -> AnchorFree:
    """2.6 M parameters, maps of stride 8 and 16."""
    widths, blocks = (24, 48, 96, 160, 192), (0, 1, 2, 2, 1)
    return AnchorFree(classes, widths, blocks, 2, 96, 128, iou_type=iou_type, box_weight=box_weight)


def small(classes: int, *, iou_type: IouType = "giou", box_weight: Positive = 5.0) -> AnchorFree:
    """8.9 M parameters, maps of stride 8, 16 and 32."""
    widths, blocks = (32, 64, 128, 256, 384), (1, 2, 3, 3, 1)
    return AnchorFree(
        classes, widths, blocks, 3, 160, 192, iou_type=iou_type, box_weight=box_weight
    )
