"""Kernels that numba caches: compiled again when a file beside them changes."""

from pathlib import Path

import pytest

from framework.kernel_cache import cached_with_folder

njit = pytest.importorskip("numba").njit


def kernel(x: float) -> float:
    return x + 1.0


def test_a_file_beside_a_kernel_changes_its_stamp(tmp_path: Path) -> None:
    def stamp() -> object:
        return cached_with_folder(
            njit(cache=True)(kernel), tmp_path
        )._cache._cache_file._source_stamp

    (tmp_path / "constants.py").write_text("A = 1\n")
    before = stamp()
    assert stamp() == before
    (tmp_path / "constants.py").write_text("A = 10\n")
    assert stamp() != before
