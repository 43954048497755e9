"""Real textures for synthetic scenes: crops of photographs without people that installed packages ship.

scikit-image, scikit-learn and pygame ship some for their examples; nothing is downloaded. `PHOTOGRAPHS` was looked
through by hand: there are no people in any of them, so that what is trained on them has seen no person.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from framework.extras import missing
from framework.photographs import read_photograph

# Files by package, below the package's folder.
PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    "skimage": tuple(
        f"data/{name}"
        for name in (
            *("brick.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png"),
            *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
            *("motorcycle_left.png", "motorcycle_right.png", "page.png", "retina.jpg"),
            *("rocket.jpg", "text.png"),
        )
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "pygame": ("examples/data/peppers3.tif",),
}
# With fewer, the scenes would show too little of the world.
FEWEST = 10
# The least part of a photograph's shorter side that a crop shows.
CLOSEST = 0.12


@lru_cache(maxsize=1)
def textures() -> tuple[Tensor, ...]:
    """The photographs `[3, H, W]` uint8 that are installed.

    Raises:
        UserError: too few of them are.
    """
    files = [
        file
        for package, names in PHOTOGRAPHS.items()
        for name in names
        if (file := folder_of(package) / name).is_file()
    ]
    if len(files) < FEWEST:
        raise missing(
            "textures",
            f"{len(files)} photographs for textures were found in installed packages, expected {FEWEST} or more",
        )
    return tuple(read_photograph(file) for file in files)


def folder_of(package: str) -> Path:
    """Where a package is installed, without importing it; a folder that does not exist where it is not."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return Path("/nonexistent")
    return Path(spec.origin).parent


def texture(
    photographs: Sequence[Tensor], height: int, width: int, random: torch.Generator
) -> Tensor:
    """A crop `[3, height, width]` in 0..1 of one of the photographs, of any size, mirrored, in other light."""
    number, zoom, x, y, flip, tone = torch.rand(6, generator=random).tolist()
    source = photographs[int(number * len(photographs))]
    across = min(source.shape[2], source.shape[1] * width / height)
    across = max(4, round(across * CLOSEST ** (zoom**1.5)))
    down = max(4, min(source.shape[1], round(across * height / width)))
    left = int(x * (source.shape[2] - across + 1))
    top = int(y * (source.shape[1] - down + 1))
    crop = source[None, :, top : top + down, left : left + across].float() / 255
    crop = functional.interpolate(
        crop, (height, width), mode="bilinear", antialias=True, align_corners=False
    )[0]
    crop = crop.flip(2) if flip < 0.5 else crop
    gains = (0.25 * torch.randn(3, 1, 1, generator=random)).exp()
    relit: Tensor = (crop * gains).clamp(0, 1) ** (2 ** (2 * tone - 1))
    return relit
