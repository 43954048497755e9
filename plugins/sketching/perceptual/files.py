"""The tensors of a file by name, whatever wraps them; nothing in a file is executed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor

from framework.errors import UserError

OPTION = "task.losses.perceptual.weights"
# Where programs put a network within a checkpoint, and before the names within it; CLIP's has a text model beside it.
WRAPS = ("state_dict", "model_state_dict", "model", "teacher", "student")
PREFIXES = ("module.", "backbone.", "visual.")
# By which OpenAI's own files are known.
NUMBERS = {"input_resolution"}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A state dict in float32, without the prefixes that programs put before its names.

    Raises:
        UserError: no such file, or no plain tensors in it.
    """
    if not path.is_file():
        raise UserError(f"{OPTION} = '{path}': no such file")
    if path.suffix == ".safetensors":
        found = safetensors(path)
    else:
        refuse_program(path)
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"{path}: no plain state dict ({reason})") from None
    return stripped(unwrapped(found), path)


def safetensors(path: Path) -> object:
    try:
        load_file = import_module("safetensors.torch").load_file
    except ModuleNotFoundError:
        raise UserError(f"{OPTION} = '{path}' needs the package safetensors") from None
    try:
        return load_file(path)
    except Exception as error:
        raise UserError(f"{path}: no safetensors file ({error})") from None


def refuse_program(path: Path) -> None:
    """OpenAI's own files are TorchScript: a program, not a state dict."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        if any("/code/" in name for name in archive.namelist()):
            raise UserError(
                f"{path}: a TorchScript program; save its weights with "
                f"torch.save(torch.jit.load('{path.name}', 'cpu').state_dict(), 'weights.pth')"
            )


def unwrapped(found: object) -> object:
    """The innermost of dictionaries in which the tensors are."""
    while isinstance(found, Mapping):
        inner = next((found[key] for key in WRAPS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    return found


def stripped(found: object, path: Path) -> dict[str, Tensor]:
    """The tensors in float32; of those under a prefix the others are of another network, but for CLIP's own numbers."""
    tensors = {}
    if isinstance(found, Mapping):
        tensors = {str(key): v for key, v in found.items() if isinstance(v, Tensor)}
    if not tensors:
        raise UserError(f"{path}: no state dict; expected tensors by name")
    numbers = {key: v for key, v in tensors.items() if key in NUMBERS}
    for prefix in PREFIXES:
        mine = {key[len(prefix) :]: v for key, v in tensors.items() if key.startswith(prefix)}
        tensors = mine or tensors
    tensors |= numbers
    return {key: v.float() if v.is_floating_point() else v for key, v in tensors.items()}
