"""The plugin's data types: an image with its objects, detections, and a batch of images.

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

# The grey around images that are smaller than their batch.
PADDING = 114


@dataclass(frozen=True)
class Sample:
    """One image and its objects.

    Attributes:
        image: `[3, H, W]` uint8.
        boxes: `[n, 4]` float32.
        labels: `[n]` int64, from 0.
        crowd: `[n]` bool, a box around many objects: detections there count neither for nor against.
        area: `[n]` float32, of the object itself where it is known, else of its box; in the original's pixels.
        image_id: the image's number in its data set, unique there.
        size: `(height, width)` of the original; boxes times original / current size are boxes there.
        damaged: whether the image could not be read: it is grey, and its objects are not known.
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
        """The same image with the objects that `keep` selects: a mask `[n]` or indices."""
        return replace(
            self,
            boxes=self.boxes[keep],
            labels=self.labels[keep],
            crowd=self.crowd[keep],
            area=self.area[keep],
        )

    def without_pixels(self) -> Sample:
        """The same with an image of the same shape whose pixels share one byte of memory."""
        return replace(self, image=self.image.new_zeros(()).expand(self.image.shape))

    @property
    def scale(self) -> tuple[float, float]:
        """The factors (x, y) from this image's pixels to the original's."""
        height, width = self.image.shape[-2:]
        return self.size[1] / width, self.size[0] / height


@dataclass(frozen=True)
class Detections:
    """The objects detected in one image, best first.

    Attributes:
        boxes: `[k, 4]`.
        scores: `[k]`, from 0 to 1.
        labels: `[k]`, from 0.
        names: the k labels' names, where they were asked for.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, keep: Tensor) -> Detections:
        """Those that `keep` selects: a mask `[k]` or indices."""
        places = torch.arange(len(self))[keep.cpu()].tolist() if self.names else []
        names = tuple(self.names[place] for place in places)
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], names)

    def above(self, score: float | Sequence[float]) -> Detections:
        """Those with at least this score, or with at least that of their label."""
        if isinstance(score, float | int):
            return self.chosen(self.scores >= score)
        least = torch.tensor(score, dtype=self.scores.dtype, device=self.scores.device)
        return self.chosen(self.scores >= least[self.labels])

    def scaled(self, scale: tuple[float, float], size: tuple[int, int]) -> Detections:
        """With boxes multiplied by `scale` (x, y) and clipped to an image of `(height, width)`."""
        edge = torch.tensor([size[1], size[0]] * 2, device=self.boxes.device)
        boxes = torch.minimum(scaled(self.boxes, scale).clamp(min=0), edge)
        return replace(self, boxes=boxes)

    def cpu(self) -> Detections:
        return Detections(self.boxes.cpu(), self.scores.cpu(), self.labels.cpu(), self.names)

    def named(self, categories: Sequence[str]) -> Detections:
        """With the names of the labels."""
        return replace(self, names=tuple(categories[label] for label in self.labels.tolist()))


def scaled(boxes: Tensor, scale: tuple[float, float]) -> Tensor:
    """Boxes multiplied by `scale` (x, y)."""
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
    image_index: Tensor

    def part(self, own: slice) -> Objects:
        """Those of some of the images."""
        here = (self.image_index >= own.start) & (self.image_index < own.stop)
        return Objects(self.boxes[here], self.labels[here], self.image_index[here] - own.start)


@dataclass(frozen=True)
class Batch:
    """Images of one size and the objects of all of them in one list.

    Attributes:
        images: `[B, 3, H, W]` uint8.
        boxes: `[M, 4]`, labels: `[M]`, of all images; crowds are left out.
        image_index: `[M]`, the image that an object is in.
        crowds: the crowds, where they are known.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    image_index: Tensor
    crowds: Objects | None = None

    def objects_of(self, image: int) -> tuple[Tensor, Tensor]:
        """Boxes `[n, 4]` and labels `[n]` of one image."""
        mine = self.image_index == image
        return self.boxes[mine], self.labels[mine]

    def part(self, own: slice) -> Batch:
        """Some of the images, and what is in them."""
        objects = Objects(self.boxes, self.labels, self.image_index).part(own)
        crowds = None if self.crowds is None else self.crowds.part(own)
        return Batch(self.images[own], *objects, crowds)


def collate(samples: Sequence[Sample], size_divisor: int = 32) -> Batch:
    """Samples as a batch: images at the top left of a canvas whose sides are multiples of `size_divisor`."""
    images = pad_and_stack([s.image for s in samples], size_divisor)
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


def batches_of_one_size(
    samples: Iterable[Sample], batch_size: int, size_divisor: int
) -> Iterator[list[Sample]]:
    """Samples in order, up to `batch_size` of one padded size: detections do not depend on the rest of a batch."""

    def canvas(sample: Sample) -> tuple[int, ...]:
        return tuple(-(-side // size_divisor) for side in sample.image.shape[-2:])

    for _, same in groupby(samples, canvas):
        while part := list(islice(same, batch_size)):
            yield part


def pad_and_stack(images: Sequence[Tensor], size_divisor: int) -> Tensor:
    """Images `[3, h, w]` in one tensor `[B, 3, H, W]`, padded on the right and below."""
    height, width = (
        -(-max(i.shape[axis] for i in images) // size_divisor) * size_divisor for axis in (1, 2)
    )
    canvas = images[0].new_full((len(images), 3, height, width), PADDING)
    for place, image in zip(canvas, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return canvas
