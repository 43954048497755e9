"""Checkpoints: written atomically, checksummed, plain data only; the newest undamaged one is what a resume gets.

A checkpoint is `step_000000500.pt` (torch.save of tensors and plain Python) beside `step_000000500.json` (its SHA-256,
size and step). A bit flip, a cut-off file or a missing half is noticed on loading and the one before is taken. The
best one is `best_000000400`: a name of its own for each, since two files cannot be replaced at one stroke.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
from torch import Tensor

from framework.atomic import write_atomically
from framework.config.types import CountOrZero
from framework.errors import UserError
from framework.memory import OutOfMemory, is_out_of_memory, out_of_memory_in_one_line
from framework.saved_state import check_saved
from framework.training.checkpoints import sharded
from framework.training.folders.untrusted import RECORD, Unreadable, is_file, read_bytes, readable

# The version of what a checkpoint holds; 0: before versions were written.
FORMAT = 1
# What it holds besides its format and, since there are formats, the configuration.
PARTS: dict[str, Any] = {
    "step": CountOrZero,
    "progress": dict[str, Any],
    "model": dict[str, Any],
    "average": dict[str, Tensor] | None,
    "optimizer": dict[str, Any],
    "estimator": dict[str, Any],
    "task": dict[str, Any],
    "scaler": dict[str, Any],
}
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
    data = buffer.getbuffer()
    path = folder / f"{name}.pt"
    record = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "step": state.get("step"),
    }
    replaced = read_record(path).get("sha256")
    if replaced and path.exists():
        # Between the two writes the record stands beside the earlier data, and is right for both.
        write_record(path, record | {"replaces": replaced})
        write_atomically(path, data)
    else:
        # Data without a record are a save that was cut short, not damage.
        write_atomically(path, data)
        write_record(path, record)
    return path


def write_record(path: Path, record: dict[str, Any]) -> None:
    write_atomically(path.with_suffix(".json"), json.dumps(record).encode())


def read_record(path: Path) -> dict[str, Any]:
    """What is known of the checkpoint `path` but its content; empty where its record is damaged."""
    try:
        read = json.loads(read_bytes(path.with_suffix(".json"), RECORD))
    except Unreadable:
        raise
    except (UserError, ValueError, RecursionError):
        return {}
    whole = isinstance(read, dict) and read.keys() - {"replaces"} == {"sha256", "bytes", "step"}
    return read if whole else {}


def load(
    path: Path,
    device: torch.device | str = "cpu",
    into: Mapping[sharded.Place, Tensor] = MappingProxyType({}),
    kinds: Collection[str] = PARTS,
) -> dict[str, Any]:
    """Read one checkpoint and check that it is what was written.

    Args:
        into, kinds: of a divided model: tensors that take what is read of it, in the place of new ones, and what is
            read, such as ("model", "average").

    Raises:
        UserError: missing, cut off, damaged, or of a size that cannot be.
        OutOfMemory, Unreadable: nothing is wrong with it, as far as it was read.
    """
    with out_of_memory_in_one_line(f"{path}: cannot be read"), readable(path):
        return load_into(path, device, into, kinds)


def load_into(
    path: Path,
    device: torch.device | str,
    into: Mapping[sharded.Place, Tensor],
    kinds: Collection[str],
) -> dict[str, Any]:
    """What `load` does where there is memory enough."""
    for half in (path, path.with_suffix(".json")):
        if not is_file(half):
            raise UserError(f"{half}: missing")
    record, data = read_record(path), read_bytes(path, memory())
    digest = hashlib.sha256(data).hexdigest()
    latest = digest == record.get("sha256") and len(data) == record["bytes"]
    if not latest and digest != record.get("replaces"):
        raise UserError(f"{path}: damaged (its checksum differs)")
    refuse_compressed(path, data)
    try:
        state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Its checksum is right, so it was written by something else.
        raise UserError(f"{path}: refused, no plain checkpoint ({type(error).__name__})") from None
    refuse_empty_tensors(path, state)
    step = state.get("step") if isinstance(state, dict) else record["step"]
    if type(step) is not type(record["step"]) or step != record["step"]:
        raise UserError(f"{path}: damaged (its record is that of step {record['step']})")
    if isinstance(state, dict) and "shards" in state:
        sharded.load(path, state, into, kinds)
    return cast(dict[str, Any], state)


def memory() -> int:
    """The bytes of this machine's memory: a larger checkpoint is none of a run that it could go on with."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def refuse_compressed(path: Path, data: bytes) -> None:
    """Refuse an archive whose parts are compressed, as `torch.save` writes none: it may unpack to any size.

    Raises:
        UserError: names the file.
    """
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise UserError(f"{path}: refused, no plain checkpoint (it is compressed)")


