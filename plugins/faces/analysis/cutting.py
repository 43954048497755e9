"""Faces cut from a photograph in its own resolution, aligned by their landmarks where there are any."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from plugins.faces.data.photographs import as_pixels
from plugins.faces.models.alignment import TEMPLATE, patches, similarity, upright

Framing = Literal["crop", "arcface"]
# (x, y) of the landmarks in a square of -1..1: where the crops of recognition have them, and ArcFace's 112 x 112.
TEMPLATES: dict[Framing, tuple[tuple[float, float], ...]] = {
    "crop": tuple((0.89 * x, 0.89 * y) for x, y in TEMPLATE),
    "arcface": (
        (-0.3162, -0.0769),
        (0.3130, -0.0805),
        (0.0005, 0.2810),
        (-0.2581, 0.6495),
        (0.2630, 0.6464),
    ),
}
# Half a crop's side in heights of the box, where there are no landmarks.
EXTENT = 0.63
# Samples of a side for each pixel, so that large faces are averaged and not sampled.
SAMPLES = 4


class Places(NamedTuple):
    """The K faces of a photograph: boxes `[K, 4]` xyxy, scores `[K]` falling, landmarks `[K, 5, 2]`, NaN if unknown."""

    boxes: Tensor
    scores: Tensor
    landmarks: Tensor

    @classmethod
    def sorted(cls, boxes: Tensor, scores: Tensor, landmarks: Tensor) -> Places:
        """The faces in order of falling score."""
        order = scores.argsort(descending=True, stable=True)
        return cls(boxes[order], scores[order], landmarks[order])


def cut_faces(
    photograph: Pillow.Image, places: Places, side: int, framing: Framing = "crop"
) -> Tensor:
    """The faces `[K, 3, side, side]` uint8 of an RGB photograph."""
    pixels = as_pixels(photograph).float()
    cut = [
        cut_face(pixels, box, landmarks, side, framing)
        for box, landmarks in zip(places.boxes, places.landmarks, strict=True)
    ]
    return torch.stack(cut) if cut else torch.zeros(0, 3, side, side, dtype=torch.uint8)


def cut_face(pixels: Tensor, box: Tensor, landmarks: Tensor, side: int, framing: Framing) -> Tensor:
    """One face `[3, side, side]` uint8 of pixels `[3, H, W]`."""
    if landmarks.isfinite().all():
        points = torch.tensor(TEMPLATES[framing], dtype=torch.float32)
        matrix = similarity(landmarks[None].float(), points)
    else:
        corners = box.float().reshape(1, 2, 2)
        height = corners[:, 1, 1] - corners[:, 0, 1]
        matrix = upright(corners.mean(1), EXTENT * height)
    extent = (pixels.shape[-2], pixels.shape[-1])
    one = torch.zeros(1, dtype=torch.long)
    fine = patches(pixels[None], one, matrix, SAMPLES * side, extent)
    return functional.avg_pool2d(fine, SAMPLES)[0].round().clamp(0, 255).to(torch.uint8)
