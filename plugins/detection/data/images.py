"""Image files as tensors: turned as their EXIF says; grey, palette, CMYK and 16-bit images become RGB."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

# A few bytes of PNG can claim more than the memory holds.
MAX_PIXELS = 60_000_000
# Of an animation, all of whose frames are in memory.
MAX_FRAME_PIXELS = 10 * MAX_PIXELS
# EXIF orientations that swap width and height.
TRANSPOSED = {5, 6, 7, 8}


class Unreadable(Exception):
    """An image that cannot be read, and why."""


def read_image(path: Path) -> Tensor:
    """An image file as `[3, H, W]` uint8.

    Raises:
        Unreadable: not an image, a damaged one, or one with too many pixels.
    """
    try:
        with Image.open(path) as image:
            refuse_huge(image)
            return as_tensor(ImageOps.exif_transpose(image))
    except Unreadable:
        raise
    # Pillow's decoders raise any exception on damaged files.
    except Exception as error:
        raise Unreadable(reason(error)) from None


def read_frames(path: Path) -> list[Tensor]:
    """The frames of an image file, of which a GIF, WebP or TIFF may have several."""
    try:
        with Image.open(path) as image:
            refuse_huge(image)
            frames: list[Tensor] = []
            for frame in ImageSequence.Iterator(image):
                if (len(frames) + 1) * frame.width * frame.height > MAX_FRAME_PIXELS:
                    raise Unreadable(f"more than {MAX_FRAME_PIXELS:,} pixels in its frames")
                frames.append(as_tensor(ImageOps.exif_transpose(frame)))
            return frames
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
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")


def as_tensor(image: Image.Image) -> Tensor:
    """A Pillow image of any mode as `[3, H, W]` uint8; transparent parts become white."""
    # Deep grey, which Pillow would clip at 255.
    if image.mode in {"I", "I;16", "I;16B", "F"}:
        deep = numpy.asarray(image, numpy.float64)
        image = Image.fromarray((255 * deep / max(1.0, deep.max())).astype(numpy.uint8))
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA"}:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    pixels = numpy.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def size_of(path: Path) -> tuple[int, int] | None:
    """An image's `(height, width)` after turning, from the beginning of its file; None where it is not an image."""
    try:
        with Image.open(path) as image:
            # Of other PNGs Pillow would decode the whole file to look for EXIF.
            has_exif = image.format != "PNG" or "exif" in image.info
            turned = has_exif and image.getexif().get(0x0112) in TRANSPOSED
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:
        return None