def refuse_empty_tensors(path: Path, value: Any) -> None:
    """Refuse tensors that have a shape but no numbers, which nothing could be put back from.

    Raises:
        UserError: names the file.
    """
    if isinstance(value, Tensor):
        if value.is_meta:
            raise UserError(f"{path}: refused, no plain checkpoint (a tensor without numbers)")
    elif isinstance(value, dict):
        for item in value.values():
            refuse_empty_tensors(path, item)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_empty_tensors(path, item)


def check_format(state: dict[str, Any]) -> None:
    """Refuse a checkpoint that is no mapping, of a version to come, or without one of its parts.

    The parts themselves are checked by those whose they are, as they are put back.

    Raises:
        UserError: names the version or the part.
    """
    version = state.get("format", 0) if isinstance(state, dict) else None
    if type(version) is not int or not 0 <= version <= FORMAT:
        raise UserError(
            f"checkpoint: format {version!r}; this version reads up to {FORMAT}: a newer one saved it"
        )
    check_saved("the run", state, **PARTS)
    if state["step"] != state["progress"].get("step"):
        raise UserError("checkpoint: its step is another one than that of its progress")


def load_newest(
    folder: Path,
    log: Callable[[str], None],
    device: torch.device | str = "cpu",
    kind: Literal["step", "best"] = "step",
    up_to: int | None = None,
    into: Mapping[sharded.Place, Tensor] = MappingProxyType({}),
    kinds: Collection[str] = PARTS,
) -> dict[str, Any]:
    """The newest undamaged checkpoint; `log` gets a line about each one passed over.

    Args:
        up_to: the newest step that may be taken; None: any.
        into, kinds: as in `load`.

    Raises:
        UserError: there is none.
        OutOfMemory, Unreadable: it is there, and reading it needs more memory than there is, or a permission, or the
            disk has an error.
    """
    candidates = list_checkpoints(folder, kind)
    if up_to is not None:
        candidates = [path for path in candidates if path.stem <= name(kind, up_to)]
    for path in reversed(candidates):
        try:
            return load(path, device, into, kinds)
        except (OutOfMemory, Unreadable):
            # It is no worse than the one before, and a resume from that would delete it.
            raise
        except UserError as error:
            log(f"{error}; trying the one before")
    what = "best" if kind == "best" else "step"
    raise UserError(
        f"{folder}: {f'every {what} checkpoint is damaged' if candidates else f'no {what} checkpoint'}"
    )


def list_checkpoints(folder: Path, kind: str = "step") -> list[Path]:
    """The checkpoints of a kind, oldest first; also those of which only one half is there.

    Raises:
        Unreadable: the folder is there, and cannot be looked into.
    """
    return sorted({(folder / name).with_suffix(".pt") for name in names_in(folder, f"{kind}_*.*")})


def names_in(folder: Path, pattern: str) -> list[str]:
    """The names of a folder's files; none where there is no folder.

    Raises:
        Unreadable: see `list_checkpoints`.
    """
    with readable(folder), suppress(FileNotFoundError, NotADirectoryError):
        return fnmatch.filter(os.listdir(folder), pattern)
    return []


def was_saved(folder: Path) -> bool:
    """Whether a step checkpoint was ever saved to its end: its record is there, its data may be damaged."""
    return bool(names_in(folder, "step_*.json"))


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
    sharded.delete_shards(path.parent, path.stem)


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
