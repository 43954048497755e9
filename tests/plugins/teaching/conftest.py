"""Digits small enough to be enumerated: strokes of 4 x 4 pixels in a folder, as a user's MNIST would be."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch


def strokes(count: int, seed: int) -> numpy.ndarray:
    """`[count, 4, 4]` grey levels: a bright row or column each, a few pixels wrong."""
    generator = numpy.random.default_rng(seed)
    images = numpy.zeros((count, 4, 4), numpy.uint8)
    for image, place, upright in zip(
        images, generator.integers(4, size=count), generator.integers(2, size=count), strict=True
    ):
        image[(slice(None), place) if upright else (place, slice(None))] = 250
    wrong = generator.random(images.shape) < 0.03
    return numpy.where(wrong, 255 - images, images)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with 256 training digits and 64 test digits."""
    numpy.savez(tmp_path / "strokes.npz", x_train=strokes(256, 0), x_test=strokes(64, 1))
    return tmp_path


def gradients(task, estimator):
    """The gradient that an estimator finds for each of a task's parameters, and its estimate."""
    task.model.zero_grad()
    found = estimator.backward(task.as_program(task.objective), task.parameters)
    return {name: parameter.grad for name, parameter in task.parameters.items()}, found


def many_gradients(task, estimator, repeats):
    """Repeated gradients, `[repeats, ...]` for each parameter."""
    torch.manual_seed(0)
    each = [gradients(task, estimator)[0] for _ in range(repeats)]
    return {name: torch.stack([found[name] for found in each]) for name in task.parameters}
