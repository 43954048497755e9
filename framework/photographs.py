"""Photographs as tensors `[3, H, W]` uint8, read one way everywhere: files, Pillow images, arrays, tensors.

Files are turned as their EXIF orientation says; grey, palette, CMYK and 16-bit pictures become RGB, and transparent
parts white; colours of another profile (Display P3, Adobe RGB) become sRGB's. White is what the file says it is: 255,
65535 for 16 bits (4095 for 12, or a TIFF's MaxSampleValue), 1.0 for floats. A picture whose white cannot be known is
refused in one line.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image, ImageCms, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from framework.errors import UserError
from framework.extras import command

# HEIC needs the package pillow-heif.
HEIC = frozenset({".heic", ".heif"})
SUFFIXES = HEIC | {
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".bmp", ".gif", ".webp", ".avif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2"),
}
# A few bytes of PNG can claim more than the memory holds.
MAX_PIXELS = 60_000_000
# Of an animation, all of whose frames are in memory.
MAX_FRAME_PIXELS = 10 * MAX_PIXELS
# EXIF's tag of the orientation, and the values that swap width and height.
ORIENTATION, TRANSPOSED = 0x0112, {5, 6, 7, 8}
# TIFF's tags.
BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE, WHITE_IS_ZERO = 258, 262, 281, 0
# Grey of 16 bits whose brightest pixel is darker is likely 12-bit data, which would be nearly black.
DARKEST_WHITE = 4096


class Unreadable(UserError):
    """A picture that cannot be read or understood, and why; the message does not name the file."""


def photographs_in(folder: Path) -> list[Path]:
    """The picture files below a folder by their suffixes, sorted; links to folders are followed, circles are not."""
    return [path for path in files_in(folder) if path.suffix.lower() in SUFFIXES]


def files_in(folder: Path) -> list[Path]:
    """All files below a folder, sorted; links to folders are followed, hidden files and folders are left out."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link to a folder above itself has no end.
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)


def read_photograph(path: Path) -> Tensor:
    """A picture file as `[3, H, W]` uint8.

    Raises:
        Unreadable: no picture, a damaged one, one with too many pixels, or one whose white is not known.
    """
    with opened(path) as image:
        return from_pillow(image)


def read_small(path: Path, side: int) -> Tensor:
    """A picture file as `[3, H, W]` uint8, a JPEG decoded at a fraction of its size, of at least `side` pixels.

    Raises:
        Unreadable: as in `read_photograph`.
    """
    with opened(path) as image:
        refuse_huge(image)
        image.draft(None, (side, side))
        return from_pillow(image)


def read_frames(path: Path) -> list[Tensor]:
    """The frames `[3, H, W]` uint8 of a picture file, of which a GIF, WebP or TIFF may have several.

    Raises:
        Unreadable: as in `read_photograph`.
    """
    frames: list[Tensor] = []
    with opened(path) as image:
        for frame in ImageSequence.Iterator(image):
            if (len(frames) + 1) * frame.width * frame.height > MAX_FRAME_PIXELS:
                raise Unreadable(f"more than {MAX_FRAME_PIXELS:,} pixels in its frames")
            frames.append(from_pillow(frame))
    return frames


def size_of(path: Path) -> tuple[int, int] | None:
    """A picture's `(height, width)` once turned, from the beginning of its file; None where it is no picture."""
    try:
        with opened(path) as image:
            # Of other PNGs Pillow would decode the whole file to look for EXIF.
            has_exif = image.format != "PNG" or "exif" in image.info
            turned = has_exif and image.getexif().get(ORIENTATION) in TRANSPOSED
            return (image.width, image.height) if turned else (image.height, image.width)
    except Unreadable:
        return None


def photographs_of(given: Any) -> list[Tensor] | None:
    """The pictures of a list, a tuple or a batch `[N, 3, H, W]`, `[3, H, W]` uint8 each; None: it is one picture.

    Raises:
        UserError: as in `photograph_of`, with the place in the list.
    """
    several = isinstance(given, list | tuple) or (
        isinstance(given, numpy.ndarray | Tensor) and given.ndim == 4
    )
    if not several:
        return None
    found = []
    for number, one in enumerate(given):
        try:
            found.append(photograph_of(one))
        except UserError as error:
            raise UserError(f"{error} (number {number} of {len(given)}, from 0)") from None
    return found


