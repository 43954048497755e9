"""Kernels on a machine without a GPU: Triton's interpreter runs them on the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest


@contextmanager
def interpreted() -> Iterator[None]:
    """Inside the block kernels are imported and called for the CPU; the test is skipped where there is no Triton."""
    if find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before
