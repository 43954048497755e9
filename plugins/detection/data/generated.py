"""A generated data set: 1 to 12 textured shapes and digits on cluttered backgrounds, partly occluding each other.

Image number i of a split depends on (split, i) only, so that it is the same on every machine, in every run and in every
worker. Objects are rendered at four times the resolution and averaged. At least 60 % of an object stays visible, and
its box is that of the visible part.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from framework.randomness import key
from plugins.detection.sample import Sample

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring", "digit"]
# In an image.
MAX_OBJECTS = 12
# Sizes of objects, as fractions of the image's side.
SMALLEST, LARGEST = 0.1, 0.42
# The fraction of an object that stays visible.
VISIBLE = 0.6
# Outlines are rendered at this multiple of the resolution.
SUPERSAMPLING = 4
# The least difference of an object's colour from its background, summed over the channels.
MIN_CONTRAST = 90.0

Pixels = NDArray[numpy.float32]
Mask = NDArray[numpy.float32]


class Generated:
    """`count` images of a split, `[3, side, side]` each, rendered on demand; `Resized` caches them."""

    categories = SHAPES

    def __init__(self, split: str, count: int, side: int) -> None:
        self.split, self.count, self.side = split, count, side

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int) -> Sample:
        random = numpy.random.default_rng(key(0, f"detection/{self.split}", 0, index))
        return scene(random, self.side, index)


def scene(random: Generator, side: int, image_id: int) -> Sample:
    """One image with its objects."""
    canvas = ground(random, side)
    for _ in range(random.integers(2, 7)):
        clutter(random, canvas)
    # The object that is visible at each pixel.
    front = numpy.full((side, side), -1, numpy.int16)
    labels: list[int] = []
    # Pixels of each object, hidden ones included.
    whole: list[int] = []
    for _ in range(random.integers(1, MAX_OBJECTS + 1)):
        label = int(random.integers(len(SHAPES)))
        mask = outline(random, SHAPES[label], side)
        # Up to five places are tried.
        for _ in range(5):
            x, y = (int(random.integers(0, side - n + 1)) for n in mask.shape[::-1])
            if fits(front, whole, mask, x, y):
                paste(random, canvas, front, mask, (x, y), len(labels))
                labels.append(label)
                whole.append(int((mask > 0.5).sum()))
                break
    canvas += random.normal(0, 4, canvas.shape).astype(numpy.float32)
    boxes, areas = visible(front, len(labels))
    return Sample(
        torch.from_numpy(canvas.clip(0, 255).astype(numpy.uint8)).permute(2, 0, 1).contiguous(),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.zeros(len(labels), dtype=torch.bool),
        torch.tensor(areas, dtype=torch.float32),
        image_id,
        (side, side),
    )


def ground(random: Generator, side: int) -> Pixels:
    """A smooth coloured background `[side, side, 3]`, sometimes with a coarse pattern."""
    cells = int(random.integers(2, 9))
    coarse = random.uniform(40, 215, 3) + random.normal(0, 35, (cells, cells, 3))
    small = Image.fromarray(coarse.clip(0, 255).astype(numpy.uint8))
    soft = numpy.asarray(small.resize((side, side), Image.Resampling.BICUBIC), numpy.float32)
    if random.random() < 0.5:
        return soft + texture(random, side, side, numpy.zeros(3), random.normal(0, 18, 3))
    return soft.copy()


def clutter(random: Generator, canvas: Pixels) -> None:
    """Draw a distractor: a line, a scribble or a patch of another texture."""
    side = len(canvas)
    kind = random.integers(3)
    colour = random.uniform(0, 255, 3).astype(numpy.float32)
    if kind < 2:
        mask = Image.new("L", (side, side))
        points = random.uniform(0, side, (2 + 2 * int(kind), 2))
        ImageDraw.Draw(mask).line(
            [tuple(p) for p in points.tolist()], fill=255, width=int(random.integers(1, 4))
        )
        alpha = numpy.asarray(mask, numpy.float32)[..., None] / 255
        canvas += alpha * (colour - canvas) * random.uniform(0.3, 0.9)
    else:
        h, w = random.integers(side // 16, side // 4, 2)
        y, x = random.integers(0, side - h), random.integers(0, side - w)
        canvas[y : y + h, x : x + w] += texture(random, h, w, numpy.zeros(3), (colour - 128) / 4)


def texture(
    random: Generator, height: int, width: int, one: NDArray[Any], other: NDArray[Any]
) -> Pixels:
    """Two colours as stripes, checks or speckles, `[height, width, 3]`; or the first colour only."""
    kind = random.integers(4)
    y, x = numpy.mgrid[:height, :width]
    angle, period = random.uniform(0, math.pi), random.uniform(3, 9)
    along = (x * math.cos(angle) + y * math.sin(angle)) / period
    across = (y * math.cos(angle) - x * math.sin(angle)) / period
    if kind == 0:
        share = numpy.zeros((height, width))
    elif kind == 1:
        share = 0.5 + 0.5 * numpy.sin(2 * math.pi * along)
    elif kind == 2:
        share = (numpy.floor(along * 2) + numpy.floor(across * 2)) % 2
    else:
        share = random.random((height, width))
    return numpy.asarray(one + share[..., None] * (other - one), numpy.float32)


def outline(
    random: Generator, shape: str, side: int, smallest: float = SMALLEST, largest: float = LARGEST
) -> Mask:
    """The coverage of each pixel by a shape of random size, aspect ratio and angle, cropped to its box.

    Args:
        smallest, largest: the range of its size, as fractions of `side`.
    """
    size = side * smallest * (largest / smallest) ** random.random()
    if shape == "digit":
        drawn = digit(int(random.integers(10)), 24 * SUPERSAMPLING).rotate(
            float(random.uniform(-25, 25)), Image.Resampling.BILINEAR, expand=True
        )
        drawn = drawn.crop(drawn.getbbox())
        scale = size * SUPERSAMPLING / max(drawn.size)
        wide, tall = (max(SUPERSAMPLING, round(n * scale)) for n in drawn.size)
        drawn = drawn.resize((wide, tall), Image.Resampling.BILINEAR)
    else:
        angle = 0.0 if shape == "circle" else random.uniform(0, 2 * math.pi)
        drawn = polygon(shape, size * SUPERSAMPLING, random.uniform(0.7, 1.0), angle)
    fine = Image.new("L", [-(-n // SUPERSAMPLING) * SUPERSAMPLING for n in drawn.size])
    fine.paste(drawn)
    mask = numpy.asarray(fine.reduce(SUPERSAMPLING), numpy.float32) / 255
    solid = mask > 0.5
    rows, columns = (numpy.flatnonzero(solid.any(axis)) for axis in (1, 0))
    if not len(rows):
        return numpy.ones((2, 2), numpy.float32)
    return numpy.asarray(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], numpy.float32)


@cache
def digit(number: int, height: int) -> Image.Image:
    """A digit, white on black, cropped to its ink."""
    font = ImageFont.load_default(height)
    drawn = Image.new("L", (2 * height, 2 * height))
    ImageDraw.Draw(drawn).text((height // 2, 0), str(number), fill=255, font=font)
    return drawn.crop(drawn.getbbox())


def polygon(shape: str, size: float, slender: float, angle: float) -> Image.Image:
    """A rotated shape whose longer side before rotation is `size`, white on black, cropped."""
    corners = unit_outline(shape) * [1.0, slender]
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    points = corners @ numpy.array(turn) * size / 2
    low = points.min(0)
    width, height = numpy.ceil(points.max(0) - low).astype(int) + 1
    drawn = Image.new("L", (int(width), int(height)))
    pen = ImageDraw.Draw(drawn)
    pen.polygon([tuple(p) for p in (points - low).tolist()], fill=255)
    if shape == "ring":
        pen.polygon([tuple(p) for p in (0.55 * points - low).tolist()], fill=0)
    return drawn


@cache
def unit_outline(shape: str) -> NDArray[numpy.float64]:
    """The corners of a shape in [-1, 1] x [-1, 1], `[n, 2]`."""
    if shape in {"circle", "ring"}:
        turns = numpy.linspace(0, 2 * math.pi, 48, endpoint=False)
        return numpy.stack([numpy.cos(turns), numpy.sin(turns)], 1)
    if shape == "square":
        return numpy.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]])
    if shape == "cross":
        a, b = 1.0, 0.32
        quarter = numpy.array([[-b, -a], [b, -a], [b, -b]])
        turn = numpy.array([[0, 1], [-1, 0]])
        return numpy.concatenate([quarter @ numpy.linalg.matrix_power(turn, k) for k in range(4)])
    around = numpy.arange(3 if shape == "triangle" else 10)
    radius = numpy.ones(3) if shape == "triangle" else numpy.where(around % 2, 0.42, 1.0)
    angles = 2 * math.pi * around / len(around)
    return numpy.stack([radius * numpy.sin(angles), -radius * numpy.cos(angles)], 1)


def fits(front: NDArray[numpy.int16], whole: list[int], mask: Mask, x: int, y: int) -> bool:
    """Whether an object there leaves enough of each object that it covers visible."""
    height, width = mask.shape
    covered = front[y : y + height, x : x + width][mask > 0.5]
    hidden = numpy.bincount(covered[covered >= 0], minlength=len(whole))
    for number in numpy.flatnonzero(hidden):
        seen = int((front == number).sum()) - int(hidden[number])
        if seen < VISIBLE * whole[number]:
            return False
    return True


def paste(
    random: Generator,
    canvas: Pixels,
    front: NDArray[numpy.int16],
    mask: Mask,
    place: tuple[int, int],
    number: int,
) -> None:
    """Draw an object of a random texture, which contrasts with its background, in front of all others."""
    height, width = mask.shape
    x, y = place
    here = canvas[y : y + height, x : x + width]
    mean = here.mean((0, 1))
    colours = random.uniform(0, 255, (8, 3))
    far = numpy.abs(colours - mean).sum(1)
    colour = colours[
        numpy.argmax(far > MIN_CONTRAST) if (far > MIN_CONTRAST).any() else far.argmax()
    ]
    second = colour + random.normal(0, 40, 3)
    alpha = mask[..., None]
    here += alpha * (texture(random, height, width, colour, second) - here)
    front[y : y + height, x : x + width][mask > 0.5] = number


def visible(front: NDArray[numpy.int16], count: int) -> tuple[list[list[int]], list[int]]:
    """The boxes and areas of the visible part of each object."""
    boxes, areas = [], []
    for number in range(count):
        mine = front == number
        rows, columns = (numpy.flatnonzero(mine.any(axis)) for axis in (1, 0))
        boxes.append([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
        areas.append(int(mine.sum()))
    return boxes, areas
