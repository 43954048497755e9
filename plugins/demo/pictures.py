"""Pictures that a visitor drops on the page, within limits, and pictures that are sent to it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from framework import UserError
from framework.media import Pixels

MAX_BYTES = 10_000_000
# A few bytes can claim more pixels than the memory holds.
MAX_PIXELS = 30_000_000
# Of the longer side; what the plugins then see.
SIDE = 1024
# Of the longer side, for words to be read; and the height of a letter.
LEGIBLE, LETTER = 640, 20
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


def boxed(path: Path, boxes: Sequence[Sequence[float]], words: Sequence[str]) -> Pixels:
    """A picture with boxes (x0, y0, x1, y1 in its pixels) and words at each, small pictures enlarged to be read."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    scale = max(1, round(LEGIBLE / max(picture.size)))
    picture = picture.resize((picture.width * scale, picture.height * scale))
    draw = ImageDraw.Draw(picture)
    for box, text in zip(boxes, words, strict=True):
        x0, y0, x1, y1 = (scale * edge for edge in box)
        draw.rectangle((x0, y0, x1, y1), outline="white", width=5)
        draw.rectangle((x0, y0, x1, y1), outline="black", width=2)
        place = draw.textbbox((x0, max(0, y0 - LETTER)), text, font_size=LETTER)
        draw.rectangle(place, fill="black")
        draw.text((x0, max(0, y0 - LETTER)), text, fill="white", font_size=LETTER)
    return numpy.asarray(picture)


def data_url(pixels: Pixels, longest: int = SIDE) -> str:
    """Pixels `[H, W, 3]` uint8 as the address of a PNG that holds them, at most `longest` on its longer side."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    # It goes to this machine only: small enough soon is better than smaller later.
    image.save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