def photograph_of(given: Any) -> Tensor:
    """One picture in any form as `[3, H, W]` uint8 on the CPU.

    Args:
        given: a path; a Pillow image of any mode; an array `[H, W, 3]`, `[H, W, 4]`, `[H, W, 1]` or `[H, W]`; or a
            tensor `[3, H, W]` or `[1, H, W]`. Arrays and tensors hold integers from 0 to 255 or floats from 0 to 1.
            Paths and Pillow images are turned as their EXIF orientation says.

    Raises:
        UserError: no such file, one that is no picture, or another type, shape or range of values; one line.
    """
    if isinstance(given, str | PathLike):
        return from_file(Path(given).expanduser())
    if isinstance(given, Image.Image):
        try:
            with one_line_errors():
                return from_pillow(given)
        except Unreadable as error:
            raise UserError(f"image: {error}") from None
    if isinstance(given, numpy.ndarray):
        return from_array(given)
    if isinstance(given, Tensor):
        if given.ndim != 3 or given.shape[0] not in (1, 3):
            raise UserError(
                f"image: a tensor of shape {list(given.shape)}; expected [3, H, W] or [1, H, W]"
            )
        if given.layout != torch.strided or given.is_quantized or given.is_meta:
            raise wrong_type("a sparse, quantised or meta tensor")
        return to_bytes(given.detach().cpu()).expand(3, -1, -1).contiguous()
    raise UserError(
        f"image: {type(given).__name__}; expected a path, a Pillow image, an array, a tensor, or a list of these"
    )


def from_file(path: Path) -> Tensor:
    """`read_photograph` with the file's name in the error."""
    if not path.is_file():
        what = "a folder, not a picture" if path.is_dir() else "there is no such file"
        raise UserError(f"image = '{path}': {what}")
    try:
        return read_photograph(path)
    except Unreadable as error:
        raise UserError(f"image = '{path}': {error}") from None


def from_array(array: numpy.ndarray[Any, Any]) -> Tensor:
    """An array `[H, W, 3]`, `[H, W, 4]` (transparent parts become white), `[H, W, 1]` or `[H, W]` as `[3, H, W]`."""
    if numpy.ma.is_masked(array):
        raise UserError("image: an array with masked pixels; expected values for all of them")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise UserError(
            f"image: an array of shape {list(array.shape)}; expected [H, W, 3] or [H, W]"
        )
    # Sixteen bits without a sign may have their white at 65535.
    if array.dtype.kind not in "biuf" or array.dtype in (numpy.longdouble, numpy.uint16):
        raise wrong_type(array.dtype)
    if array.dtype.kind == "f":
        array = array.astype(numpy.float32)
    elif array.dtype.kind in "iu" and array.dtype != numpy.uint8:
        array = array.astype(numpy.int64)
    pixels = to_bytes(torch.from_numpy(numpy.array(array)))
    pixels = pixels.unsqueeze(-1) if pixels.ndim == 2 else pixels
    if pixels.shape[-1] == 4:
        return from_pillow(Image.fromarray(pixels.numpy()))
    return pixels.permute(2, 0, 1).expand(3, -1, -1).contiguous()


def to_bytes(pixels: Tensor) -> Tensor:
    """Values 0 to 255 of integers in this range, or of floats from 0 to 1.

    Raises:
        UserError: other types or values, or no pixel.
    """
    if not pixels.numel():
        raise UserError(f"image: shape {list(pixels.shape)} holds no pixel")
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.dtype in (torch.bool, torch.uint16) or pixels.is_complex():
        raise wrong_type(str(pixels.dtype).removeprefix("torch."))
    whole = not pixels.is_floating_point()
    low, high = (float(v) for v in pixels.aminmax())
    if not 0 <= low <= high <= (255 if whole else 1):
        kind, expected = (
            ("integers", "0 to 255") if whole else ("floats", "0 to 1 (integers: 0 to 255)")
        )
        raise UserError(f"image: {kind} from {low:g} to {high:g}; expected {kind} from {expected}")
    return pixels.to(torch.uint8) if whole else (255 * pixels.float()).round().to(torch.uint8)


def wrong_type(dtype: Any) -> UserError:
    return UserError(
        f"image: values of type {dtype}; expected integers from 0 to 255, or floats from 0 to 1"
    )


