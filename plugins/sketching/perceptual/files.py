"""The weights of a network whose features guide a drawing, as other programs save them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from framework.tensor_files import read_tensors

OPTION = "task.losses.perceptual.weights"
# What programs put before the names within a checkpoint; CLIP's has a text model beside it.
PREFIXES = ("module.", "backbone.", "visual.")
# By which OpenAI's own files are known.
NUMBERS = {"input_resolution"}


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict in float32, without the prefixes that programs put before its names.

    Of those under a prefix the others are of another network, but for CLIP's own numbers.

    Raises:
        UserError: no such file, or no plain tensors in it.
    """
    tensors = read_tensors(path, OPTION)
    numbers = {key: v for key, v in tensors.items() if key in NUMBERS}
    for prefix in PREFIXES:
        mine = {key[len(prefix) :]: v for key, v in tensors.items() if key.startswith(prefix)}
        tensors = mine or tensors
    tensors |= numbers
    return {key: v.float() if v.is_floating_point() else v for key, v in tensors.items()}
