"""Checkpoints: written atomically, checksummed, plain data only; the newest undamaged one is what a resume gets.

A checkpoint is `step_00000500.pt` (torch.save of tensors and plain Python) beside `step_00000500.json` (its SHA-256,
size and step). A bit flip, a cut-off file or a missing half is noticed on loading and the one before is taken.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from framework.errors import UserError


def save(folder: Path, name: str, state: dict[str, Any]) -> Path:
    """Write `state` as `folder/name.pt` so that a reader never sees half of it.

    Raises:
        UserError: something in `state` is no plain data (its key is named), or the disk is full.
    """
    refuse_unplain(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 2 * len(data):
        raise UserError(f"{folder}: {free:,} bytes free, a checkpoint needs {2 * len(data):,}")
    record = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "step": state.get("step"),
    }
    write_atomically(folder / f"{name}.pt", data)
    write_atomically(folder / f"{name}.json", json.dumps(record).encode())
    return folder / f"{name}.pt"


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read one checkpoint and check that it is what was written.

    Raises:
        UserError: missing, cut off or damaged.
    """
    record_path = path.with_suffix(".json")
    if not path.is_file() or not record_path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    data = path.read_bytes()
    try:
        expected = json.loads(record_path.read_text())["sha256"]
    except (ValueError, KeyError, TypeError):
        expected = None
    if hashlib.sha256(data).hexdigest() != expected:
        raise UserError(f"{path}: damaged (its checksum differs)")
    return cast(
        dict[str, Any], torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    )


def load_newest(
    folder: Path, say: Callable[[str], None], device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """The newest undamaged checkpoint; `say` is told of each one passed over.

    Raises:
        UserError: there is none.
    """
    candidates = numbered(folder)
    for path in reversed(candidates):
        try:
            return load(path, device)
        except UserError as error:
            say(f"{error}; trying the one before")
    raise UserError(f"{folder}: {'every checkpoint is damaged' if candidates else 'no checkpoint'}")


def numbered(folder: Path) -> list[Path]:
    """The step checkpoints of a folder, oldest first."""
    return sorted(folder.glob("step_*.pt"))


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` step checkpoints."""
    for path in numbered(folder)[:-keep]:
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it into place."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_unplain(value: Any, key: str = "") -> None:
    """Refuse what `torch.load(weights_only=True)` would refuse, while it can still be named."""
    if isinstance(value, dict):
        for name, item in value.items():
            refuse_unplain(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            refuse_unplain(item, f"{key}[{i}]")
    elif type(value) not in {bool, int, float, complex, str, bytes, type(None)} and not isinstance(
        value, Tensor
    ):
        raise UserError(
            f"checkpoint: '{key}' is a {type(value).__module__}.{type(value).__qualname__}; "
            "expected tensors and plain Python (float(x), x.tolist(), str(path))"
        )
