"""Drawing boxes on images, and images side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from framework.media import Pixels
from plugins.detection.sample import PADDING

# Distinguishable also with red-green colour blindness.
COLOURS = [
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48),
    (145, 30, 180), (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212),
]  # fmt: skip


def draw_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: Tensor,
    categories: Sequence[str],
    scores: Tensor | None = None,
    min_side: int = 320,
    tracks: Sequence[int] = (),
) -> Pixels:
    """An image `[3, H, W]` with boxes `[n, 4]`, names, scores and the numbers of tracks, where they are given.

    It is enlarged to a side of at least `min_side` pixels.
    """
    pixels = image.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    times = max(1, -(-min_side // max(pixels.shape[:2])))
    picture = Image.fromarray(pixels)
    picture = picture.resize([n * times for n in picture.size], Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    height = max(10, max(picture.size) // 40)
    font = ImageFont.load_default(height)
    thick = max(1, max(picture.size) // 300)
    # The best is drawn last, on top.
    for number in reversed(range(len(boxes))):
        label = int(labels[number])
        colour = COLOURS[label % len(COLOURS)]
        x0, y0, x1, y1 = (float(v) * times for v in boxes[number])
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=thick)
        text = categories[label] if label < len(categories) else str(label)
        if scores is not None:
            text += f" {100 * float(scores[number]):.0f}"
        if tracks:
            text += f" #{tracks[number]}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        x = min(max(0.0, x0), picture.width - (right - left) - 2)
        tall = bottom - top + 3
        # Above the box; below it where there is no room; inside where there is none either.
        below = y1 if y1 + tall <= picture.height else y0
        y = y0 - tall if y0 > tall else below
        pen.rectangle((x, y, x + right - left + 2, y + tall), fill=colour)
        ink = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
        pen.text((x + 1 - left, y + 1 - top), text, fill=ink, font=font)
    return numpy.asarray(picture)


def side_by_side(*pictures: Pixels, gap: int = 4) -> Pixels:
    """Pictures side by side on a white ground."""
    height = max(len(p) for p in pictures)
    parts: list[Pixels] = []
    for picture in pictures:
        below = numpy.full((height - len(picture), picture.shape[1], 3), PADDING, numpy.uint8)
        parts += [numpy.full((height, gap, 3), 255, numpy.uint8)] if parts else []
        parts.append(numpy.concatenate([picture, below]))
    return numpy.concatenate(parts, 1)


def grid(pictures: Sequence[Pixels], columns: int, gap: int = 4) -> Pixels:
    """Pictures in rows of `columns`, each padded to the largest."""
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    canvas = numpy.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, numpy.uint8
    )
    for number, picture in enumerate(pictures):
        y, x = (number // columns) * (height + gap), (number % columns) * (width + gap)
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas
