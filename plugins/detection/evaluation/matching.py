"""Matching candidates with targets: greedily in the order of the scores, as in COCO's evaluation.

Each object is matched with the best-scored box of its class whose IoU with it is high enough, and only once: a second
box there is a false positive, unless it lies in a crowd of its class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from plugins.detection.boxes import area, overlap, pairwise_iou
from plugins.detection.sample import Batch, Objects


class Targets(NamedTuple):
    """The objects of a batch, padded: boxes `[B, M, 4]`, labels `[B, M]`, -1 for padding.

    Its crowds, where there are any, in the same form.
    """

    boxes: Tensor
    labels: Tensor
    crowds: Targets | None = None


def targets_of(batch: Batch) -> Targets:
    """A batch's objects and crowds, by image."""
    images, crowds = len(batch.images), batch.crowds
    targets = pad_by_image(Objects(batch.boxes, batch.labels, batch.image_index), images)
    if crowds is None or not len(crowds.image_index):
        return targets
    return targets._replace(crowds=pad_by_image(crowds, images))


def pad_by_image(objects: Objects, images: int) -> Targets:
    """A list of objects, by image."""
    counts = torch.bincount(objects.image_index, minlength=images)
    longest = int(counts.max()) if len(objects.image_index) else 0
    order = objects.image_index.argsort(stable=True)
    image_index = objects.image_index[order]
    first = counts.cumsum(0) - counts
    slot = torch.arange(len(image_index), device=image_index.device) - first[image_index]
    boxes = objects.boxes.new_zeros(images, longest, 4)
    labels = objects.labels.new_full((images, longest), -1)
    boxes[image_index, slot], labels[image_index, slot] = (
        objects.boxes[order],
        objects.labels[order],
    )
    return Targets(boxes, labels)


def not_ignored(
    boxes: Tensor, labels: Tensor, targets: Targets, found: Tensor, iou_threshold: float
) -> Tensor:
    """Whether each box `[..., B, K]` counts: all but unmatched ones that lie in a crowd of their class.

    Args:
        boxes: `[..., B, K, 4]`, labels: `[B, K]`.
        found: `[..., B, K]`, from `matched_iou`.
        iou_threshold: the fraction of a box's area in a crowd from which it is ignored; COCO uses that of the IoU.
    """
    if targets.crowds is None:
        return torch.ones_like(found, dtype=torch.bool)
    both, _ = overlap(boxes.unsqueeze(-2), targets.crowds.boxes.unsqueeze(-3))
    inside = (both > 0) & (both >= iou_threshold * area(boxes).unsqueeze(-1))
    same = labels.unsqueeze(-1) == targets.crowds.labels.unsqueeze(-2)
    return (found > 0) | ~(inside & same).any(-1)


def class_iou(boxes: Tensor, labels: Tensor, targets: Targets) -> Tensor:
    """The IoU `[..., B, K, M]` of boxes `[..., B, K, 4]` of labels `[B, K]` with the objects; 0 for other classes."""
    same = labels.unsqueeze(-1) == targets.labels.unsqueeze(-2)
    return torch.where(same, pairwise_iou(boxes, targets.boxes), 0.0)


def matched_iou(kept: Tensor, ious: Tensor, iou_threshold: float) -> Tensor:
    """The IoU `[..., B, K]` of each box with the object that it matches, 0 where it matches none.

    A gradient flows to the IoU; the matching is held constant.

    Args:
        kept: `[..., B, K]`, whether a box is in the set (above 1/2); boxes come best first.
        ious: `[..., B, K, M]`, from `class_iou`; leading axes broadcast.
        iou_threshold: the IoU that a match needs.
    """
    boxes, objects = ious.shape[-2:]
    shape = torch.broadcast_shapes(kept.shape, ious.shape[:-1])
    if not objects:
        return torch.zeros(shape, device=ious.device)
    there = (kept > 0.5).expand(shape)
    known = ious.detach()
    free = torch.ones(*shape[:-1], objects, dtype=torch.bool, device=ious.device)
    chosen, found = [], []
    for k in range(boxes):
        best, which = torch.where(free, known[..., k, :], 0.0).max(-1)
        hit = there[..., k] & (best >= iou_threshold) & (best > 0)
        taken = torch.zeros_like(free).scatter(-1, which.unsqueeze(-1), hit.unsqueeze(-1))
        free = free & ~taken
        chosen.append(which)
        found.append(hit)
    which, hit = torch.stack(chosen, -1), torch.stack(found, -1)
    own = ious.expand(*shape, objects).gather(-1, which.unsqueeze(-1)).squeeze(-1)
    return torch.where(hit, own, 0.0)
