"""Every kernel of Triton's compiles for an H100 or H200, on a machine without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from framework.plugin import ROOT

KERNELS = {
    "scan_kernel._backwards",
    "scan_kernel._gae",
    "scan_kernel._vtrace",
    "cart_pole_kernel._play",
    "boards_kernel._play",
    "triton_lines._forward",
    "triton_lines._backward",
    "triton_kernel._forward",
    "triton_kernel._backward",
}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_every_kernel_compiles(tmp_path):
    """In a process of its own: here the interpreter is chosen."""
    named = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.compiled_kernels", "all"]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | named, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout)
    assert set(found) == KERNELS
    assert min(found.values()) > 1000
