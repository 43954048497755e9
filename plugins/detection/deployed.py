"""What an exported file computes: from images of any size a fixed number of detections, suppression included."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.detection.models.anchor_free import (
    NMS_IOU,
    AnchorFree,
    Maps,
    clip_boxes,
    decode_boxes,
    sort_by_score,
)
from plugins.detection.models.detector import Detector
from plugins.detection.models.set_prediction import SetPrediction, pixels
from plugins.detection.models.suppression import survivors

Outputs = tuple[Tensor, Tensor, Tensor]


def deployed(model: Detector, max_detections: int) -> nn.Module | None:
    """The module that is exported for a model; None for another's models, such as torchvision's."""
    if isinstance(model, AnchorFree):
        return DeployedPeaks(model, max_detections)
    return DeployedSet(model, max_detections) if isinstance(model, SetPrediction) else None


class DeployedPeaks(nn.Module):
    """Peaks of heatmaps: boxes `[B, k, 4]`, scores and labels `[B, k]`; what is suppressed has the score 0."""

    def __init__(self, model: AnchorFree, max_detections: int) -> None:
        super().__init__()
        self.model, self.max_detections = model, max_detections
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        found = [best_cells(level, self.max_detections) for level in self.model(images)]
        boxes, scores, labels = (torch.cat(part, 1) for part in zip(*found, strict=True))
        boxes = clip_boxes(boxes, images)
        if self.model.needs_nms:
            boxes, scores, labels = sort_by_score(boxes, scores, labels)
            scores = scores * survivors(boxes, labels, NMS_IOU)
            boxes, scores, labels = sort_by_score(boxes, scores, labels)
        count = self.max_detections
        return boxes[:, :count], scores[:, :count], labels[:, :count]


class DeployedSet(nn.Module):
    """Queries and their classes: boxes `[B, k, 4]`, scores and labels `[B, k]`."""

    def __init__(self, model: SetPrediction, max_detections: int) -> None:
        super().__init__()
        self.model, self.max_detections = model, max_detections
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        logits, boxes = self.model(images)[-1]
        probability = logits.float().softmax(-1)[..., :-1].flatten(1)
        scores, place = probability.topk(min(self.max_detections, probability.shape[1]), 1)
        query = place // self.model.classes
        found = pixels(boxes, images).gather(1, query.unsqueeze(-1).expand(-1, -1, 4))
        return found, scores, place - query * self.model.classes


def best_cells(level: Maps, count: int) -> Outputs:
    """Boxes `[B, count, 4]`, scores and labels `[B, count]` of a level's highest peaks; scores of 0 beyond them."""
    scores = level.logits.sigmoid()
    highest = functional.max_pool2d(scores, 3, 1, 1)
    peaks = torch.where(scores == highest, scores, 0.0).flatten(1)
    # A small image has fewer cells than detections.
    best, index = functional.pad(peaks, [0, count]).topk(count, 1)
    cells = level.logits.shape[-2] * level.logits.shape[-1]
    labels = index // cells
    # Exporters know no remainder by a size that is not fixed.
    cell = (index - labels * cells).unsqueeze(-1).expand(-1, -1, 4)
    boxes = decode_boxes(level.distances, level.stride).gather(1, cell)
    return boxes, best, labels.clamp(max=level.logits.shape[1] - 1)
