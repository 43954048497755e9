"""Average precision with a slope: the order of the scores, and being right, both relaxed to sigmoids.

With hits y_i (1 where box i finds an object), scores s_i and M objects, over the boxes of one class

    precision_i = sum_j y_j [s_j >= s_i] / sum_j [s_j >= s_i],     AP = sum_i y_i precision_i / M

and each comparison is `framework.relaxed.greater`: a sigmoid of stated width where a gradient flows, exact where none
does. (Smooth-AP: Brown et al. 2020, there for retrieval. COCO's number also makes precision monotone in recall.) Here
y_i = [IoU_i > t] is a comparison, too, so that boxes are pulled across the thresholds t.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from framework import relaxed
from framework.config.schema import Section
from plugins.detection.evaluation.matching import Truth, agreement, blamed, matched
from plugins.detection.models.detector import Candidates


class RelaxedPrecision(Section):
    """How average precision is relaxed.

    Args:
        candidates: how many boxes of each image take part.
        thresholds: of the IoU, whose precisions are averaged.
        order_width: of the comparison of two scores, as logits.
        hit_width: of the comparison of an IoU with a threshold.
    """

    candidates: Annotated[int, Field(ge=1)] = 30
    thresholds: list[Annotated[float, Field(gt=0, lt=1)]] = [0.5, 0.65, 0.8]  # noqa: RUF012 (frozen)
    order_width: Annotated[float, Field(ge=0)] = 0.5
    hit_width: Annotated[float, Field(ge=0)] = 0.05


def average_precision(
    scores: Tensor, hits: Tensor, objects: Tensor | float, width: float
) -> Tensor:
    """The average precision `[...]` of hits `[..., P]` (0 to 1) in the order of scores `[P]`, of so many objects.

    Width 0, or no gradient: the exact number; boxes of equal scores do not stand before each other.
    """
    alone = torch.eye(len(scores), device=scores.device, dtype=scores.dtype)
    before = relaxed.greater(scores.unsqueeze(0), scores.unsqueeze(1), width)  # [i, j]: j before i
    before = before * (1 - alone) + alone
    precision = hits @ before.mT / before.sum(-1)
    return (hits * precision).sum(-1) / objects


def mean_average_precision(candidates: Candidates, truth: Truth, how: RelaxedPrecision) -> Tensor:
    """The mean over thresholds and over the classes present of a whole batch's average precision, a scalar.

    Each box keeps the object that it answers for at the least threshold.
    """
    boxes, scores, labels = candidates
    least = min(how.thresholds)
    there = (scores > 0).to(scores.dtype)  # a repeat has no score
    found = matched(there, agreement(boxes, labels, truth), least)
    counted = blamed(boxes.detach(), labels, truth, found, least).flatten()
    found = found.flatten()
    score, label = scores.clamp(1e-6, 1 - 1e-6).logit().flatten(), labels.flatten()
    parts = []
    for kind in truth.labels[truth.labels >= 0].unique():
        mine = ((label == kind) & counted).nonzero().squeeze(1)
        limits = torch.tensor(how.thresholds, device=score.device).unsqueeze(1)
        hits = relaxed.greater(found[mine].unsqueeze(0), limits, how.hit_width)
        hits = hits * (found[mine] > 0)
        objects = (truth.labels == kind).sum()
        parts.append(average_precision(score[mine], hits, objects, how.order_width).mean())
    return torch.stack(parts).mean() if parts else score.sum() * 0
