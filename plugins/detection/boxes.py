"""Boxes: their formats, and the IoU of two of them in four variants.

    IoU   = |A and B| / |A or B|
    GIoU  = IoU - |hull without A or B| / |hull|                           (Rezatofighi et al. 2019)
    DIoU  = IoU - distance of centres^2 / diagonal of hull^2               (Zheng et al. 2020)
    CIoU  = DIoU - a v,  v = 4/pi^2 (difference of atan(w / h))^2,  a = v / (1 - IoU + v) held constant

Boxes are `[..., 4]`, (x0, y0, x1, y1) unless stated otherwise; pairs are compared element by element, shapes broadcast.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TINY = 1e-9


def from_corner_and_size(boxes: Tensor) -> Tensor:
    """(x, y, width, height), as COCO writes them, to corners."""
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def to_corner_and_size(boxes: Tensor) -> Tensor:
    """Corners to (x, y, width, height)."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)


def from_centre_and_size(boxes: Tensor) -> Tensor:
    """(centre x, centre y, width, height), as YOLO writes them, to corners."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def to_centre_and_size(boxes: Tensor) -> Tensor:
    """Corners to (centre x, centre y, width, height)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def area(boxes: Tensor) -> Tensor:
    """Areas `[...]`; 0 where a side is negative."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The areas of intersection and of union."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    return both, area(a) + area(b) - both


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, 0 for two empty boxes."""
    both, either = overlap(a, b)
    return both / either.clamp(min=TINY)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Every box of `a` `[..., n, 4]` with every box of `b` `[..., m, 4]`: `[..., n, m]`."""
    return iou(a.unsqueeze(-2), b.unsqueeze(-3))


def hull(a: Tensor, b: Tensor) -> Tensor:
    """The smallest box around both."""
    return torch.cat(
        [torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1
    )


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU, from -1 to 1: its gradient does not vanish where boxes do not touch."""
    both, either = overlap(a, b)
    around = area(hull(a, b)).clamp(min=TINY)
    return both / either.clamp(min=TINY) - (around - either) / around


def diou(a: Tensor, b: Tensor) -> Tensor:
    """Distance IoU, from -1 to 1: it also measures the distance of the centres."""
    around = hull(a, b)
    diagonal = (around[..., 2:] - around[..., :2]).square().sum(-1).clamp(min=TINY)
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    return iou(a, b) - apart / diagonal


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU: distance IoU that also compares the shapes."""
    one, other = (slenderness(x) for x in (a, b))
    shape = 4 / math.pi**2 * (one - other).square()
    weight = (shape / (1 - iou(a, b) + shape).clamp(min=TINY)).detach()
    return diou(a, b) - weight * shape


def slenderness(boxes: Tensor) -> Tensor:
    """The angle whose tangent is width / height."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-6).unbind(-1)
    return torch.atan(width / height)