def from_pillow(image: Image.Image) -> Tensor:
    """A Pillow image of any mode as `[3, H, W]` uint8, turned as its EXIF orientation says.

    Raises:
        Unreadable: too many pixels, or a white that is not known.
    """
    refuse_huge(image)
    deep = deep_grey(image)
    image = ImageOps.exif_transpose(image if deep is None else with_exif_of(image, deep))
    image = in_srgb(image)
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}:
        # Pillow converts premultiplied grey in two steps only.
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    pixels = numpy.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def in_srgb(image: Image.Image) -> Image.Image:
    """An image in the colours of sRGB where its profile says that it has others: Display P3, Adobe RGB, a CMYK."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in {"RGB", "RGBA", "L", "CMYK"}:
        return image
    # A profile that cannot be read, or is of another kind of image, says nothing.
    with suppress(ImageCms.PyCMSError, OSError):
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(own).lower():
            return image
        colours = image.convert("RGB") if image.mode == "RGBA" else image
        srgb = ImageCms.createProfile("sRGB")
        found = ImageCms.profileToProfile(colours, own, srgb, outputMode="RGB")
        assert found is not None
        if image.mode == "RGBA":
            found.putalpha(image.getchannel("A"))
        return found
    return image


def refuse_huge(image: Image.Image) -> None:
    """Refuse a picture before it is decoded.

    Raises:
        Unreadable: more than `MAX_PIXELS`.
    """
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")


def deep_grey(image: Image.Image) -> numpy.ndarray[Any, Any] | None:
    """The bytes `[H, W]` of grey with more than 8 bits, which Pillow would clip; None: it has 8.

    Raises:
        Unreadable: its white is not known.
    """
    if not (image.mode in {"I", "F"} or image.mode.startswith("I;")):
        return None
    values = numpy.asarray(image, numpy.float64)
    low, high = (float(v) for v in (values.min(), values.max()))
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "F":
        if not 0 <= low <= high <= 1:
            raise Unreadable(f"grey floats from {low:g} to {high:g}; expected 0 to 1")
        white = 1.0
    elif image.format == "PPM":
        # Pillow stretches what the file says is white to this.
        white = 65535.0
    elif image.mode == "I" and image.format != "PNG":
        raise Unreadable(
            f"grey of signed or 32-bit integers from {low:g} to {high:g}, whose white is not known; "
            "save it with 8 or 16 bits"
        )
    else:
        white = white_of(tags, high)
    bright = values / white
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        bright = 1 - bright
    return (255 * bright.clip(0, 1)).round().astype(numpy.uint8)


def white_of(tags: Any, high: float) -> float:
    """The value of white in 16-bit grey whose brightest pixel is `high`, by a TIFF's tags where it has them."""
    bits, largest = (tags.get(tag, 0) for tag in (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
    bits, largest = (float(v[0] if isinstance(v, tuple) else v) for v in (bits, largest))
    if largest >= high > 0 and largest > 0:
        return largest
    if bits not in (0.0, 16.0):
        return float(2**bits - 1)
    if 0 < high < DARKEST_WHITE:
        raise Unreadable(
            f"16-bit grey with values up to {high:g} of 65535: nearly black, or data of fewer bits; save it with 8 bits"
        )
    return 65535.0


def with_exif_of(image: Image.Image, grey: numpy.ndarray[Any, Any]) -> Image.Image:
    """Grey pixels as an image that has the orientation of another."""
    made = Image.fromarray(grey)
    made.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return made


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture file; what Pillow raises or warns of inside the block becomes `Unreadable` or silence."""
    with one_line_errors(path):
        if path.suffix.lower() in HEIC:
            register_heic()
        with Image.open(path) as image:
            yield image


@contextmanager
def one_line_errors(path: Path | None = None) -> Iterator[None]:
    """Turn every error of Pillow's decoders, which raise any exception on damaged files, into `Unreadable`."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except UserError:
        raise
    except UnidentifiedImageError:
        empty = path is not None and not path.stat().st_size
        raise Unreadable("an empty file" if empty else "no image of a known kind") from None
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}".partition("\n")[0]) from None


def register_heic() -> None:
    """Let Pillow read HEIC.

    Raises:
        Unreadable: the package that can is not installed.
    """
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ModuleNotFoundError:
        raise Unreadable(f"HEIC needs the package pillow-heif: {command('heic')}") from None
    pillow_heif.register_heif_opener()
