"""The tensors of a user's file by name, a checkpoint or safetensors, whatever wraps them; nothing in it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile, is_zipfile

from framework.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# Where programs put a network's tensors within a checkpoint, by the name that is tried first.
WRAPS = (
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "ema",
    "average",
    "teacher",
    "student",
)


def read_tensors(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, of the types that they have there.

    Args:
        path: what `torch.save` wrote, or a file that ends in .safetensors.
        key: the option that names it, for messages.

    Raises:
        UserError: no file, no tensors in it, a program, or safetensors without the package of this name; one line.
    """
    if not path.is_file():
        raise UserError(f"{key} = '{path}': there is no such file")
    if path.suffix == ".safetensors":
        return safetensors(path, key)
    refuse_program(path, key)
    torch = import_module("torch")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{key}: {path} holds no plain parameters ({type(error).__name__})"
        ) from None
    found = unwrapped(found)
    tensors = {}
    if isinstance(found, Mapping):
        tensors = {str(name): v for name, v in found.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise UserError(f"{key}: {path} holds no plain parameters; expected tensors by name")
    return tensors


def safetensors(path: Path, key: str) -> dict[str, Tensor]:
    try:
        load_file = import_module("safetensors.torch").load_file
    except ModuleNotFoundError:
        raise UserError(f"{key} = '{path}' needs the package safetensors") from None
    try:
        return dict(load_file(path))
    except Exception as error:
        raise UserError(f"{key}: {path} is no safetensors ({type(error).__name__})") from None


def refuse_program(path: Path, key: str) -> None:
    """A TorchScript file is a program, not a state dict."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        if any("/code/" in name for name in archive.namelist()):
            raise UserError(
                f"{key}: {path} is a TorchScript program; save its weights with "
                f"torch.save(torch.jit.load('{path.name}', 'cpu').state_dict(), 'weights.pth')"
            )


def unwrapped(found: object) -> object:
    """The innermost of dictionaries in which the tensors are."""
    while isinstance(found, Mapping):
        inner = next((found[name] for name in WRAPS if isinstance(found.get(name), Mapping)), None)
        if inner is None:
            break
        found = inner
    return found
