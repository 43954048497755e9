"""What the core's tests share: the javelin, trained in hundreds of them, draws its picture in its own tests only."""

from collections.abc import Iterator

import numpy
import pytest

from framework.media import Image


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain picture of the javelin's name in place of the plot, which takes longer than ten steps of training."""

    def show(self: object, seed: int) -> Iterator[Image]:
        yield Image("throws", numpy.zeros((4, 11, 3), numpy.uint8))

    monkeypatch.setattr("plugins.javelin.task.Javelin.show", show)
