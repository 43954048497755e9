"""Pictures that a visitor drops on the page, within limits, and pictures that are sent to it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from framework import UserError
from framework.media import Pixels

MAX_BYTES = 10_000_000
# A few bytes can claim more pixels than the memory holds.
MAX_PIXELS = 30_000_000
# Of the longer side; what the plugins then see.
SIDE = 1024
FORMATS = ("JPEG", "PNG", "WEBP")


def accept(data: bytes, folder: Path) -> Path:
    """Write a dropped picture, upright and at most `SIDE` pixels long, as a PNG file in RGB; returns its path.

    Raises:
        UserError: too many bytes or pixels, or no readable JPEG, PNG or WebP.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"the picture has {len(data):,} bytes; expected at most {MAX_BYTES:,}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UserError(
                    f"the picture has {width} x {height} pixels; expected at most {MAX_PIXELS:,}"
                )
            # JPEG is then decoded at a fraction of its size.
            image.draft("RGB", (SIDE, SIDE))
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError("the file is no JPEG, PNG or WebP picture") from None
    # Pillow's decoders raise any exception on damaged files.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"the picture cannot be read: {reason}") from None
    upright.thumbnail((SIDE, SIDE))
    white = Image.new("RGBA", upright.size, "white")
    path = folder / "picture.png"
    Image.alpha_composite(white, upright).convert("RGB").save(path)
    return path


def data_url(pixels: Pixels, longest: int = SIDE) -> str:
    """Pixels `[H, W, 3]` uint8 as the address of a PNG that holds them, at most `longest` on its longer side."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    # It goes to this machine only: small enough soon is better than smaller later.
    image.save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
