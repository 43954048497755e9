"""Resizing: samples to the model's image size, cached while there is room, and whole batches."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from plugins.detection.sample import Batch, Sample, Source, scaled


class Resized:
    """A source with all images resized, the first `cache_megabytes` of them kept in memory."""

    def __init__(self, source: Source, size: int, cache_megabytes: float) -> None:
        self.source, self.size = source, size
        self.categories = source.categories
        self.room = cache_megabytes * 1e6
        self.kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int) -> Sample:
        if index in self.kept:
            return self.kept[index]
        sample = resized(self.source.sample(index), self.size)
        if self.room >= sample.image.numel():
            self.room -= sample.image.numel()
            self.kept[index] = sample
        return sample


def original(source: Source, index: int) -> Sample:
    """Sample `index` of a source before it was resized."""
    while isinstance(source, Resized):
        source = source.source
    return source.sample(index)


def resized(sample: Sample, size: int) -> Sample:
    """The sample with a longer side of `size` pixels; boxes are scaled by each axis's own factor."""
    height, width = sample.image.shape[-2:]
    factor = size / max(height, width)
    if factor == 1:
        return sample
    return stretched(sample, max(1, round(height * factor)), max(1, round(width * factor)))


def unlabelled_sample(image: Tensor, size: int) -> Sample:
    """An image `[3, H, W]` without annotations, as a sample whose longer side is `size`."""
    none = torch.zeros(0)
    height, width = image.shape[-2:]
    sample = Sample(image, none.view(0, 4), none.long(), none.bool(), none, 0, (height, width))
    return resized(sample, size)


def stretched(sample: Sample, height: int, width: int) -> Sample:
    """The sample with an image of `[3, height, width]`."""
    before = sample.image.shape[-2:]
    scale = (width / before[1], height / before[0])
    image = resized_image(sample.image, height, width)
    return replace(sample, image=image, boxes=scaled(sample.boxes, scale))


def resized_image(image: Tensor, height: int, width: int) -> Tensor:
    """An image `[3, H, W]` uint8 as `[3, height, width]`, antialiased."""
    smooth = functional.interpolate(
        image.unsqueeze(0).float(),
        (height, width),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return smooth[0].round().clamp(0, 255).to(image.dtype)


def resize_batch(batch: Batch, height: int, width: int) -> Batch:
    """A batch with images `[B, 3, height, width]`, its objects and crowds scaled."""
    before = batch.images.shape[-2:]
    scale = (width / before[1], height / before[0])
    images = functional.interpolate(batch.images.float(), (height, width), mode="bilinear")
    crowds = batch.crowds and batch.crowds._replace(boxes=scaled(batch.crowds.boxes, scale))
    return replace(
        batch,
        images=images.round().to(torch.uint8),
        boxes=scaled(batch.boxes, scale),
        crowds=crowds,
    )
