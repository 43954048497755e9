"""Augmentation of training images: torchvision's transforms with each item's own keyed stream of random numbers.

Boxes are clipped with their image; an object of which less than a fifth, or a side of less than two pixels, remains is
dropped.
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
from framework.config.types import Fraction
from framework.randomness import seeded
from plugins.detection.boxes import area
from plugins.detection.data.copy_paste import pasted
from plugins.detection.data.resizing import resized, stretched
from plugins.detection.sample import PADDING, Sample, Source

# The fraction of an object's box that must remain, and its shortest side in pixels.
MIN_VISIBLE = 0.2
MIN_SIDE = 2.0


class Augmentation(Section):
    """Probabilities of the augmentations, and their strength.

    Args:
        flip: horizontal flip.
        vertical_flip: vertical flip, for images without an up, such as a microscope's.
        rotate: a turn by up to `degrees` to either side; a box becomes that around its turned corners.
        degrees: the largest turn of `rotate`.
        blur: Gaussian blur.
        copy_paste: objects of another image, cut out with their boxes, at other places (Dwibedi et al. 2017).
        photometric: brightness, contrast, saturation and hue; None: 0 for the generated shapes, 0.3 for a folder.
        zoom_out: the image on a larger grey canvas, objects up to `zoom` times smaller.
        crop: a crop with a minimal IoU with some object (Liu et al. 2016).
        scale_jitter: another scale, from 1/zoom to zoom, cropped or padded to the same size; None: 0 for the generated
            shapes, 0.5 for a folder.
        zoom: the strength of `zoom_out` and `scale_jitter`.
        mosaic: four images in one (Bochkovskiy et al. 2020).
        mixup: two images blended (Zhang et al. 2018).
        no_mosaic_fraction: the last fraction of training, without mosaic and mixup.
    """

    flip: Fraction = 0.5
    vertical_flip: Fraction = 0.0
    rotate: Fraction = 0.0
    degrees: Annotated[float, Field(gt=0, le=180)] = 15.0
    blur: Fraction = 0.0
    copy_paste: Fraction = 0.0
    photometric: Fraction | None = None
    zoom_out: Fraction = 0.0
    crop: Fraction = 0.0
    scale_jitter: Fraction | None = None
    zoom: Annotated[float, Field(gt=1, le=8)] = 1.5
    mosaic: Fraction = 0.0
    mixup: Fraction = 0.0
    no_mosaic_fraction: Fraction = 0.2

    def resolved(self, few: bool) -> Augmentation:
        """With defaults for options that are None: a folder's images are few and the generated ones are many."""
        defaults = (
            {"photometric": 0.3, "scale_jitter": 0.5}
            if few
            else {"photometric": 0.0, "scale_jitter": 0.0}
        )
        given = {name: value for name in defaults if (value := getattr(self, name)) is not None}
        return self.model_copy(update=defaults | given)


class Augmented:
    """A source with augmented items; see `framework.data.KeyedDataset`. `plain`: without mosaic and mixup."""

    def __init__(self, source: Source, options: Augmentation, size: int, *, plain: bool) -> None:
        self.source, self.options, self.size = source, options, size
        self.plain = plain
        self.transforms = transforms(options, size)

    def __len__(self) -> int:
        return len(self.source)

    def item(self, index: int, generator: torch.Generator) -> Sample:
        sample = self.augment(index, generator)
        # Off, it draws nothing: the other augmentations are the same as without it.
        if self.options.copy_paste and self.uniform(generator) < self.options.copy_paste:
            (other,) = self.others(1, generator)
            sample = pasted(sample, self.augment(other, generator), generator)
        if not self.plain and self.uniform(generator) < self.options.mosaic:
            others = [self.augment(i, generator) for i in self.others(3, generator)]
            sample = mosaic([sample, *others], self.size, generator)
        if not self.plain and self.uniform(generator) < self.options.mixup:
            (other,) = self.others(1, generator)
            sample = mixup(sample, self.augment(other, generator), generator)
        return sample

    def augment(self, index: int, generator: torch.Generator) -> Sample:
        """Sample `index` through the transforms."""
        number = int(torch.randint(2**62, (), generator=generator))
        with seeded(number):
            return transformed(self.source.sample(index), self.transforms, self.size)

    def others(self, count: int, generator: torch.Generator) -> list[int]:
        return torch.randint(len(self), (count,), generator=generator).tolist()

    @staticmethod
    def uniform(generator: torch.Generator) -> float:
        return float(torch.rand((), generator=generator))


