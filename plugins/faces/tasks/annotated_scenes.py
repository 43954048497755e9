"""Annotated photographs as scenes: resized to fit a square, with small faces ignored."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import UserError
from plugins.detection.data.inside import inside
from plugins.faces.data.lists import AnnotatedPhotograph
from plugins.faces.data.photographs import as_pillow, read_photograph, square
from plugins.faces.synthetic.scenes import Scenes

# Grey level of the margin, and the side at which photographs are compared.
MARGIN, SIDE = 127, 64
# Pixels of a face's height in the resized photograph; smaller ones are ignored.
SMALLEST = 4.0


def scenes_of(photographs: Sequence[AnnotatedPhotograph], folder: Path, side: int) -> Scenes:
    """Photographs resized into squares of `side` pixels; one that cannot be read is reported and stays empty.

    Raises:
        UserError: none of them can be read.
    """
    images, boxes, landmarks, index, ignored, unreadable = [], [], [], [], [], 0
    for number, photograph in enumerate(photographs):
        try:
            file = inside(folder, folder, photograph.file)
            if file is None:
                raise UserError(f"'{photograph.file}' leads out of {folder}")
            image, factor = fitted(read_photograph(file), side)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
            images.append(torch.full((3, side, side), MARGIN, dtype=torch.uint8))
            unreadable += 1
            continue
        resized = photograph.boxes * factor
        images.append(image)
        boxes.append(resized)
        landmarks.append(photograph.landmarks * factor)
        index += [number] * len(resized)
        ignored.append(photograph.ignored | (resized[:, 3] - resized[:, 1] < SMALLEST))
    if unreadable == len(photographs):
        raise UserError(
            f"task.images = '{folder}': none of the list's photographs can be read there"
        )
    return Scenes(
        images=torch.stack(images),
        boxes=torch.cat(boxes),
        landmarks=torch.cat(landmarks),
        people=torch.full((len(index),), -1),
        image_index=torch.tensor(index, dtype=torch.long),
        ignored=torch.cat(ignored),
    )


def fitted(photograph: Pillow.Image, side: int) -> tuple[Tensor, float]:
    """A photograph `[3, side, side]` at the top left of a grey square, and the factor of its size."""
    factor = side / max(photograph.size)
    width, height = (max(1, min(side, round(n * factor))) for n in photograph.size)
    small = numpy.array(photograph.resize((width, height), Pillow.Resampling.BILINEAR))
    canvas = torch.full((3, side, side), MARGIN, dtype=torch.uint8)
    canvas[:, :height, :width] = torch.from_numpy(small).permute(2, 0, 1)
    return canvas, factor


def contents(scenes: Scenes) -> Tensor:
    """The photographs without their margins, stretched to squares `[N, 3, SIDE, SIDE]` uint8, to be compared."""
    found = torch.empty(len(scenes), 3, SIDE, SIDE, dtype=torch.uint8)
    for number, image in enumerate(scenes.images):
        filled = (image != MARGIN).any(0)
        rows, columns = filled.any(1).nonzero(), filled.any(0).nonzero()
        whole = image
        if len(rows):
            whole = image[:, : int(rows[-1]) + 1, : int(columns[-1]) + 1]
        found[number] = square(as_pillow(whole), SIDE)
    return found
