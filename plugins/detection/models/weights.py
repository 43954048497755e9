"""Parameters from a user's file, a state dict or safetensors: matched by name and shape; what is not taken is said."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from framework import UserError
from framework.tensor_files import read_tensors

# What training scripts put before the names.
BEFORE = ("module.", "_orig_mod.", "model.", "backbone.", "network.", "features.")
NAMED = 4


@dataclass(frozen=True)
class Taken:
    """What a module took from a file.

    Attributes:
        names: the module's own names of what was taken.
        unused: names of the file that were not; missing: the module's that the file lacks.
        misfits: the module's names whose shapes differ, with both shapes.
    """

    names: list[str]
    unused: list[str]
    missing: list[str]
    misfits: list[str]

    def line(self, path: Path) -> str:
        """In one line."""
        total = len(self.names) + len(self.missing) + len(self.misfits)
        parts = [f"{path}: {len(self.names)} of the model's {total} tensors taken"]
        for what, names in (
            ("not in the file", self.missing),
            ("of another shape", self.misfits),
            ("of the file not used", self.unused),
        ):
            if names:
                more = ", ..." if len(names) > NAMED else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:NAMED])}{more})")
        return "; ".join(parts)


def take(module: nn.Module, given: Mapping[str, Tensor], *, places: Sequence[str] = ("",)) -> Taken:
    """Load what fits by name and shape into a module.

    Args:
        places: prefixes of the module below which the file's names may lie, such as a backbone's.
    """
    own = {n: v for n, v in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    whole = {n: v for n, v in given.items() if not n.endswith("num_batches_tracked")}
    candidates = [
        {f"{place}{stripped(name, before)}": name for name in whole}
        for place in places
        for before in ("", *BEFORE)
    ]
    best = max(candidates, key=lambda names: fitting(own, whole, names))
    fits = [n for n in own if n in best and whole[best[n]].shape == own[n].shape]
    odd = [n for n in own if n in best and n not in fits]
    with torch.no_grad():
        for name in fits:
            own[name].copy_(whole[best[name]])
    used = {best[name] for name in (*fits, *odd)}
    return Taken(
        fits,
        [n for n in whole if n not in used],
        [n for n in own if n not in best],
        [f"{n}: {list(whole[best[n]].shape)}, expected {list(own[n].shape)}" for n in odd],
    )


def stripped(name: str, before: str) -> str:
    return name.removeprefix(before)


def fitting(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], names: Mapping[str, str]
) -> int:
    """How many of a module's tensors have a counterpart of their shape under these names."""
    return sum(n in own and own[n].shape == given[name].shape for n, name in names.items())


def start_from_file(
    module: nn.Module, path: Path, key: str, places: Sequence[str] = ("",)
) -> Taken:
    """Load what fits of a file into a module, and say on stderr what did not.

    Raises:
        UserError: the file cannot be read, or nothing of it fits.
    """
    given = read_tensors(path, key)
    taken = take(module, given, places=places)
    if not taken.names:
        names = list(given)[:NAMED]
        raise UserError(
            f"{key}: nothing in {path} fits the model: it holds {', '.join(names)}, ..."
        )
    print(f"{key}: {taken.line(path)}", file=sys.stderr)
    return taken
