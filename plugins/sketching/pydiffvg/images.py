"""Pictures in and out, in diffvg's linear light: a file's values are the picture's to the power 1 / gamma."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from framework.errors import ProgramError
from framework.photographs import photograph_of


def imwrite(
    img: Tensor | NDArray[Any], filename: str, gamma: float = 2.2, normalize: bool = False
) -> None:
    """Write a picture `[H, W]` or `[H, W, 1, 3 or 4]` in 0..1; opacity is not raised to a power.

    Args:
        normalize: stretch it to 0..1 first.

    Raises:
        ProgramError: another shape, or numbers that are not finite.
    """
    values = img.detach().cpu().numpy() if isinstance(img, Tensor) else numpy.asarray(img)
    values = values.astype(numpy.float64)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in {2, 3} or (values.ndim == 3 and values.shape[2] not in {3, 4}):
        raise ProgramError(f"img {list(values.shape)}: expected [H, W], [H, W, 3] or [H, W, 4]")
    if not numpy.isfinite(values).all():
        raise ProgramError("img has a number that is not finite")
    if normalize and numpy.ptp(values) > 0:
        values = (values - values.min()) / numpy.ptp(values)
    values = values.clip(0, 1)
    if values.ndim == 2:
        values = values ** (1 / gamma)
    else:
        values[:, :, :3] = values[:, :, :3] ** (1 / gamma)
    place = Path(filename)
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * values).round().astype(numpy.uint8)).save(place)


def imread(filename: str, gamma: float = 2.2) -> Tensor:
    """A photograph in linear light, `[H, W, 3]` in 0..1.

    Raises:
        UserError: no readable picture.
    """
    pixels = photograph_of(filename).permute(1, 2, 0)
    return (pixels.to(torch.float32) / 255) ** gamma
