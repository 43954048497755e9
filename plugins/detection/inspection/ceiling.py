"""The average precision that a perfect model would reach: with this input size, family and cap on detections.

It detects every object that the model can represent, exactly, with score 1. It cannot detect the second of two objects
of a class in neighbouring cells, what suppression removes, what an image has beyond the cap, and, where the model needs
one, objects that contain no cell's centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from plugins.detection.evaluation.metrics import precision
from plugins.detection.models.aligned import Aligned
from plugins.detection.models.anchor_free import NMS_IOU, AnchorFree
from plugins.detection.models.assignment import level_of
from plugins.detection.models.detector import Detector
from plugins.detection.models.suppression import survivors
from plugins.detection.sample import Detections, Sample, scaled


def perfect(sample: Sample, model: Detector, max_detections: int) -> Detections:
    """What a perfect model of this family detects in a sample of the model's size, in the original's pixels."""
    chosen = sample.chosen(~sample.crowd)
    keep = representable(chosen.boxes, chosen.labels, model)
    limit = min(max_detections, model.max_objects or max_detections)
    # The largest first: a cap costs small objects, which are hard to find.
    kept = chosen.chosen(keep)
    order = (-kept.area).argsort(stable=True)[:limit]
    boxes = scaled(kept.boxes[order], sample.scale)
    return Detections(boxes, torch.ones(len(order)), kept.labels[order])


def representable(boxes: Tensor, labels: Tensor, model: Detector) -> Tensor:
    """Which objects `[n, 4]`, in the model's pixels, its family can detect together: `[n]`."""
    keep = torch.ones(len(boxes), dtype=torch.bool)
    if not isinstance(model, AnchorFree) or not len(boxes):
        return keep
    strides = torch.tensor(model.strides)[level_of(boxes, model.strides)]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = (centres / strides.unsqueeze(1)).floor()
    if isinstance(model, Aligned):
        inside = ((cells + 0.5) * strides.unsqueeze(1) - boxes[:, :2] > 0).all(1)
        keep &= inside & ((cells + 0.5) * strides.unsqueeze(1) < boxes[:, 2:]).all(1)
    near = (cells.unsqueeze(1) - cells).abs().amax(-1) <= 1
    same = (labels.unsqueeze(1) == labels) & (strides.unsqueeze(1) == strides)
    for i in range(len(boxes)):
        # The earlier of two neighbours stays; the aligned family's peaks are not only at centres.
        rivals = near[i] & same[i] & keep
        if not isinstance(model, Aligned) and bool(rivals[:i].any()):
            keep[i] = False
    if model.needs_nms:
        places = keep.nonzero().squeeze(1)
        stays = survivors(boxes[None, places], labels[None, places], NMS_IOU)[0]
        keep[places] &= stays
    return keep


def ceiling(
    samples: Sequence[Sample], model: Detector, categories: Sequence[str], max_detections: int
) -> dict[str, float]:
    """COCO's numbers of a perfect model on samples of the model's size, as its own evaluation would state them.

    Returns:
        AP, AP50, AR100, and the share of objects that cannot be detected.
    """
    found = [perfect(sample, model, max_detections) for sample in samples]
    numbers = precision([sample.without_pixels() for sample in samples], found, categories).numbers
    objects = sum(int((~sample.crowd).sum()) for sample in samples)
    lost = objects - sum(map(len, found))
    picked = {name: numbers[name] for name in ("AP", "AP50", "AR100")}
    return picked | {"lost": lost / max(1, objects)}
