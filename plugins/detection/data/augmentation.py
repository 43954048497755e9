"""Training images varied: each variation a torchvision transform, drawn from the item's own keyed stream.

What a transform cuts off is cut off its boxes, too; an object of which less than a fifth, or less than two pixels, is
left is no object any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from framework.config.schema import Section
from framework.randomness import seeded
from plugins.detection.boxes import area
from plugins.detection.data.resizing import resized, stretched
from plugins.detection.sample import PADDING, Sample, Source

LEFT = 0.2  # the share of an object's box that must be left
LEAST = 2.0  # pixels of its sides

Chance = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Section):
    """How likely each variation is, and how strong.

    Args:
        flip: left for right.
        photometric: brightness, contrast, saturation and hue; none: 0 for the generated shapes, 0.3 for a folder.
        zoom_out: the image on a larger grey ground, objects up to `zoom` times smaller.
        crop: a part of the image that holds enough of some object (Liu et al. 2016).
        jitter: another scale, from 1/zoom to zoom, cut off or padded to the same size; none: 0 for the generated
            shapes, 0.5 for a folder.
        mosaic: four images in one. mixup: two images, one shining through the other.
        plain_share: the last share of training without mosaic and mixup, on images as they are.
    """

    flip: Chance = 0.5
    photometric: Chance | None = None
    zoom_out: Chance = 0.0
    crop: Chance = 0.0
    jitter: Chance | None = None
    zoom: Annotated[float, Field(gt=1, le=8)] = 1.5
    mosaic: Chance = 0.0
    mixup: Chance = 0.0
    plain_share: Chance = 0.2

    def suiting(self, few: bool) -> Augmentation:
        """With what was left open decided: a folder's images are few and the generated ones are many."""
        usual = {"photometric": 0.3, "jitter": 0.5} if few else {"photometric": 0.0, "jitter": 0.0}
        given = {name: value for name in usual if (value := getattr(self, name)) is not None}
        return self.model_copy(update=usual | given)


class Augmented:
    """A source whose items are varied; see `framework.data.KeyedDataset`."""

    def __init__(self, source: Source, how: Augmentation, size: int, *, plain: bool) -> None:
        self.source, self.how, self.size = source, how, size
        self.plain = plain
        self.transforms = transforms(how, size)

    def __len__(self) -> int:
        return len(self.source)

    def item(self, index: int, generator: torch.Generator) -> Sample:
        made = self.varied(index, generator)
        if not self.plain and self.chance(generator) < self.how.mosaic:
            others = [self.varied(i, generator) for i in self.others(3, generator)]
            made = mosaic([made, *others], self.size, generator)
        if not self.plain and self.chance(generator) < self.how.mixup:
            (other,) = self.others(1, generator)
            made = mixup(made, self.varied(other, generator), generator)
        return made

    def varied(self, index: int, generator: torch.Generator) -> Sample:
        """Sample `index` through the transforms."""
        number = int(torch.randint(2**62, (), generator=generator))
        with seeded(number):
            return transformed(self.source.sample(index), self.transforms, self.size)

    def others(self, count: int, generator: torch.Generator) -> list[int]:
        return torch.randint(len(self), (count,), generator=generator).tolist()

    @staticmethod
    def chance(generator: torch.Generator) -> float:
        return float(torch.rand((), generator=generator))


def transforms(how: Augmentation, size: int) -> list[tuple[float, Any]]:
    """Each transform of torchvision with its probability."""
    steps = [
        (how.photometric or 0.0, v2.ColorJitter(0.3, 0.3, 0.4, 0.03)),
        (how.zoom_out, v2.RandomZoomOut(fill=PADDING, side_range=(1.0, how.zoom), p=1.0)),
        (how.crop, v2.RandomIoUCrop()),
        (how.jitter or 0.0, Jitter(how.zoom)),
        (how.flip, v2.RandomHorizontalFlip(p=1.0)),
    ]
    return [(p, step) for p, step in steps if p > 0]


