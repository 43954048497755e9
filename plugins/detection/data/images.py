"""Image files as tensors: turned as their EXIF says, and grey, palette, CMYK or deep images made RGB."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

MOST_PIXELS = 100_000_000  # a few bytes of PNG can claim more than the memory holds
TURNED = {5, 6, 7, 8}  # EXIF orientations that swap width and height


class Unreadable(Exception):
    """An image that cannot be read, and why."""


def read_image(path: Path) -> Tensor:
    """An image file as `[3, H, W]` uint8.

    Raises:
        Unreadable: no image, a damaged one, or one of too many pixels.
    """
    try:
        with Image.open(path) as image:
            refuse_huge(image)
            return as_tensor(ImageOps.exif_transpose(image))
    except Unreadable:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they like on damaged files
        raise Unreadable(reason(error)) from None


def read_frames(path: Path) -> list[Tensor]:
    """The frames of an image file, of which a GIF, WebP or TIFF may have several."""
    try:
        with Image.open(path) as image:
            refuse_huge(image)
            frames = ImageSequence.Iterator(image)
            return [as_tensor(ImageOps.exif_transpose(frame)) for frame in frames]
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(reason(error)) from None


def reason(error: Exception) -> str:
    """Why an image cannot be read, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known kind"
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def refuse_huge(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise Unreadable(f"{image.width} x {image.height}, more than {MOST_PIXELS:,} pixels")


def as_tensor(image: Image.Image) -> Tensor:
    """Any kind of Pillow image as `[3, H, W]` uint8; what is transparent is white."""
    if image.mode in {"I", "I;16", "I;16B", "F"}:  # deep grey: Pillow would cut it off at 255
        deep = numpy.asarray(image, numpy.float64)
        image = Image.fromarray((255 * deep / max(1.0, deep.max())).astype(numpy.uint8))
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA"}:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    pixels = numpy.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def size_of(path: Path) -> tuple[int, int] | None:
    """An image's `(height, width)` as seen, from the beginning of its file; None where it is no image."""
    try:
        with Image.open(path) as image:
            told = image.format != "PNG" or "exif" in image.info  # else Pillow decodes it to look
            turned = told and image.getexif().get(0x0112) in TURNED
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:
        return None
