"""A data set laid out from photographs: coins, cups, cats and badges, cut out of some and put down on others.

16 Roman coins, a coffee cup on its saucer, a cat's face and an astronaut's badge, at several sizes and turns, on brick,
grass, gravel and wood. The weights of `plugins/detection/models/pretrained` have learned from none of them.

    python -m experiments.detection_weights.cut_outs FOLDER

writes it in YOLO's form: 60 images to learn from, 40 for validation, 80 for testing.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy
import torch
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from experiments.command import given_arguments
from experiments.detection_weights.photographs import Pixels, photograph
from experiments.detection_weights.scenes import photographed
from framework.randomness import key
from plugins.detection.data.generated import fits, visible
from plugins.detection.data.writing import write
from plugins.detection.sample import Sample

WIDTH, HEIGHT = 320, 240
COUNTS = {"train": 60, "validation": 40, "test": 80}
GROUNDS = ("skimage/brick.png", "skimage/grass.png", "skimage/gravel.png", "skimage/coffee.png")
# Ellipses around things, as left, top, right and bottom in their photographs.
CUP = [(77, 77, 479, 386), (171, 15, 396, 209)]
CAT = [(60, 10, 360, 285)]
BADGE = [(136, 344, 205, 421)]
# The longer sides of things in an image, in pixels.
SIDES = {"coin": (18, 60), "cup": (50, 140), "cat": (40, 130), "badge": (16, 50)}
NAMES = list(SIDES)
MAX_OBJECTS = 7


@cache
def things(name: str) -> list[Image.Image]:
    """The cut-outs of a class, with transparency."""
    if name == "coin":
        return coins()
    file, ellipses = {
        "cup": ("skimage/coffee.png", CUP),
        "cat": ("skimage/chelsea.png", CAT),
        "badge": ("skimage/astronaut.png", BADGE),
    }[name]
    pixels = photograph(file)
    mask = Image.new("L", pixels.shape[1::-1])
    for ellipse in ellipses:
        ImageDraw.Draw(mask).ellipse(ellipse, fill=255)
    return [cut(pixels, mask)]


def coins() -> list[Image.Image]:
    """The coins of their photograph: a circle around what is brighter than its surroundings there."""
    pixels = photograph("skimage/coins.png")
    found = []
    # The middles and diameters of coins that do not touch the edge.
    for x, y, diameter in (
        (43, 52, 44), (100, 54, 40), (155, 49, 47), (216, 50, 47), (277, 51, 41), (45, 125, 42), (102, 126, 39),
        (153, 127, 40), (206, 123, 41), (271, 119, 50), (337, 124, 40), (44, 197, 39), (101, 196, 42), (154, 198, 38),
        (212, 194, 47), (274, 194, 46),
    ):  # fmt: skip
        mask = Image.new("L", pixels.shape[1::-1])
        half = diameter / 2
        ImageDraw.Draw(mask).ellipse((x - half, y - half, x + half, y + half), fill=255)
        found.append(cut(pixels, mask))
    return found


def cut(pixels: Pixels, mask: Image.Image) -> Image.Image:
    """A part of a photograph with a soft edge."""
    whole = Image.fromarray(pixels.astype(numpy.uint8))
    whole.putalpha(mask.filter(ImageFilter.GaussianBlur(0.7)))
    box = mask.getbbox()
    assert box is not None
    return whole.crop(box)


class CutOuts:
    """The images of a split, `[3, 240, 320]` each; image number i depends on (split, i) only."""

    categories = NAMES

    def __init__(self, split: str, count: int) -> None:
        self.split, self.count = split, count

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int) -> Sample:
        random = numpy.random.default_rng(key(0, f"cut_outs/{self.split}", 0, index))
        return table(random, index)


def table(random: Generator, image_id: int) -> Sample:
    """One image with its things."""
    canvas = ground(random)
    front = numpy.full((HEIGHT, WIDTH), -1, numpy.int16)
    labels: list[int] = []
    whole: list[int] = []
    for _ in range(random.integers(1, MAX_OBJECTS + 1)):
        label = int(random.choice(len(NAMES), p=[0.5, 0.15, 0.15, 0.2]))
        thing = turned(random, NAMES[label])
        alpha = numpy.asarray(thing.getchannel("A"), numpy.float32) / numpy.float32(255)
        height, width = alpha.shape
        for _ in range(5):
            x, y = int(random.integers(0, WIDTH - width)), int(random.integers(0, HEIGHT - height))
            if fits(front, whole, alpha, x, y):
                here = canvas[y : y + height, x : x + width]
                colours = numpy.asarray(thing.convert("RGB"), numpy.float32)
                here += alpha[..., None] * (colours * random.uniform(0.75, 1.2, 3) - here)
                front[y : y + height, x : x + width][alpha > 0.5] = len(labels)
                labels.append(label)
                whole.append(int((alpha > 0.5).sum()))
                break
    boxes, areas = visible(front, len(labels))
    return Sample(
        torch.from_numpy(photographed(random, canvas)).permute(2, 0, 1).contiguous(),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.zeros(len(labels), dtype=torch.bool),
        torch.tensor(areas, dtype=torch.float32),
        image_id,
        (HEIGHT, WIDTH),
    )


def ground(random: Generator) -> Pixels:
    """A part of a photograph of a ground, `[240, 320, 3]`."""
    pixels = photograph(GROUNDS[int(random.integers(len(GROUNDS)))])
    if pixels.shape[1] == 600:
        # The wood beside the saucer.
        pixels = pixels[:, 485:]
    height = int(random.integers(pixels.shape[0] // 2, pixels.shape[0] + 1))
    width = min(pixels.shape[1], height * WIDTH // HEIGHT)
    height = min(height, width * HEIGHT // WIDTH)
    top = int(random.integers(0, pixels.shape[0] - height + 1))
    left = int(random.integers(0, pixels.shape[1] - width + 1))
    part = Image.fromarray(pixels[top : top + height, left : left + width].astype(numpy.uint8))
    wide = numpy.asarray(part.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), numpy.float32)
    return (wide * random.uniform(0.6, 1.2) + random.normal(0, 8, 3)).clip(0, 255).astype("float32")


def turned(random: Generator, name: str) -> Image.Image:
    """A thing of a class at some size, turned."""
    kinds = things(name)
    thing = kinds[int(random.integers(len(kinds)))]
    low, high = SIDES[name]
    scale = low * (high / low) ** random.random() / max(thing.size)
    small = thing.resize([max(2, round(n * scale)) for n in thing.size], Image.Resampling.LANCZOS)
    whole = small.rotate(float(random.uniform(-40, 40)), Image.Resampling.BICUBIC, expand=True)
    solid = whole.getchannel("A").point(over_half)
    return whole.crop(solid.getbbox())


def over_half(value: int) -> int:
    return 255 if value > 127 else 0


def write_cut_outs(folder: Path) -> None:
    write(folder, "yolo", {name: CutOuts(name, count) for name, count in COUNTS.items()})


if __name__ == "__main__":
    given = given_arguments(__doc__, most=1)
    if not given:
        sys.exit(__doc__)
    write_cut_outs(Path(given[0]))
