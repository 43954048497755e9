"""Objects as points: a heatmap of centres for each class, and at each place the distances to the box's four sides.

A pyramid of convolutions ends in one map, or several in larger models; a place of stride s with outputs o tells the box

    (x - l, y - t, x + r, y + b),   l, t, r, b = s (exp(o) - 1/2)

so that a box smaller than a cell can be told from any cell that holds its centre. Peaks of the heatmap are the
detections; on one map nothing has to be suppressed. (CenterNet: Zhou et al. 2019; boxes learned around the centre with
Gaussian weights: TTFNet, Liu et al. 2020; one level for each size: FCOS, Tian et al. 2019.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from plugins.detection.models.assignment import cell_centres, heat_targets, level_of
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.models.losses import box_loss, peak_focal
from plugins.detection.sample import Batch, Detections

RARE = 0.01  # the score that everything has at the beginning
SAME_OBJECT = 0.65  # of two boxes of different levels that agree more, the better one stays
Agreement = Literal["iou", "giou", "diou", "ciou"]
Weight = Annotated[float, Field(gt=0)]


class Maps(NamedTuple):
    """What the network says at each place of one level: scores as logits `[B, C, H, W]`, distances `[B, 4, H, W]`."""

    logits: Tensor
    distances: Tensor
    stride: int


def convolution(inputs: int, outputs: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution with batch normalisation."""
    layers = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *[nn.ReLU(inplace=True)] * relu)


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(width, width), convolution(width, width, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.layers(x))


