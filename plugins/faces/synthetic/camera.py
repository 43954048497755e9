"""What a camera and its file do to a picture: focus, exposure, colours, grain, JPEG."""

from __future__ import annotations

import io

import numpy
import torch
from PIL import Image as Pillow
from PIL import ImageFilter
from torch import Tensor

from plugins.faces.data.photographs import as_pixels

# The parts of pictures without colours, out of focus, and stored as JPEG.
GREY, BLURRED, COMPRESSED = 0.2, 0.6, 0.7
# Standard deviations of the blur in pixels and of the grain in 0..1, and the JPEG quality, from and to.
BLUR, GRAIN, QUALITY = (0.2, 1.3), (0.0, 0.04), (25, 95)


def photographed(scene: Tensor, random: torch.Generator) -> Tensor:
    """A scene `[3, H, W]` in 0..1 as a photograph of it, uint8."""
    grey, blurred, blur, grain, compressed, quality, gamma = torch.rand(
        7, generator=random
    ).tolist()
    gains = (0.08 * torch.randn(3, 1, 1, generator=random)).exp()
    contrast = float((0.2 * torch.randn((), generator=random)).exp())
    picture = (scene * gains).clamp(0, 1) ** (2 ** (1.4 * gamma - 0.7))
    picture = 0.5 + contrast * (picture - 0.5)
    if grey < GREY:
        picture = picture.mean(0, keepdim=True).expand(3, -1, -1)
    image = as_image(picture)
    if blurred < BLURRED:
        image = image.filter(ImageFilter.GaussianBlur(between(BLUR, blur**2)))
    noise = between(GRAIN, grain**2) * torch.randn(picture.shape, generator=random)
    image = as_image(as_pixels(image).float() / 255 + noise)
    if compressed < COMPRESSED:
        image = as_jpeg(image, round(between(QUALITY, quality)))
    return as_pixels(image)


def between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def as_image(picture: Tensor) -> Pillow.Image:
    """A picture `[3, H, W]` in about 0..1."""
    pixels = (picture * 255).round().clamp(0, 255).to(torch.uint8)
    return Pillow.fromarray(numpy.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))


def as_jpeg(image: Pillow.Image, quality: int) -> Pillow.Image:
    """The image as it comes out of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Pillow.open(buffer).convert("RGB")
