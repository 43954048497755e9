"""Kernels on a machine without a GPU: Triton's interpreter, which `conftest` has chosen, runs them on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest


@contextmanager
def interpreted() -> Iterator[None]:
    """Inside the block kernels may be imported and called; the test is skipped where there is no Triton."""
    if find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    assert os.environ["TRITON_INTERPRET"] == "1"
    yield