class Jitter(v2.Transform):  # type: ignore[misc]
    """Another scale on the same canvas: a larger image is cropped at random, a smaller one put at random."""

    def __init__(self, zoom: float) -> None:
        super().__init__()
        self.zoom = zoom

    def make_params(self, flat_inputs: Sequence[Any]) -> dict[str, Any]:
        height, width = v2.functional.get_size(flat_inputs[0])
        factor = self.zoom ** (2 * float(torch.rand(())) - 1)
        place = torch.rand(2).tolist()
        return {"size": (height, width), "factor": factor, "place": place}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        (height, width), factor, (down, right) = params["size"], params["factor"], params["place"]
        tall, wide = max(1, round(height * factor)), max(1, round(width * factor))
        out = v2.functional.resize(inpt, [tall, wide], antialias=True)
        if factor > 1:
            top, left = round((tall - height) * down), round((wide - width) * right)
            return v2.functional.crop(out, top, left, height, width)
        top, left = round((height - tall) * down), round((width - wide) * right)
        padding = [left, top, width - wide - left, height - tall - top]
        return v2.functional.pad(out, padding, fill=PADDING)


def transformed(sample: Sample, steps: Sequence[tuple[float, Any]], size: int) -> Sample:
    """A sample through transforms, each taken with its probability; randomness is torch's own."""
    for probability, step in steps:
        if float(torch.rand(())) < probability:
            sample = through(sample, step, size)
    return sample


def through(sample: Sample, step: Any, size: int) -> Sample:
    """A sample through one transform, its longer side again `size`, without the objects that were cut off."""
    height, width = sample.image.shape[-2:]
    boxes = tv_tensors.BoundingBoxes(
        sample.boxes, format="XYXY", canvas_size=(height, width), clamping_mode=None
    )
    numbers = torch.arange(len(boxes))
    out = step({"image": tv_tensors.Image(sample.image), "boxes": boxes, "labels": numbers})
    kept = out["labels"]  # a crop leaves out objects whose centre is outside
    image, found = out["image"].as_subclass(Tensor), out["boxes"].as_subclass(Tensor)
    return cut(resized(replace(sample.chosen(kept), image=image, boxes=found), size))


def cut(sample: Sample) -> Sample:
    """Boxes cut off at the image's edge; objects of which too little is left go."""
    height, width = sample.image.shape[-2:]
    edge = torch.tensor([width, height, width, height])
    inside = torch.minimum(sample.boxes.clamp(min=0), edge)
    left = area(inside) >= LEFT * area(sample.boxes)
    large = (inside[:, 2:] - inside[:, :2] >= LEAST).all(-1)
    return replace(sample, boxes=inside).chosen(left & large)


def mosaic(samples: Sequence[Sample], size: int, generator: torch.Generator) -> Sample:
    """Four images around a random point of one canvas of `size` x `size`, each scaled to fill its quarter."""
    x, y = (round(size * (0.3 + 0.4 * float(torch.rand((), generator=generator)))) for _ in "xy")
    canvas = samples[0].image.new_full((3, size, size), PADDING)
    corners = [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]
    parts = []
    for sample, (left, top, right, bottom) in zip(samples, corners, strict=True):
        height, width = sample.image.shape[-2:]
        factor = min((bottom - top) / height, (right - left) / width)
        small = stretched(sample, max(1, int(height * factor)), max(1, int(width * factor)))
        tall, wide = small.image.shape[-2:]
        canvas[:, top : top + tall, left : left + wide] = small.image
        moved = small.boxes + torch.tensor([left, top, left, top])
        parts.append(replace(small, boxes=moved))
    return cut(replace(together(parts), image=canvas))


def mixup(one: Sample, other: Sample, generator: torch.Generator) -> Sample:
    """Both images, each half as strong or a little more or less, and the objects of both."""
    height, width = one.image.shape[-2:]
    other = resized(other, max(height, width))
    share = 0.4 + 0.2 * float(torch.rand((), generator=generator))
    canvas = one.image.new_full(one.image.shape, PADDING)
    tall, wide = min(height, other.image.shape[1]), min(width, other.image.shape[2])
    canvas[:, :tall, :wide] = other.image[:, :tall, :wide]
    mixed = share * one.image.float() + (1 - share) * canvas.float()
    return cut(replace(together([one, other]), image=mixed.round().to(torch.uint8)))


def together(samples: Sequence[Sample]) -> Sample:
    """The objects of several samples as one's; the rest is the first one's."""
    return replace(
        samples[0],
        boxes=torch.cat([s.boxes for s in samples]),
        labels=torch.cat([s.labels for s in samples]),
        crowd=torch.cat([s.crowd for s in samples]),
        area=torch.cat([s.area for s in samples]),
    )
