"""Differentiable average precision: the order of the scores and the hits, both relaxed to sigmoids.

With hits y_i (1 where box i matches an object), scores s_i and M objects, over the boxes of one class

    precision_i = sum_j y_j [s_j >= s_i] / sum_j [s_j >= s_i],     AP = sum_i y_i precision_i / M

and each comparison is `framework.relaxed.greater`: a sigmoid of a given width where a gradient flows, exact where none
does. (Smooth-AP: Brown et al. 2020, there for retrieval. COCO's AP also makes precision monotone in recall.) Here
y_i = [IoU_i > t] is a comparison, too, so that gradients move boxes across the thresholds t.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from framework import relaxed
from framework.config.schema import Section
from framework.config.types import Count, NonNegative
from plugins.detection.evaluation.matching import Targets, class_iou, matched_iou, not_ignored
from plugins.detection.models.detector import Candidates


class RelaxedPrecision(Section):
    """How average precision is relaxed.

    Args:
        candidates: boxes of each image that take part.
        iou_thresholds: whose average precisions are averaged.
        order_width: width of the comparison of two scores, as logits.
        hit_width: width of the comparison of an IoU with a threshold.
    """

    candidates: Count = 30
    iou_thresholds: list[Annotated[float, Field(gt=0, lt=1)]] = [0.5, 0.65, 0.8]  # noqa: RUF012 (frozen)
    order_width: NonNegative = 0.5
    hit_width: NonNegative = 0.05


def average_precision(
    scores: Tensor, hits: Tensor, objects: Tensor | float, width: float
) -> Tensor:
    """The average precision `[...]` of hits `[..., P]` (0 to 1) ranked by scores `[P]`, given the number of objects.

    With width 0, or without gradient, it is exact; boxes of equal scores do not precede each other.
    """
    alone = torch.eye(len(scores), device=scores.device, dtype=scores.dtype)
    # [i, j]: j before i
    before = relaxed.greater(scores.unsqueeze(0), scores.unsqueeze(1), width)
    before = before * (1 - alone) + alone
    precision = hits @ before.mT / before.sum(-1)
    return (hits * precision).sum(-1) / objects


def mean_average_precision(
    candidates: Candidates, targets: Targets, options: RelaxedPrecision
) -> Tensor:
    """A whole batch's average precision, a scalar: the mean over thresholds and over the classes present.

    Each box keeps the object that it matches at the lowest threshold.
    """
    boxes, scores, labels = candidates
    lowest = min(options.iou_thresholds)
    # Non-maximum suppression gives the score 0.
    there = (scores > 0).to(scores.dtype)
    found = matched_iou(there, class_iou(boxes, labels, targets), lowest)
    counted = not_ignored(boxes.detach(), labels, targets, found, lowest).flatten()
    found = found.flatten()
    score, label = scores.clamp(1e-6, 1 - 1e-6).logit().flatten(), labels.flatten()
    parts = []
    for kind in targets.labels[targets.labels >= 0].unique():
        mine = ((label == kind) & counted).nonzero().squeeze(1)
        limits = torch.tensor(options.iou_thresholds, device=score.device).unsqueeze(1)
        hits = relaxed.greater(found[mine].unsqueeze(0), limits, options.hit_width)
        hits = hits * (found[mine] > 0)
        objects = (targets.labels == kind).sum()
        parts.append(average_precision(score[mine], hits, objects, options.order_width).mean())
    return torch.stack(parts).mean() if parts else score.sum() * 0
