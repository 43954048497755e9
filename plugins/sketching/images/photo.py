"""The photograph: reading it, and what in it guides the first strokes.

Strokes start where it is dark or where an edge is, and lie along the edge: the direction of least change is the minor
eigenvector of the structure tensor, the blurred outer product of the gradient with itself.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from framework.errors import UserError
from framework.photographs import SUFFIXES, photograph_of, photographs_in

# Per pixel, one grey level of 256: fainter slopes are of noise and of compression, whose blocks lie along the axes.
NOISE = 1 / 255


def default_photo() -> Path:
    """The portrait of Grace Hopper that comes with matplotlib, located without importing it.

    Raises:
        UserError: there is no matplotlib.
    """
    found = find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        raise UserError(
            "which photograph? input=photo.jpg; the default one comes with the package matplotlib"
        )
    return Path(found.submodule_search_locations[0]) / "mpl-data/sample_data/grace_hopper.jpg"


def photo_of(image: str | Path | Pillow.Image | NDArray[Any] | Tensor, side: int) -> Tensor:
    """A photograph as `[3, H, W]` in 0..1, upright, on white, its longer side scaled to `side` pixels.

    Args:
        image: whatever `framework.photographs.photograph_of` reads: a file, a PIL image, an array or a tensor.

    Raises:
        UserError: none of these, or no readable picture.
    """
    pixels = photograph_of(image)
    height, width = pixels.shape[1:]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    upright = Pillow.fromarray(pixels.permute(1, 2, 0).numpy())
    small = numpy.asarray(upright.resize(size, Pillow.Resampling.LANCZOS), dtype=numpy.float32)
    return torch.from_numpy(small / 255).permute(2, 0, 1).contiguous()


def pictures_in(source: Path) -> list[Path]:
    """The picture files of a folder and its sub-folders, in order; or the one file that was named.

    Raises:
        UserError: the folder has none.
    """
    if not source.is_dir():
        return [source]
    files = photographs_in(source)
    if not files:
        raise UserError(f"{source}: no pictures in this folder ({' '.join(sorted(SUFFIXES))})")
    return files


def readable(files: list[Path], read: Callable[[Path], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """A unique name for each file, and what `read` returns for it; a bad file among several is reported and skipped.

    Raises:
        UserError: no file was readable.
    """
    stems = Counter(file.stem for file in files)
    several, any_readable = len(files) > 1, False
    taken: Counter[str] = Counter()
    for file in files:
        name = file.stem if stems[file.stem] == 1 else file.name
        taken[name] += 1
        # A file of the same name in another folder.
        if taken[name] > 1:
            name = f"{name}_{taken[name]}"
        try:
            picture = read(file)
        except UserError as error:
            if not several:
                raise
            sys.stderr.write(f"diffobj: {error}; skipped\n")
            continue
        any_readable = True
        yield name, picture
    if not any_readable:
        raise UserError(f"none of the {len(files)} pictures can be read")


def grey(photo: Tensor) -> Tensor:
    """The lightness of `[..., 3, H, W]`, `[..., H, W]` (the weights of Rec. 709)."""
    weights = photo.new_tensor([0.2126, 0.7152, 0.0722])
    return (photo * weights[:, None, None]).sum(-3)


def stretched(lightness: Tensor, gamma: float = 1.0) -> Tensor:
    """Contrast stretched so that 1 % is black and 4 % is white, raised to `gamma`; a flat picture stays as it is."""
    values = lightness.flatten().sort().values
    low, high = values[int(0.01 * (len(values) - 1))], values[int(0.96 * (len(values) - 1))]
    if high - low < 1e-3:
        return lightness
    return ((lightness - low) / (high - low)).clamp(0, 1) ** gamma


def blurred(image: Tensor, sigma: float) -> Tensor:
    """`[..., H, W]` under a Gaussian of `sigma` pixels, edges repeated."""
    if sigma <= 0:
        return image
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    bell = torch.exp(-(x**2) / (2 * sigma**2))
    bell = bell / bell.sum()
    planes = image.reshape(-1, 1, *image.shape[-2:])
    planes = functional.pad(planes, (radius, radius, 0, 0), mode="replicate")
    planes = functional.conv2d(planes, bell[None, None, None, :])
    planes = functional.pad(planes, (0, 0, radius, radius), mode="replicate")
    return functional.conv2d(planes, bell[None, None, :, None]).reshape(image.shape)


def slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's derivatives by x and y of `[..., H, W]`, edges repeated, per pixel."""
    planes = image.reshape(-1, 1, *image.shape[-2:])
    planes = functional.pad(planes, (1, 1, 1, 1), mode="replicate")
    across = image.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    x, y = functional.conv2d(planes, kernels).unbind(1)
    return x.reshape(image.shape), y.reshape(image.shape)


def line_drawing(lightness: Tensor, sigma: float) -> Tensor:
    """Dark lines on white where the lightness `[H, W]` falls below its surroundings (Winnemoeller et al. 2012).

    Extended differences of Gaussians: 1 + tanh(20 (G_s - 0.98 G_1.6s)), cut at 1.
    """
    difference = blurred(lightness, sigma) - 0.98 * blurred(lightness, 1.6 * sigma)
    return (1 + torch.tanh(20 * difference)).clamp(0, 1)


@dataclass(frozen=True)
class Guide:
    """Maps `[H, W]` of a photograph that guide its strokes.

    Attributes:
        edges: edge strength in 0..1.
        direction: the angle of least change, in radians.
        coherence: 0..1, how clearly one direction prevails.
    """

    edges: Tensor
    direction: Tensor
    coherence: Tensor

    @classmethod
    def of(cls, lightness: Tensor) -> Guide:
        """The guide of a photograph's lightness `[H, W]`."""
        x, y = slopes(blurred(lightness, 1.0))
        strength = torch.hypot(x, y)
        xx, yy, xy = (blurred(part, 2.5) for part in (x * x, y * y, x * y))
        across = torch.atan2(2 * xy, xx - yy) / 2
        spread = torch.hypot(xx - yy, 2 * xy) / (xx + yy + NOISE**2)
        top = strength.flatten().sort().values[int(0.98 * (strength.numel() - 1))].clamp(min=1e-6)
        return cls((strength / top).clamp(0, 1), across + math.pi / 2, spread.clamp(0, 1))


def scattered(density: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` places `[count, 2]` (x, y in pixels) sampled from a density `[H, W]`, uniform within their pixels."""
    weights = density.flatten().double().clamp(min=0).cpu()
    if float(weights.sum()) <= 0:
        weights = torch.ones_like(weights)
    bounds = weights.cumsum(0)
    picks = torch.rand(count, generator=generator, dtype=torch.float64) * bounds[-1]
    place = torch.searchsorted(bounds, picks).clamp(max=len(bounds) - 1)
    width = density.shape[1]
    corner = torch.stack([place % width, place // width], 1)
    return (corner + torch.rand(count, 2, generator=generator)).to(density)


def at(image: Tensor, points: Tensor) -> Tensor:
    """An image `[..., H, W]` at the pixels of `points [N, 2]`: `[..., N]`."""
    height, width = image.shape[-2:]
    column = points[:, 0].long().clamp(0, width - 1)
    row = points[:, 1].long().clamp(0, height - 1)
    return image[..., row, column]
