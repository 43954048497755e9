"""Copy-paste: objects of one image, cut out with their boxes, at free places of another (Dwibedi et al. 2017)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from plugins.detection.boxes import overlap
from plugins.detection.sample import Sample

# Objects pasted at most, and places tried for each.
MOST, TRIES = 4, 8
# A pasted object may hide this share of another one.
HIDDEN = 0.1
# Sides in pixels that a pasted object has at the least.
MIN_SIDE = 4


def pasted(sample: Sample, other: Sample, generator: torch.Generator) -> Sample:
    """A sample with up to `MOST` objects of another one at random places where they hide no object."""
    image, boxes = sample.image.clone(), sample.boxes
    labels, areas = [sample.labels], [sample.area]
    count = 1 + int(torch.randint(MOST, (), generator=generator))
    order = torch.randperm(len(other.boxes), generator=generator).tolist()
    for number in [n for n in order if not other.crowd[n]][:count]:
        patch = cut_out(other, number)
        if patch is None:
            continue
        place = free_place(patch, image, boxes, generator)
        if place is None:
            continue
        x, y = place
        height, width = patch.shape[-2:]
        image[:, y : y + height, x : x + width] = patch
        boxes = torch.cat([boxes, torch.tensor([[x, y, x + width, y + height]]).float()])
        labels.append(other.labels[number : number + 1])
        areas.append(other.area[number : number + 1])
    added = len(boxes) - len(sample.boxes)
    crowd = torch.cat([sample.crowd, torch.zeros(added, dtype=torch.bool)])
    return replace(
        sample,
        image=image,
        boxes=boxes,
        labels=torch.cat(labels),
        crowd=crowd,
        area=torch.cat(areas),
    )


def cut_out(sample: Sample, number: int) -> Tensor | None:
    """The pixels of an object's box, `[3, h, w]`; None where it is too small."""
    x0, y0, x1, y1 = (round(v) for v in sample.boxes[number].tolist())
    patch = sample.image[:, y0:y1, x0:x1]
    return patch if min(patch.shape[-2:]) >= MIN_SIDE else None


def free_place(
    patch: Tensor, image: Tensor, boxes: Tensor, generator: torch.Generator
) -> tuple[int, int] | None:
    """Where (x, y) a patch hides no object; None where no place is found."""
    height, width = patch.shape[-2:]
    down, right = image.shape[-2] - height, image.shape[-1] - width
    if down < 0 or right < 0:
        return None
    for _ in range(TRIES):
        x = int(torch.randint(right + 1, (), generator=generator))
        y = int(torch.randint(down + 1, (), generator=generator))
        box = torch.tensor([[x, y, x + width, y + height]]).float()
        both, _ = overlap(box, boxes)
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        if bool((both <= HIDDEN * sizes.clamp(min=1)).all()):
            return x, y
    return None
