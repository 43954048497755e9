"""What all tests of the battery share."""

import os

import pytest

from framework.training.folders import manifest


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what takes longer than the training and what no kill can undo: asking git, and waiting for the disk."""
    monkeypatch.setattr(manifest, "git_state", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
