"""Checkpoints: written atomically, checksummed, plain data only; the newest undamaged one is what a resume gets.

A checkpoint is `step_000000500.pt` (torch.save of tensors and plain Python) beside `step_000000500.json` (its SHA-256,
size and step). A bit flip, a cut-off file or a missing half is noticed on loading and the one before is taken. The
best one is `best_000000400`: a name of its own for each, since two files cannot be replaced at one stroke.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from framework.atomic import write_atomically
from framework.errors import UserError
from framework.training.folders.untrusted import RECORD, read_bytes

# The version of what a checkpoint holds; 0: before versions were written.
FORMAT = 1
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
    path = folder / f"{name}.pt"
    record = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "step": state.get("step"),
    }
    replaced = checksums(path.with_suffix(".json"))
    if replaced and path.exists():
        # Between the two writes the record stands beside the earlier data, and is right for both.
        write_record(path, record | {"replaces": replaced[0]})
        write_atomically(path, data)
    else:
        # Data without a record are a save that was cut short, not damage.
        write_atomically(path, data)
        write_record(path, record)
    return path


def write_record(path: Path, record: dict[str, Any]) -> None:
    write_atomically(path.with_suffix(".json"), json.dumps(record).encode())


def checksums(record: Path) -> list[str]:
    """The SHA-256 that a record allows: of its data, then of those being replaced; none where it is damaged."""
    try:
        read = json.loads(read_bytes(record, RECORD))
        return [read["sha256"], *([read["replaces"]] if "replaces" in read else [])]
    except (UserError, ValueError, KeyError, TypeError, RecursionError):
        return []


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read one checkpoint and check that it is what was written.

    Raises:
        UserError: missing, cut off or damaged.
    """
    record = path.with_suffix(".json")
    for half in (path, record):
        if not half.is_file():
            raise UserError(f"{half}: missing")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() not in checksums(record):
        raise UserError(f"{path}: damaged (its checksum differs)")
    try:
        state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:
        # Its checksum is right, so it was written by something else.
        raise UserError(f"{path}: refused, no plain checkpoint ({type(error).__name__})") from None
    return cast(dict[str, Any], state)


def check_format(state: dict[str, Any]) -> None:
    """Refuse a checkpoint that is no mapping, or of a version to come.

    Raises:
        UserError: names the version.
    """
    version = state.get("format", 0) if isinstance(state, dict) else None
    if type(version) is not int or not 0 <= version <= FORMAT:
        raise UserError(
            f"checkpoint: format {version!r}; this version reads up to {FORMAT}: a newer one saved it"
        )


def load_newest(
    folder: Path,
    log: Callable[[str], None],
    device: torch.device | str = "cpu",
    kind: Literal["step", "best"] = "step",
    up_to: int | None = None,
) -> dict[str, Any]:
    """The newest undamaged checkpoint; `log` gets a line about each one passed over.

    Args:
        up_to: the newest step that may be taken; None: any.

    Raises:
        UserError: there is none.
    """
    candidates = list_checkpoints(folder, kind)
    if up_to is not None:
        candidates = [path for path in candidates if path.stem <= name(kind, up_to)]
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


def was_saved(folder: Path) -> bool:
    """Whether a step checkpoint was ever saved to its end: its record is there, its data may be damaged."""
    return any(path.with_suffix(".json").exists() for path in list_checkpoints(folder))


def prune(folder: Path, keep: int, sound: int) -> None:
    """Delete all but the newest `keep` step checkpoints and the newest sound one.

    Args:
        sound: the latest step at which the gradient was finite: that of a checkpoint after it is not known to be.
    """
    saved = list_checkpoints(folder)
    kept = {*saved[-keep:], *[path for path in saved if path.stem <= name("step", sound)][-1:]}
    for path in saved:
        if path not in kept:
            delete(path)


def delete_after(folder: Path, step: int, *kinds: str) -> None:
    """Delete what is newer than the checkpoint that a resume took: damaged ones, the best of steps to come again."""
    for kind in kinds or ("step", "best"):
        for path in list_checkpoints(folder, kind):
            if path.stem > name(kind, step):
                delete(path)


def keep_best(folder: Path, steps: set[int]) -> None:
    """Delete the best checkpoints of all other steps."""
    kept = {name("best", step) for step in steps}
    for path in list_checkpoints(folder, "best"):
        if path.stem not in kept:
            delete(path)


def delete(path: Path) -> None:
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


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
