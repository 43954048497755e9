"""Names that annotations give to files: a data set may come from a stranger, and lies in its folder alone."""

from __future__ import annotations

import os
from pathlib import Path


def inside(root: Path, folder: Path, name: str) -> Path | None:
    """The path of `name` in `folder`, without `..`; None where it leads out of `root`.

    An absolute name is taken where it lies in `root`. A link within the root is its owner's choice.
    """
    path = Path(os.path.normpath(folder / name))
    return path if path.absolute().is_relative_to(os.path.abspath(root)) else None
