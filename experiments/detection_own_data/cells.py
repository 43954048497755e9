"""Pictures as of a microscope: three kinds of cells, up to 30 in an image of 640 x 480, crowded and out of focus.

A stand-in for a user's own photographs: red cells that overlap and are cut off by the edge, rare large white cells
with a lobed nucleus, small platelets; uneven light, stains that are nothing, focus and sensor noise that change from
image to image, JPEG.

    python -m experiments.detection_own_data.cells [FOLDER]

writes them into FOLDER (outputs/cells by default).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from experiments.command import given_arguments

WIDTH, HEIGHT = 640, 480
KINDS = ("Platelets", "RBC", "WBC")
MOST = 30
SHARES = {"train": 205, "val": 87, "test": 72}

Pixels = NDArray[numpy.float32]
Box = tuple[int, int, int, int]


@dataclass
class Slide:
    """An image in the making and the boxes of its cells."""

    pixels: Pixels
    things: list[tuple[str, Box]]


def write(folder: Path, seed: int = 0) -> None:
    """Write the data set in Pascal VOC's form."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    number = 0
    for split, count in SHARES.items():
        names = [f"cells_{number + i:05d}" for i in range(count)]
        number += count
        for name in names:
            random = numpy.random.default_rng([seed, int(name[-5:])])
            slide = draw(random)
            photographed(random, slide.pixels).save(
                folder / "JPEGImages" / f"{name}.jpg", quality=int(random.integers(70, 95))
            )
            (folder / "Annotations" / f"{name}.xml").write_text(annotation(name, slide.things))
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")


def draw(random: Generator) -> Slide:
    """A slide with its cells, sharp and without noise."""
    tint = numpy.array([225, 205, 205]) + random.normal(0, 12, 3)
    light = random.normal(0, 14, (3, 4, 1)) + numpy.zeros(3)
    soft = Image.fromarray((light + 128).clip(0, 255).astype(numpy.uint8))
    uneven = numpy.asarray(soft.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), numpy.float32)
    slide = Slide((tint + uneven - 128).astype(numpy.float32), [])
    red = int(random.integers(4, MOST - 3))
    spread = random.uniform(0.05, 0.15)
    radius = random.uniform(36, 54)
    for _ in range(red):
        red_cell(random, slide, radius * random.normal(1, spread))
    for _ in range(int(random.choice([0, 1, 1, 1, 2]))):
        white_cell(random, slide, random.uniform(60, 95))
    for _ in range(int(random.choice([0, 0, 1, 1, 2, 3]))):
        platelet(random, slide, random.uniform(11, 22))
    for _ in range(int(random.integers(0, 4))):
        blot(random, slide)
    return slide


@dataclass
class Patch:
    """The part of a slide around a shape: how far each of its pixels is from the middle, in radii; 1 at the edge."""

    pixels: Pixels
    distance: NDArray[numpy.float32]
    left: int
    top: int


def patch(
    random: Generator, slide: Slide, x: float, y: float, radius: float, uneven: float
) -> Patch:
    """The patch of an uneven round shape at (x, y)."""
    reach = 1.6 * radius
    left, top = (max(0, int(c - reach)) for c in (x, y))
    pixels = slide.pixels[top : max(top, int(y + reach)), left : max(left, int(x + reach))]
    columns, rows = numpy.meshgrid(
        numpy.arange(pixels.shape[1], dtype=numpy.float32) + (left + 0.5 - x),
        numpy.arange(pixels.shape[0], dtype=numpy.float32) + (top + 0.5 - y),
    )
    angle = numpy.arctan2(rows, columns)
    edge = numpy.ones_like(angle)
    for waves in (2, 3, 5):
        phase = random.uniform(0, 6.3)
        edge += numpy.float32(random.normal(0, uneven / waves)) * numpy.cos(waves * angle + phase)
    distance = numpy.hypot(columns, rows) / (radius * edge.clip(0.5, 1.5))
    return Patch(pixels, distance.astype(numpy.float32), left, top)


def blend(pixels: Pixels, alpha: NDArray[numpy.float32], colour: NDArray[numpy.floating]) -> None:
    pixels += (alpha[..., None] * (colour - pixels)).astype(numpy.float32)


