"""Photographs that the wheels of scikit-image, scikit-learn and matplotlib ship: textures, and things to cut out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy
from numpy.typing import NDArray

from framework import UserError
from framework.photographs import read_photograph

Pixels = NDArray[numpy.float32]

# Where packages keep theirs, below their own folder.
FOLDERS = {
    "skimage": "data",
    "sklearn": "datasets/images",
    "matplotlib": "mpl-data/sample_data",
}
# What the weights learn from. None of `cut_outs.py` is among them.
LEARNED = (
    "sklearn/china.jpg", "sklearn/flower.jpg", "matplotlib/grace_hopper.jpg", "skimage/camera.png",
    "skimage/hubble_deep_field.jpg", "skimage/moon.png", "skimage/motorcycle_left.png", "skimage/page.png",
    "skimage/retina.jpg", "skimage/rocket.jpg",
)  # fmt: skip


def photographs(names: Sequence[str]) -> list[Pixels]:
    """Photographs `[H, W, 3]` with values from 0 to 255, by package and file: "skimage/coins.png".

    Raises:
        UserError: a package that is not installed, or a file that it does not ship.
    """
    return [photograph(name) for name in names]


@cache
def photograph(name: str) -> Pixels:
    package, _, file = name.partition("/")
    found = find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            f"'{name}': the package {package} is not installed; it ships this photograph"
        )
    path = Path(found.origin).parent / FOLDERS[package] / file
    if not path.is_file():
        raise UserError(f"'{path}': the installed {package} does not ship this photograph")
    pixels = read_photograph(path).permute(1, 2, 0).numpy()
    return numpy.ascontiguousarray(pixels, numpy.float32)
