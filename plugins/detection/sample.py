"""What everything in this plugin speaks: an image with its objects, and a batch of such.

Boxes are `(x0, y0, x1, y1)` in pixels of the image at hand, edges and not indices: the box of the first pixel alone is
(0, 0, 1, 1). Labels count from 0. An image without objects has boxes of shape [0, 4].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

PADDING = 114  # the grey around images that are smaller than their batch


@dataclass(frozen=True)
class Sample:
    """One image and what is in it.

    Attributes:
        image: `[3, H, W]` uint8.
        boxes: `[n, 4]` float32.
        labels: `[n]` int64, from 0.
        crowd: `[n]` bool, a box around many objects: found or not, nobody is blamed.
        area: `[n]` float32, of the object itself where it is known, else of its box; in the original's pixels.
        image_id: the image's number in its data set, its own.
        size: `(height, width)` of the original; boxes times original / current size are boxes there.
        damaged: whether the image could not be read: it is grey, and what was in it is not known.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    area: Tensor
    image_id: int
    size: tuple[int, int]
    damaged: bool = False

    def chosen(self, keep: Tensor) -> Sample:
        """The same image with those of its objects that `keep` `[n]` names."""
        return replace(
            self,
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            crowd=self.crowd[keep],
            area=self.area[keep],
        )

    def without_pixels(self) -> Sample:
        """The same of the same shape, all of whose pixels are one in memory."""
        return replace(self, image=self.image.new_zeros(()).expand(self.image.shape))

    @property
    def scale(self) -> tuple[float, float]:
        """By what (x, y) in this image's pixels are multiplied to become the original's."""
        height, width = self.image.shape[-2:]
        return self.size[1] / width, self.size[0] / height


class Detections(NamedTuple):
    """What was found in one image, best first: boxes `[k, 4]`, scores `[k]`, labels `[k]`."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep])

    def scaled(self, scale: tuple[float, float], size: tuple[int, int]) -> Detections:
        """In an image whose pixels are `scale` (x, y) times as many, cut off at its `(height, width)`."""
        edge = torch.tensor([size[1], size[0]] * 2, device=self.boxes.device)
        return self._replace(boxes=torch.minimum(scaled(self.boxes, scale).clamp(min=0), edge))


def scaled(boxes: Tensor, scale: tuple[float, float]) -> Tensor:
    """Boxes where (x, y) are multiplied by `scale`."""
    return boxes * torch.tensor([*scale, *scale], device=boxes.device)


class Source(Protocol):
    """A data set: samples by index, and the names of their labels."""

    @property
    def categories(self) -> list[str]:
        """The names of labels 0, 1, ..."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample:
        """Sample `index`, the same each time."""


class Objects(NamedTuple):
    """Boxes `[M, 4]` and labels `[M]` of several images, and the image `[M]` that each is in."""

    boxes: Tensor
    labels: Tensor
    owner: Tensor


@dataclass(frozen=True)
class Batch:
    """Images of one size and the objects of all of them in one list.

    Attributes:
        images: `[B, 3, H, W]` uint8.
        boxes: `[M, 4]`, labels: `[M]`, of all images; crowds are left out.
        owner: `[M]`, the image that an object is in.
        crowds: what was left out, if it is known.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    owner: Tensor
    crowds: Objects | None = None

    def objects_of(self, image: int) -> tuple[Tensor, Tensor]:
        """Boxes `[n, 4]` and labels `[n]` of one image."""
        mine = self.owner == image
        return self.boxes[mine], self.labels[mine]


def collate(samples: Sequence[Sample], multiple: int = 32) -> Batch:
    """Samples as a batch: images at the top left of a canvas whose sides are multiples of `multiple`."""
    images = stacked([s.image for s in samples], multiple)
    alone, crowds = (
        objects_of([s.chosen(s.crowd == crowd) for s in samples]) for crowd in (False, True)
    )
    return Batch(images, *alone, crowds)


def objects_of(samples: Sequence[Sample]) -> Objects:
    """The objects of all samples in one list."""
    counts = torch.tensor([len(s.boxes) for s in samples])
    return Objects(
        torch.cat([s.boxes for s in samples]),
        torch.cat([s.labels for s in samples]),
        torch.repeat_interleave(torch.arange(len(samples)), counts),
    )


def alike(samples: Iterable[Sample], most: int, multiple: int) -> Iterator[list[Sample]]:
    """Samples in order, up to `most` together, all of one canvas: what is found in an image depends on it alone."""

    def canvas(sample: Sample) -> tuple[int, ...]:
        return tuple(-(-side // multiple) for side in sample.image.shape[-2:])

    for _, same in groupby(samples, canvas):
        while part := list(islice(same, most)):
            yield part


def stacked(images: Sequence[Tensor], multiple: int) -> Tensor:
    """Images `[3, h, w]` in one tensor `[B, 3, H, W]`, padded on the right and below."""
    height, width = (
        -(-max(i.shape[axis] for i in images) // multiple) * multiple for axis in (1, 2)
    )
    canvas = images[0].new_full((len(images), 3, height, width), PADDING)
    for place, image in zip(canvas, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return canvas