class Pyramid(nn.Module):
    """Images to maps of strides 8, 16, ..., each of `neck` channels and aware of the coarser ones."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], neck: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for inputs, width, count in zip([3, *widths], widths, blocks, strict=False):
            layers = [convolution(inputs, width, 2), *(Block(width) for _ in range(count))]
            self.stages.append(nn.Sequential(*layers))
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[2:])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of images `[B, 3, H, W]` with values from 0 to 255, the finest first."""
        x = (images.float() - 127.5) / 64
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
        levels: how many maps, from stride 8 on, tell objects; an object is told by the map that suits its size.
        neck, head: channels of the pyramid's maps and inside the head.
        agreement: what the boxes are to be best at.
        box_weight: of the boxes' loss beside the heatmap's.
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
        agreement: Agreement = "giou",
        box_weight: float = 5.0,
    ) -> None:
        super().__init__(classes)
        self.multiple = 2 ** len(widths)
        self.strides = tuple(8 * 2**level for level in range(levels))
        self.repeats = levels > 1  # whether an object may be found twice: as a peak on two levels
        self.agreement, self.box_weight = agreement, box_weight
        self.pyramid = Pyramid(widths, blocks, neck)
        self.head = convolution(neck, head)
        self.score = nn.Conv2d(head, classes, 1)
        self.distance = nn.Conv2d(head, 4, 1)
        for layer, bias in (
            (self.score, math.log(RARE / (1 - RARE))),
            (self.distance, math.log(2.5)),
        ):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(torch.full((layer.out_channels,), bias))
        self.to(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> list[Tensor]:
        """The pyramid's maps `[B, neck, H / s, W / s]` for each stride of `strides`."""
        return self.pyramid(images)[: len(self.strides)]  # type: ignore[no-any-return]

    def maps(self, features: Sequence[Tensor]) -> list[Maps]:
        """What the head says of features."""
        found = []
        for feature, stride in zip(features, self.strides, strict=True):
            x = self.head(feature)
            distances = stride * (self.distance(x).float().clamp(max=6).exp() - 0.5)
            found.append(Maps(self.score(x).float(), distances, stride))
        return found

    def forward(self, images: Tensor) -> list[Maps]:
        """Scores and distances at every place, the finest level first."""
        return self.maps(self.features(images))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return self.losses_of(self(batch.images), batch)

    def losses_of(self, maps: Sequence[Maps], batch: Batch) -> dict[str, Tensor]:
        """The heatmap's and the boxes' loss of each image, `[B]` each, from what the network said."""
        level = level_of(batch.boxes, self.strides)
        centre = maps[0].logits.new_zeros(len(batch.images))
        box = centre.clone()
        for number, (logits, distances, stride) in enumerate(maps):
            mine = level == number
            owner, true = batch.owner[mine], batch.boxes[mine]
            shape = (logits.shape[0], logits.shape[1], logits.shape[2], logits.shape[3])
            target = heat_targets(true, batch.labels[mine], owner, shape, stride)
            centre = centre + peak_focal(logits, target.heat).flatten(1).sum(1)
            found = told(distances, stride)[owner[target.object], target.cell]
            wrong = box_loss(self.agreement, found, true[target.object]) * target.weight
            box = box.index_add(0, owner[target.object], wrong)
        return {
            "centre": centre / self.usual_objects,
            "box": self.box_weight * box / self.usual_objects,
        }

    def detect(self, images: Tensor, most: int = 100, floor: float = 0.0) -> list[Detections]:
        boxes, scores, labels = self.peaks(self(images), most)
        found = [
            Detections(*one) for one in zip(cut_off(boxes, images), scores, labels, strict=True)
        ]
        kept = [self.distinct(one)[:most] for one in found]
        return [
            Detections(*(part[keep] for part in one)).above(floor)
            for one, keep in zip(found, kept, strict=True)
        ]

    def candidates(self, images: Tensor, most: int) -> Candidates:
        """The likeliest places; a repeat, which no user sees, has the score 0 and comes last."""
        boxes, scores, labels = self.peaks(self(images), most)
        if self.repeats:
            seen = torch.zeros_like(scores)
            for *one, mask in zip(cut_off(boxes, images), scores, labels, seen, strict=True):
                mask[self.distinct(Detections(*one))] = 1
            boxes, scores, labels = in_order(boxes, scores * seen, labels)
        return Candidates(boxes[:, :most], scores[:, :most], labels[:, :most])

    def peaks(self, maps: Sequence[Maps], most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes `[B, k, 4]`, scores and labels `[B, k]` of the highest places among their 3x3 neighbours."""
        found = [peaks_of(level, most) for level in maps]
        boxes, scores, labels = (torch.cat(part, 1) for part in zip(*found, strict=True))
        return in_order(boxes, scores, labels) if len(maps) > 1 else (boxes, scores, labels)

    def distinct(self, found: Detections) -> Tensor:
        """Which of an image's peaks stay, best first: of those that tell the same object only the best."""
        if not self.repeats:
            return torch.arange(len(found.scores), device=found.scores.device)
        boxes, scores = found.boxes.detach(), found.scores.detach()
        return batched_nms(boxes, scores, found.labels, SAME_OBJECT)  # type: ignore[no-any-return]


def in_order(boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes `[B, k, 4]`, scores and labels `[B, k]`, best first."""
    scores, order = scores.topk(scores.shape[1], 1)  # ONNX knows no stable sort
    return boxes.gather(1, order.unsqueeze(-1).expand_as(boxes)), scores, labels.gather(1, order)


def cut_off(boxes: Tensor, images: Tensor) -> Tensor:
    """Boxes `[..., 4]` cut off at the edges of images `[B, 3, H, W]`."""
    height, width = images.shape[-2:]
    edge = torch.tensor([width, height] * 2, dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), edge)


def told(distances: Tensor, stride: int) -> Tensor:
    """The boxes `[B, H * W, 4]` that distances `[B, 4, H, W]` tell."""
    height, width = distances.shape[-2:]
    centres = cell_centres(height, width, stride, distances.device)
    left_top, right_bottom = distances.flatten(2).mT.chunk(2, -1)
    return torch.cat([centres - left_top, centres + right_bottom], -1)


def peaks_of(level: Maps, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of one level's highest places."""
    scores = level.logits.sigmoid()
    highest = functional.max_pool2d(scores, 3, 1, 1)
    peaks = torch.where(scores == highest, scores, 0.0).flatten(1)  # [B, C H W]
    best, place = peaks.topk(min(most, peaks.shape[1]), 1)
    cells = level.logits.shape[-2] * level.logits.shape[-1]
    boxes = told(level.distances, level.stride)
    cell = (place % cells).unsqueeze(-1).expand(-1, -1, 4)
    return boxes.gather(1, cell), best, place // cells


def nano(classes: int, *, agreement: Agreement = "giou", box_weight: Weight = 5.0) -> AnchorFree:
    """0.4 M parameters, one map of stride 8: learns from random weights on a CPU in minutes."""
    widths, blocks = (16, 32, 48, 64, 64), (0, 1, 2, 1, 1)
    return AnchorFree(
        classes, widths, blocks, 1, 48, 64, agreement=agreement, box_weight=box_weight
    )


def tiny(classes: int, *, agreement: Agreement = "giou", box_weight: Weight = 5.0) -> AnchorFree:
    """2.6 M parameters, maps of stride 8 and 16."""
    widths, blocks = (24, 48, 96, 160, 192), (0, 1, 2, 2, 1)
    return AnchorFree(
        classes, widths, blocks, 2, 96, 128, agreement=agreement, box_weight=box_weight
    )


def small(classes: int, *, agreement: Agreement = "giou", box_weight: Weight = 5.0) -> AnchorFree:
    """8.9 M parameters, maps of stride 8, 16 and 32."""
    widths, blocks = (32, 64, 128, 256, 384), (1, 2, 3, 3, 1)
    return AnchorFree(
        classes, widths, blocks, 3, 160, 192, agreement=agreement, box_weight=box_weight
    )
