"""Checkpoints: written atomically, checksummed, plain data only; the newest undamaged one is what a resume gets.

A checkpoint is `step_000000500.pt` (torch.save of tensors and plain Python) beside `step_000000500.json` (its SHA-256,
size and step). A bit flip, a cut-off file or a missing half is noticed on loading and the one before is taken. The
best one is `best_000000400`: a name of its own for each, since two files cannot be replaced at one stroke.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from framework.errors import UserError

PLAIN = {bool, int, float, complex, str, bytes, type(None)}


def name(kind: str, step: int) -> str:
    """A checkpoint's name; names sort by step."""
    return f"{kind}_{step:09d}"


def save(folder: Path, name: str, state: dict[str, Any]) -> Path:
    """Write `state` as `folder/name.pt` so that a reader never sees half of it.

    Raises:
        UserError: something in `state` is no plain data (its key is named), or the disk is full.
    """
    check_plain_data(state)
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
    for half in (path, record_path):
        if not half.is_file():
            raise UserError(f"{half}: missing")
    data = path.read_bytes()
    try:
        expected = json.loads(record_path.read_text())["sha256"]
    except (ValueError, KeyError, TypeError):
        expected = None
    if hashlib.sha256(data).hexdigest() != expected:
        raise UserError(f"{path}: damaged (its checksum differs)")
    try:
        state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:
        # Its checksum is right, so it was written by something else.
        raise UserError(f"{path}: refused, no plain checkpoint ({type(error).__name__})") from None
    return cast(dict[str, Any], state)


def load_newest(
    folder: Path,
    log: Callable[[str], None],
    device: torch.device | str = "cpu",
    kind: Literal["step", "best"] = "step",
) -> dict[str, Any]:
    """The newest undamaged checkpoint; `log` gets a line about each one passed over.

    Raises:
        UserError: there is none.
    """
    candidates = list_checkpoints(folder, kind)
    for path in reversed(candidates):
        try:
            return load(path, device)
        except UserError as error:
            log(f"{error}; trying the one before")
    what = "best" if kind == "best" else "step"
    raise UserError(
        f"{folder}: {f'every {what} checkpoint is damaged' if candidates else f'no {what} checkpoint'}"
    )


def list_checkpoints(folder: Path, kind: str = "step") -> list[Path]:
    """The checkpoints of a kind, oldest first; also those of which only one half is there."""
    return sorted({path.with_suffix(".pt") for path in folder.glob(f"{kind}_*.*")})


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` step checkpoints."""
    for path in list_checkpoints(folder)[:-keep]:
        delete(path)


def delete_after(folder: Path, step: int) -> None:
    """Delete damaged checkpoints newer than the one that a resume took: they would pass for the newest again."""
    for path in list_checkpoints(folder):
        if path.stem > name("step", step):
            delete(path)


def delete(path: Path) -> None:
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it into place.

    Raises:
        UserError: the disk is full or refuses; nothing of the attempt stays.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: {error.strerror}") from None
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_plain_data(value: Any, key: str = "") -> None:
    """Refuse what `torch.load(weights_only=True)` would refuse, while it can still be named."""
    # Subclasses of these would be refused.
    if type(value) in {dict, OrderedDict}:
        for name, item in value.items():
            check_plain_data(name, f"{key}.{name} (the key itself)")
            check_plain_data(item, f"{key}.{name}" if key else str(name))
    elif type(value) in {list, tuple, torch.Size}:
        for i, item in enumerate(value):
            check_plain_data(item, f"{key}[{i}]")
    elif type(value) not in PLAIN and not isinstance(value, Tensor):
        raise UserError(
            f"checkpoint: '{key}' is a {type(value).__module__}.{type(value).__qualname__}; "
            "expected tensors and plain Python (float(x), x.tolist(), str(path))"
        )
