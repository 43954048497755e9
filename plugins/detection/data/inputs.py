"""A caller's images, in any of the usual forms, as tensors: paths, Pillow images, numpy arrays, tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor

from framework import UserError
from plugins.detection.data.images import Unreadable, as_tensor, read_image, refuse_huge


def images_of(given: Any) -> list[Tensor] | None:
    """The images of a list, a tuple or a batch `[N, 3, H, W]`, `[3, H, W]` uint8 each; None: it is one image.

    Raises:
        UserError: as in `image_of`.
    """
    if isinstance(given, list | tuple) or (isinstance(given, Tensor) and given.ndim == 4):
        return [image_of(one) for one in given]
    return None


def image_of(given: Any) -> Tensor:
    """One image as `[3, H, W]` uint8 on the CPU.

    Args:
        given: a path; a Pillow image of any mode; an array `[H, W, 3]` or `[H, W]`; or a tensor `[3, H, W]`. Arrays and
            tensors are uint8 from 0 to 255 or floats from 0 to 1.
            Paths and Pillow images are turned by their EXIF orientation.

    Raises:
        UserError: no such file, one that is no image, or another type, shape or range of values.
    """
    if isinstance(given, str | Path):
        return from_file(Path(given).expanduser())
    if isinstance(given, Image.Image):
        try:
            refuse_huge(given)
            return as_tensor(ImageOps.exif_transpose(given))
        except (Unreadable, OSError) as error:
            raise UserError(f"image: {error}") from None
    if isinstance(given, numpy.ndarray):
        if given.ndim not in (2, 3) or (given.ndim == 3 and given.shape[2] != 3):
            raise UserError(
                f"image: an array of shape {list(given.shape)}; expected [H, W, 3] or [H, W]"
            )
        pixels = to_bytes(torch.from_numpy(numpy.array(as_number(given))))
        return pixels.permute(2, 0, 1).contiguous() if pixels.ndim == 3 else pixels.repeat(3, 1, 1)
    if isinstance(given, Tensor):
        if given.ndim != 3 or given.shape[0] != 3:
            raise UserError(f"image: a tensor of shape {list(given.shape)}; expected [3, H, W]")
        return to_bytes(given.detach().cpu())
    raise UserError(
        f"image: {type(given).__name__}; expected a path, a Pillow image, an array, a tensor, or a list of these"
    )


def from_file(path: Path) -> Tensor:
    if not path.is_file():
        raise UserError(f"image = '{path}': there is no such file")
    try:
        return read_image(path)
    except Unreadable as error:
        raise UserError(f"image = '{path}': {error}") from None


def as_number(array: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """The array, if torch knows its type."""
    if array.dtype.kind not in "biuf" or array.dtype in (numpy.longdouble,):
        raise wrong_type(array.dtype)
    return array.astype(numpy.float32) if array.dtype.kind == "f" else array


def to_bytes(pixels: Tensor) -> Tensor:
    """Values 0 to 255 of bytes, or of floats from 0 to 1."""
    if not pixels.numel():
        raise UserError(f"image: shape {list(pixels.shape)} holds no pixel")
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise wrong_type(str(pixels.dtype).removeprefix("torch."))
    low, high = (float(v) for v in pixels.aminmax())
    if not 0 <= low <= high <= 1:
        raise UserError(
            f"image: floats from {low:g} to {high:g}; expected floats from 0 to 1, or uint8"
        )
    return (255 * pixels.float()).round().to(torch.uint8)


def wrong_type(dtype: Any) -> UserError:
    return UserError(
        f"image: values of type {dtype}; expected uint8 from 0 to 255, or floats from 0 to 1"
    )