def transforms(options: Augmentation, size: int) -> list[tuple[float, Any]]:
    """Each transform of torchvision with its probability."""
    steps = [
        (options.photometric or 0.0, v2.ColorJitter(0.3, 0.3, 0.4, 0.03)),
        (options.zoom_out, v2.RandomZoomOut(fill=PADDING, side_range=(1.0, options.zoom), p=1.0)),
        (options.crop, v2.RandomIoUCrop()),
        (options.scale_jitter or 0.0, Jitter(options.zoom)),
        (options.flip, v2.RandomHorizontalFlip(p=1.0)),
        (options.vertical_flip, v2.RandomVerticalFlip(p=1.0)),
        (
            options.rotate,
            v2.RandomRotation(
                options.degrees, v2.InterpolationMode.BILINEAR, expand=True, fill=PADDING
            ),
        ),
        (options.blur, v2.GaussianBlur(5, (0.3, 2.0))),
    ]
    return [(p, step) for p, step in steps if p > 0]


class Jitter(v2.Transform):  # type: ignore[misc]
    """Another scale on the same canvas: a larger image is cropped at random, a smaller one placed at random."""

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
    """A sample through transforms, each applied with its probability; random numbers are torch's global ones."""
    for probability, step in steps:
        if float(torch.rand(())) < probability:
            sample = through(sample, step, size)
    return sample


def through(sample: Sample, step: Any, size: int) -> Sample:
    """A sample through one transform, its longer side again `size`, without objects that were cropped away."""
    height, width = sample.image.shape[-2:]
    boxes = tv_tensors.BoundingBoxes(
        sample.boxes, format="XYXY", canvas_size=(height, width), clamping_mode=None
    )
    numbers = torch.arange(len(boxes))
    out = step({"image": tv_tensors.Image(sample.image), "boxes": boxes, "labels": numbers})
    # A crop drops objects whose centre is outside.
    kept = out["labels"]
    image, found = out["image"].as_subclass(Tensor), out["boxes"].as_subclass(Tensor)
    return clip_objects(resized(replace(sample.chosen(kept), image=image, boxes=found), size))


def clip_objects(sample: Sample) -> Sample:
    """Boxes clipped to the image; objects of which too little remains are dropped."""
    height, width = sample.image.shape[-2:]
    edge = torch.tensor([width, height, width, height])
    inside = torch.minimum(sample.boxes.clamp(min=0), edge)
    left = area(inside) >= MIN_VISIBLE * area(sample.boxes)
    large = (inside[:, 2:] - inside[:, :2] >= MIN_SIDE).all(-1)
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
    return clip_objects(replace(merge_objects(parts), image=canvas))


def mixup(one: Sample, other: Sample, generator: torch.Generator) -> Sample:
    """Both images blended in equal parts or a little more or less, with the objects of both."""
    height, width = one.image.shape[-2:]
    other = resized(other, max(height, width))
    share = 0.4 + 0.2 * float(torch.rand((), generator=generator))
    canvas = one.image.new_full(one.image.shape, PADDING)
    tall, wide = min(height, other.image.shape[1]), min(width, other.image.shape[2])
    canvas[:, :tall, :wide] = other.image[:, :tall, :wide]
    mixed = share * one.image.float() + (1 - share) * canvas.float()
    return clip_objects(replace(merge_objects([one, other]), image=mixed.round().to(torch.uint8)))


def merge_objects(samples: Sequence[Sample]) -> Sample:
    """The first sample with the objects of all."""
    return replace(
        samples[0],
        boxes=torch.cat([s.boxes for s in samples]),
        labels=torch.cat([s.labels for s in samples]),
        crowd=torch.cat([s.crowd for s in samples]),
        area=torch.cat([s.area for s in samples]),
    )