def soft_inside(distance: NDArray[numpy.float32], radius: float) -> NDArray[numpy.float32]:
    """1 inside, 0 outside, within two pixels of the edge between."""
    return numpy.clip(0.5 + (1 - distance) * radius / 2, 0, 1)


def place(random: Generator, margin: float) -> tuple[float, float]:
    """Anywhere, also cut off by the edge."""
    return random.uniform(-margin, WIDTH + margin), random.uniform(-margin, HEIGHT + margin)


def note(slide: Slide, kind: str, seen: Patch) -> None:
    """Write down the box of a cell, if enough of it is on the slide."""
    inside = seen.distance < 1
    rows, columns = numpy.flatnonzero(inside.any(1)), numpy.flatnonzero(inside.any(0))
    if len(rows) > 6 and len(columns) > 6 and len(slide.things) < MOST:
        left, top = seen.left, seen.top
        low = (left + int(columns[0]), top + int(rows[0]))
        high = (left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)
        slide.things.append((kind, (*low, *high)))


def red_cell(random: Generator, slide: Slide, radius: float) -> None:
    """A pink disc, paler inside."""
    seen = patch(random, slide, *place(random, -0.2 * radius), radius, 0.06)
    colour = numpy.array([205, 130, 130]) + random.normal(0, 10, 3)
    pale = random.uniform(0.1, 0.6) * numpy.clip(1 - (seen.distance / 0.7) ** 2, 0, 1)
    body = colour + (seen.pixels - colour) * pale[..., None]
    blend(seen.pixels, 0.85 * soft_inside(seen.distance, radius), body)
    note(slide, "RBC", seen)


def white_cell(random: Generator, slide: Slide, radius: float) -> None:
    """A large pale body with a purple nucleus of one to four lobes."""
    x, y = place(random, -0.4 * radius)
    seen = patch(random, slide, x, y, radius, 0.1)
    blend(seen.pixels, 0.8 * soft_inside(seen.distance, radius), numpy.array([200.0, 175, 205]))
    purple = numpy.array([110, 60, 150]) + random.normal(0, 12, 3)
    for _ in range(int(random.integers(1, 5))):
        across, up = random.normal(0, 0.25 * radius, 2)
        lobe = patch(random, slide, x + across, y + up, radius * random.uniform(0.3, 0.5), 0.15)
        blend(lobe.pixels, 0.9 * soft_inside(lobe.distance, 20), purple)
    note(slide, "WBC", seen)


def platelet(random: Generator, slide: Slide, radius: float) -> None:
    """A small purple crumb."""
    seen = patch(random, slide, *place(random, -radius), radius, 0.25)
    colour = numpy.array([150, 95, 165]) + random.normal(0, 12, 3)
    blend(seen.pixels, 0.8 * soft_inside(seen.distance, radius), colour)
    note(slide, "Platelets", seen)


def blot(random: Generator, slide: Slide) -> None:
    """A faint stain that is nothing."""
    seen = patch(random, slide, *place(random, 0), random.uniform(10, 70), 0.4)
    colour = numpy.array([180.0, 150, 190]) + random.normal(0, 20, 3)
    blend(seen.pixels, 0.35 * numpy.clip(1 - seen.distance, 0, 1), colour)


def photographed(random: Generator, pixels: Pixels) -> Image.Image:
    """Out of focus, brighter or darker, and with the sensor's noise."""
    exposed = pixels * random.uniform(0.8, 1.1)
    sharp = Image.fromarray(exposed.clip(0, 255).astype(numpy.uint8))
    soft = numpy.asarray(sharp.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 2.0))))
    noisy = soft + random.normal(0, random.uniform(1, 6), soft.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8))


def annotation(name: str, things: list[tuple[str, Box]]) -> str:
    """Pascal VOC's xml; corners count from 1 and belong to the box."""
    objects = "".join(
        f"<object><name>{kind}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin>"
        f"<ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for kind, (x0, y0, x1, y1) in things
    )
    return (
        f"<annotation><filename>{name}.jpg</filename><size><width>{WIDTH}</width>"
        f"<height>{HEIGHT}</height><depth>3</depth></size>{objects}</annotation>"
    )


if __name__ == "__main__":
    write(Path(*given_arguments(__doc__, most=1) or ["outputs/cells"]))
