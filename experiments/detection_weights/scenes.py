"""Generated scenes with real textures: shapes and digits cut from one photograph, on a part of another.

What a detector's first layers learn from flat colours is of little use on photographs. Here every surface is a part of
a photograph at some scale, turned, tinted and lit; objects are from a twelfth to two thirds of the image; one image in
twelve has none; soft shadows, lines and scraps without a shape are no objects; focus, noise and JPEG vary from image to
image. Image number i of a split depends on (split, i) only.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from experiments.detection_weights.photographs import Pixels
from framework.randomness import key
from plugins.detection.data.generated import (
    SHAPES,
    Mask,
    clutter,
    fits,
    outline,
    visible,
)
from plugins.detection.sample import Sample

MAX_OBJECTS = 8
# Of the scenes without an object.
EMPTY = 1 / 12
# Sizes of objects, as fractions of the image's side.
SMALLEST, LARGEST = 1 / 12, 2 / 3


class Scenes:
    """`count` images of a split, `[3, side, side]` each.

    Args:
        textures: photographs `[H, W, 3]`.
    """

    categories = SHAPES

    def __init__(self, split: str, count: int, side: int, textures: Sequence[Pixels]) -> None:
        self.split, self.count, self.side, self.textures = split, count, side, list(textures)

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int) -> Sample:
        random = numpy.random.default_rng(key(0, f"detection_weights/{self.split}", 0, index))
        return scene(random, self.side, index, self.textures)


def scene(random: Generator, side: int, image_id: int, textures: Sequence[Pixels]) -> Sample:
    """One image with its objects."""
    canvas = surface(random, textures, side, side)
    for _ in range(random.integers(0, 4)):
        clutter(random, canvas)
    front = numpy.full((side, side), -1, numpy.int16)
    labels: list[int] = []
    whole: list[int] = []
    wanted = 0 if random.random() < EMPTY else int(random.integers(1, MAX_OBJECTS + 1))
    for _ in range(wanted):
        label = int(random.integers(len(SHAPES)))
        mask = outline(random, SHAPES[label], side, SMALLEST, LARGEST)
        for _ in range(5):
            x, y = (int(random.integers(0, side - n + 1)) for n in mask.shape[::-1])
            if fits(front, whole, mask, x, y):
                paste(random, canvas, mask, (x, y), textures)
                front[y : y + mask.shape[0], x : x + mask.shape[1]][mask > 0.5] = len(labels)
                labels.append(label)
                whole.append(int((mask > 0.5).sum()))
                break
    boxes, areas = visible(front, len(labels))
    pixels = photographed(random, canvas)
    return Sample(
        torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.zeros(len(labels), dtype=torch.bool),
        torch.tensor(areas, dtype=torch.float32),
        image_id,
        (side, side),
    )


def surface(random: Generator, textures: Sequence[Pixels], height: int, width: int) -> Pixels:
    """A part of a photograph as `[height, width, 3]`: at a scale, mirrored or turned by quarters, tinted and lit."""
    whole = textures[int(random.integers(len(textures)))]
    longest = max(height, width)
    side = int(min(*whole.shape[:2], longest * math.exp(random.uniform(-0.7, 1.2))))
    top, left = (int(random.integers(0, n - side + 1)) for n in whole.shape[:2])
    part = whole[top : top + side, left : left + side].clip(0, 255).astype(numpy.uint8)
    square = Image.fromarray(part).resize((longest, longest), Image.Resampling.BICUBIC)
    pixels = numpy.rot90(numpy.asarray(square, numpy.float32), int(random.integers(4)))
    pixels = pixels[:, ::-1] if random.random() < 0.5 else pixels
    tinted = pixels[:height, :width] * random.uniform(0.6, 1.25, 3) + random.normal(0, 20, 3)
    slope = random.normal(0, 15, 2)
    light = slope[0] * numpy.linspace(-1, 1, height)[:, None] + slope[1] * numpy.linspace(
        -1, 1, width
    )
    lit: Pixels = (tinted + light[..., None]).clip(0, 255).astype(numpy.float32)
    return lit


def paste(
    random: Generator,
    canvas: Pixels,
    mask: Mask,
    place: tuple[int, int],
    textures: Sequence[Pixels],
) -> None:
    """An object in front of all others, sometimes with a soft shadow."""
    height, width = mask.shape
    x, y = place
    here = canvas[y : y + height, x : x + width]
    if random.random() < 0.4:
        shade(random, canvas, mask, place)
    filled = surface(random, textures, height, width)
    # A surface like its background would be no object.
    away = numpy.abs(filled.mean((0, 1)) - here.mean((0, 1))).sum()
    if away < 45:
        filled = filled + random.choice([-1, 1]) * random.uniform(40, 80)
    here += mask[..., None] * (filled - here)


def shade(random: Generator, canvas: Pixels, mask: Mask, place: tuple[int, int]) -> None:
    """A soft dark copy of a shape, a little to the side."""
    side = len(canvas)
    dark = Image.new("L", (side, side))
    away = random.normal(0, 0.06 * max(mask.shape), 2)
    at = (int(place[0] + away[0]), int(place[1] + abs(away[1])))
    dark.paste(Image.fromarray((255 * mask).astype(numpy.uint8)), at)
    soft = dark.filter(ImageFilter.GaussianBlur(1 + 0.04 * max(mask.shape)))
    canvas *= 1 - random.uniform(0.2, 0.6) * numpy.asarray(soft, numpy.float32)[..., None] / 255


def photographed(random: Generator, canvas: Pixels) -> NDArray[numpy.uint8]:
    """A canvas as a camera would store it: focus, noise, JPEG."""
    image = Image.fromarray(canvas.clip(0, 255).astype(numpy.uint8))
    image = image.filter(ImageFilter.GaussianBlur(abs(random.normal(0, 0.7))))
    noisy = numpy.asarray(image, numpy.float32) + random.normal(
        0, random.uniform(0, 8), canvas.shape
    )
    buffer = io.BytesIO()
    quality = int(random.integers(40, 96))
    Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8)).save(buffer, "JPEG", quality=quality)
    return numpy.array(Image.open(buffer))
