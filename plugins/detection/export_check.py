"""Comparing an exported file with its model: what rounding decides is free, everything else is refused.

Scores that differ by less than 0.0001 of themselves may change places: which of them is the higher one depends on the
order in which a processor adds. So the file's detections must be among those that rounding allows the model, and those
that the model has whatever is rounded must be among the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from plugins.detection.boxes import pairwise_iou
from plugins.detection.deployed import Outputs
from plugins.detection.models.anchor_free import (
    NMS_IOU,
    AnchorFree,
    Maps,
    clip_boxes,
    decode_boxes,
)
from plugins.detection.models.detector import Detector
from plugins.detection.sample import Detections

# The largest permitted distance of two boxes, in pixels.
TOLERANCE = 0.01
# Scores whose relative difference is smaller may change places; IoUs as near to suppression may go either way.
ROUNDING = 1e-4
# Detections with lower scores are not compared, unless an image has none with higher ones.
MIN_SCORE = 0.001


def difference(
    model: Detector,
    again: Callable[[Tensor], Outputs],
    images: Sequence[Tensor],
    max_detections: int,
) -> float:
    """The largest distance in pixels between a side of the file's box and of the model's; infinite where one lacks.

    Args:
        again: the file, as a function.
        images: `[1, 3, H, W]` each.
    """
    largest = 0.0
    for image in images:
        possible, certain = both(model, image, max_detections)
        boxes, scores, labels = again(image)
        best = float(possible.scores.max()) if len(possible) else 0.0
        min_score = min(MIN_SCORE, best / 2)
        theirs = Detections(boxes[0], scores[0], labels[0]).above(max(min_score, 1e-12))
        certain = certain.above(min_score * (1 + ROUNDING))
        largest = max(largest, farthest(theirs, possible), farthest(certain, theirs))
        if getattr(model, "needs_nms", False) and overlapping(theirs):
            return float("inf")
    return largest


def both(model: Detector, image: Tensor, max_detections: int) -> tuple[Detections, Detections]:
    """The detections that rounding allows the model, and those that it has in spite of it."""
    if isinstance(model, AnchorFree):
        return peaks_up_to_rounding(model(image), image, max_detections, model.needs_nms)
    (possible,) = model.detect(image, 2 * max_detections)
    left_out = possible.scores[max_detections:]
    limit = float(left_out[0]) * (1 + ROUNDING) if len(left_out) else 0.0
    return possible, possible.chosen(possible.scores > limit)


def peaks_up_to_rounding(
    maps: Sequence[Maps], image: Tensor, max_detections: int, suppressed: bool
) -> tuple[Detections, Detections]:
    """The cells of an image `[1, 3, H, W]` that may be peaks up to rounding, and those that are peaks in spite of it.

    The latter are higher by the margin than their eight neighbours and the best peak left out; with suppression, no
    other possible peak of their label that may be better overlaps them.
    """
    possible: list[Detections] = []
    certain: list[Detections] = []
    for logits, distances, stride in maps:
        # [C, H, W], and the 3x3 neighbours [C, 9, H W] without the cell itself.
        scores = logits[0].sigmoid()
        around = functional.unfold(functional.pad(scores.unsqueeze(1), [1] * 4), 3)
        around[:, 4] = 0.0
        scores = scores.flatten(1)
        lead, margin = scores - around.amax(1), ROUNDING * scores
        peak = lead >= -margin
        ranked = functional.pad(scores[peak], [0, max_detections + 1])
        left_out = float(ranked.topk(max_detections + 1).values[-1])
        boxes = clip_boxes(decode_boxes(distances, stride)[0], image)
        for kept, chosen in (
            (possible, peak),
            (certain, (lead > margin) & (scores - margin > left_out)),
        ):
            label, cell = chosen.nonzero(as_tuple=True)
            kept.append(Detections(boxes[cell], scores[chosen], label))
    allowed, sure = concatenated(possible), concatenated(certain)
    if not suppressed:
        return allowed, sure
    sure = sure.chosen(~rivals(sure, allowed))
    ranked = functional.pad(allowed.scores, [0, max_detections + 1])
    left_out = float(ranked.topk(max_detections + 1).values[-1])
    return allowed, sure.chosen(sure.scores > left_out * (1 + ROUNDING))


def rivals(these: Detections, among: Detections) -> Tensor:
    """Whether a detection of these is overlapped by another one of its label that may be better: `[k]`."""
    if not len(these):
        return torch.zeros(0, dtype=torch.bool)
    iou = pairwise_iou(these.boxes, among.boxes)
    score = these.scores.unsqueeze(1)
    same = these.labels.unsqueeze(1) == among.labels
    itself = same & (these.boxes.unsqueeze(1) == among.boxes).all(-1) & (score == among.scores)
    better = among.scores >= score * (1 - ROUNDING)
    return (same & better & ~itself & (iou > NMS_IOU - ROUNDING)).any(1)


def overlapping(found: Detections) -> bool:
    """Whether two detections of one label overlap although suppression leaves one of them."""
    iou = pairwise_iou(found.boxes, found.boxes)
    same = found.labels.unsqueeze(1) == found.labels
    return bool((same & (iou > NMS_IOU + ROUNDING)).triu(1).any())


def concatenated(levels: Sequence[Detections]) -> Detections:
    """The detections of several levels as one."""
    return Detections(
        torch.cat([level.boxes for level in levels]),
        torch.cat([level.scores for level in levels]),
        torch.cat([level.labels for level in levels]),
    )


def farthest(expected: Detections, among: Detections) -> float:
    """The largest distance in pixels of an expected box to the nearest one of its label and, up to rounding, score."""
    if not len(expected.boxes):
        return 0.0
    if not len(among.boxes):
        return float("inf")
    score = expected.scores.unsqueeze(1)
    same = (expected.labels.unsqueeze(1) == among.labels) & (
        (score - among.scores).abs() <= ROUNDING * score
    )
    apart = (expected.boxes.unsqueeze(1) - among.boxes).abs().amax(-1)
    near = apart.where(same & ~apart.isnan(), float("inf")).amin(1)
    return float(near.max())
