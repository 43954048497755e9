"""What tests of detection share: one trained run, and trainings that draw no pictures unless a test asks for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import framework
from framework.media import Media
from plugins.detection.task import Detection
from tests.plugins.detection.test_task import QUICK


def nothing(task: Detection, seed: int) -> Iterator[Media]:
    return iter(())


@pytest.fixture
def pictures() -> None:
    """Asked for by tests whose trainings show their pictures."""


@pytest.fixture(autouse=True)
def without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take half of the time of a training of a few steps."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(Detection, "show", nothing)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was hardly trained, so that its scores are no longer all alike; it is only read."""
    folder: Path = tmp_path_factory.mktemp("trained") / "run"
    options = [*QUICK, "trainer.steps=4", "trainer.ema=0.5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detection, "show", nothing)
        framework.train(overrides=options, folder=folder)
    return folder
