"""Freed memory is kept for the next step, unless the user chose otherwise."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import pytest

from tests.runs import python

BLOCKS, SIZE = 12, 8 * 2**20  # what a step takes and frees
PAGES = BLOCKS * SIZE // 4096
STEPS = f"""
import resource, torch
from framework.training.allocator import keep_freed_memory

def step():
    return [torch.ones({SIZE}, dtype=torch.uint8) for _ in range({BLOCKS})]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep_freed_memory()
for _ in range(3):
    step()
before = faults()
for _ in range(4):
    step()
print((faults() - before) // 4)
"""


def new_pages(environment: Mapping[str, str], tmp_path) -> int:
    """New pages that a step takes."""
    process = python("-c", STEPS, cwd=tmp_path, environment=environment)
    told, problem = process.communicate(timeout=300)
    assert process.returncode == 0, problem
    return int(told)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is another one")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)


@pytest.mark.slow
def test_a_step_takes_the_pages_of_the_one_before(tmp_path):
    assert new_pages({}, tmp_path) < PAGES / 20


@pytest.mark.slow
def test_what_the_user_chose_stays(tmp_path):
    assert new_pages({"MALLOC_TRIM_THRESHOLD_": "131072"}, tmp_path) > PAGES / 2
