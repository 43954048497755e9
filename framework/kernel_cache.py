"""Kernels compiled by numba, cached until any file of their folder changes; numba looks at a kernel's own file only."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def cached_with_folder(kernel: Any, folder: Path) -> Any:
    """Let `numba.njit(cache=True)` compile a kernel again when any of a folder's files changes.

    A kernel holds the code of the functions that it calls and the constants that it reads, wherever they come from.
    """
    kernel._cache._cache_file._source_stamp = tuple(
        (file.name, file.stat().st_mtime, file.stat().st_size)
        for file in sorted(folder.glob("*.py"))
    )
    return kernel
