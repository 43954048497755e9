"""Candidates against the truth: which box answers for which object, decided greedily in the order of the scores.

As in COCO's evaluation, each object is given to the best-scored box of its class that agrees with it well enough, and
then it is taken: a second box there is a false positive, but for a box in a crowd of its class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from plugins.detection.boxes import area, overlap, pairwise_iou
from plugins.detection.sample import Batch, Objects


class Truth(NamedTuple):
    """The objects of a batch, as many for each image: boxes `[B, M, 4]`, labels `[B, M]`, -1 where there is none.

    Its crowds, if there are any, in the same form.
    """

    boxes: Tensor
    labels: Tensor
    crowds: Truth | None = None


def truth_of(batch: Batch) -> Truth:
    """A batch's lists of objects and crowds, image by image."""
    images, crowds = len(batch.images), batch.crowds
    truth = by_image(Objects(batch.boxes, batch.labels, batch.owner), images)
    if crowds is None or not len(crowds.owner):
        return truth
    return truth._replace(crowds=by_image(crowds, images))


def by_image(objects: Objects, images: int) -> Truth:
    """A list of objects, image by image."""
    counts = torch.bincount(objects.owner, minlength=images)
    most = int(counts.max()) if len(objects.owner) else 0
    order = objects.owner.argsort(stable=True)
    owner = objects.owner[order]
    first = counts.cumsum(0) - counts
    place = torch.arange(len(owner), device=owner.device) - first[owner]
    boxes = objects.boxes.new_zeros(images, most, 4)
    labels = objects.labels.new_full((images, most), -1)
    boxes[owner, place], labels[owner, place] = objects.boxes[order], objects.labels[order]
    return Truth(boxes, labels)


def blamed(boxes: Tensor, labels: Tensor, truth: Truth, found: Tensor, least: float) -> Tensor:
    """Whether each box `[..., B, K]` counts: all but those that answer for nothing and lie in a crowd of their class.

    Args:
        boxes: `[..., B, K, 4]`, labels: `[B, K]`.
        found: `[..., B, K]`, from `matched`.
        least: the share of a box that lies in a crowd, as COCO compares it with the least IoU.
    """
    if truth.crowds is None:
        return torch.ones_like(found, dtype=torch.bool)
    both, _ = overlap(boxes.unsqueeze(-2), truth.crowds.boxes.unsqueeze(-3))
    inside = (both > 0) & (both >= least * area(boxes).unsqueeze(-1))
    same = labels.unsqueeze(-1) == truth.crowds.labels.unsqueeze(-2)
    return (found > 0) | ~(inside & same).any(-1)


def agreement(boxes: Tensor, labels: Tensor, truth: Truth) -> Tensor:
    """The IoU `[..., B, K, M]` of boxes `[..., B, K, 4]` of labels `[B, K]` with the objects; 0 for other classes."""
    same = labels.unsqueeze(-1) == truth.labels.unsqueeze(-2)
    return torch.where(same, pairwise_iou(boxes, truth.boxes), 0.0)


def matched(kept: Tensor, agreed: Tensor, least: float) -> Tensor:
    """The IoU `[..., B, K]` of each box with the object that it answers for, 0 where it answers for none.

    A gradient flows to the IoU; who answers for what is held constant.

    Args:
        kept: `[..., B, K]`, whether a box is there (above 1/2); boxes come best first.
        agreed: `[..., B, K, M]`, from `agreement`; leading axes broadcast.
        least: the IoU that a match needs.
    """
    boxes, objects = agreed.shape[-2:]
    shape = torch.broadcast_shapes(kept.shape, agreed.shape[:-1])
    if not objects:
        return torch.zeros(shape, device=agreed.device)
    there = (kept > 0.5).expand(shape)
    known = agreed.detach()
    free = torch.ones(*shape[:-1], objects, dtype=torch.bool, device=agreed.device)
    chosen, found = [], []
    for k in range(boxes):
        best, which = torch.where(free, known[..., k, :], 0.0).max(-1)
        hit = there[..., k] & (best >= least) & (best > 0)
        taken = torch.zeros_like(free).scatter(-1, which.unsqueeze(-1), hit.unsqueeze(-1))
        free = free & ~taken
        chosen.append(which)
        found.append(hit)
    which, hit = torch.stack(chosen, -1), torch.stack(found, -1)
    own = agreed.expand(*shape, objects).gather(-1, which.unsqueeze(-1)).squeeze(-1)
    return torch.where(hit, own, 0.0)
