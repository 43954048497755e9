"""Losses of detectors as small pure functions, element by element; the caller sums and normalises.

Scores come as logits z with p = sigmoid(z).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from plugins.detection import boxes

IOU_TYPES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": boxes.iou,
    "giou": boxes.giou,
    "diou": boxes.diou,
    "ciou": boxes.ciou,
}


def focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017): cross entropy with little weight on easy examples; targets are 0 or 1.

    -a (1 - p)^g log p for a target of 1, -(1 - a) p^g log(1 - p) for a target of 0.
    """
    surprise = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p = logits.sigmoid()
    wrong = p * (1 - targets) + (1 - p) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * wrong**gamma * surprise


def peak_focal(logits: Tensor, heat: Tensor, gamma: float = 2.0, near: float = 4.0) -> Tensor:
    """Focal loss of a heatmap: 1 at a centre is positive, all else negative, weighted by 1 - heat (Law & Deng 2018).

    -(1 - p)^g log p where heat is 1, else -(1 - heat)^n p^g log(1 - p).
    """
    p = logits.sigmoid()
    centre = heat == 1
    positive = (1 - p) ** gamma * functional.softplus(-logits)
    negative = (1 - heat) ** near * p**gamma * functional.softplus(logits)
    return torch.where(centre, positive, negative)


def quality_focal(logits: Tensor, quality: Tensor, beta: float = 2.0) -> Tensor:
    """Focal loss whose target is a quality from 0 to 1, such as the IoU of the box: |q - p|^b times the cross entropy.

    (Li et al. 2020.) Its minimum is at p = q, where its gradient is 0.
    """
    surprise = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (quality - logits.sigmoid()).abs() ** beta * surprise


def distribution_focal(logits: Tensor, value: Tensor) -> Tensor:
    """Cross entropy of a distance against its two neighbouring bins, by nearness (Li et al. 2020).

    Args:
        logits: `[..., bins]`, of distances 0, 1, ..., bins - 1.
        value: `[...]`, the true distance, clamped to 0 to bins - 1.
    """
    bins = logits.shape[-1]
    value = value.clamp(0, bins - 1)
    low = value.floor().long().clamp(max=bins - 2)
    log_p = logits.log_softmax(-1)
    nearer, farther = (log_p.gather(-1, i.unsqueeze(-1)).squeeze(-1) for i in (low, low + 1))
    share = value - low
    return -((1 - share) * nearer + share * farther)


def expected_distance(logits: Tensor) -> Tensor:
    """The mean distance `[...]` of logits `[..., bins]`."""
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return logits.softmax(-1) @ bins


def box_loss(kind: str, found: Tensor, true: Tensor) -> Tensor:
    """1 minus the IoU of this type, `[...]`, of boxes `[..., 4]`."""
    return 1 - IOU_TYPES[kind](found, true)
