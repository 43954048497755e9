"""Checkpoints of a divided model: each process writes its parts, by torch.distributed.checkpoint, into one folder.

`step_000000500.pt` holds all else, the folder's name and the SHA-256 of each file in it. It is written last, and makes
the checkpoint whole. Any number of processes can read it, and one alone.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import secrets
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework import ranks
from framework.errors import UserError
from framework.saved_state import check_saved
from framework.sharding import is_divided
from framework.training.folders.untrusted import Unreadable, is_file

# What `.metadata` may be made of: it is a pickle, which could run anything.
CLASSES = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata",
        "TensorStorageMetadata",
        "TensorProperties",
        "_MEM_FORMAT_ENCODING",
        "ChunkStorageMetadata",
        "MetadataIndex",
        "StorageMeta",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", "float64", "float32", "bfloat16", "float16"},
    "pathlib": {"PosixPath"},
}
DTYPES = {str(t): t for t in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}
# Where a tensor stands in a checkpoint: ("model", name), ("optimizer", "state", name, key), ...
Place = tuple[str, ...]


def name_of(kind_and_step: str) -> str:
    """How the names of a checkpoint's folders begin."""
    return f"shards_{kind_and_step}_"


def divided_in(state: Mapping[str, Any], above: Place = ()) -> dict[Place, Tensor]:
    """The divided tensors in a checkpoint's state, by their place."""
    found: dict[Place, Tensor] = {}
    for key, value in state.items():
        if isinstance(value, Mapping):
            found |= divided_in(value, (*above, key))
        elif isinstance(value, Tensor) and is_divided(value):
            found[*above, key] = value
    return found


def save(folder: Path, name: str, state: dict[str, Any]) -> dict[str, Any]:
    """Write the divided tensors, together with the other processes; returns what is left to be written by the first.

    Raises:
        UserError: the disk is full or refuses.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save as write

    tensors = divided_in(state)
    place = folder / ranks.of_first(f"{name_of(name)}{secrets.token_hex(4)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write({"/".join(p): t for p, t in tensors.items()}, storage_writer=FileSystemWriter(place))
    except (CheckpointException, OSError) as error:
        if ranks.rank() == 0:
            shutil.rmtree(place, ignore_errors=True)
        raise UserError(f"{place}: cannot be written ({reason(error)})") from None
    own = [*place.glob(f"__{ranks.rank()}_*"), *([place / ".metadata"] if not ranks.rank() else [])]
    files = {path.name: digest(path) for path in own}
    listed = [
        {"place": list(p), "shape": list(t.shape), "dtype": str(t.dtype)}
        for p, t in tensors.items()
    ]
    together = {name: sum for part in ranks.gathered(files) for name, sum in part.items()}
    rest = without(state, set(tensors))
    return rest | {"shards": {"folder": place.name, "files": together, "tensors": listed}}


def load(
    checkpoint: Path,
    state: dict[str, Any],
    into: Mapping[Place, Tensor],
    kinds: Collection[str],
) -> None:
    """Put the tensors of a checkpoint's folder into its state.

    Args:
        into: tensors that take what belongs in their places, this process's parts where they are divided, and that
            the state then holds; where there is none, a whole tensor is made.
        kinds: the first words of the places that are read.

    Raises:
        UserError: the folder is not what was written.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_loader import load as read

    shards = state.pop("shards")
    check_saved(
        "the checkpoint's shards",
        shards,
        folder=str,
        files=dict[str, str],
        tensors=list[dict[str, Any]],
    )
    place = checkpoint.parent / shards["folder"]
    if not shards["folder"].startswith(name_of(checkpoint.stem)) or "/" in shards["folder"]:
        raise UserError(f"{checkpoint}: refused, its shards are those of another checkpoint")
    check_files(place, shards["files"])
    for each in shards["tensors"]:
        check_saved("a divided tensor", each, place=list[str], shape=list[int], dtype=str)
    places = {tuple(each["place"]): each for each in shards["tensors"]}
    places = {p: each for p, each in places.items() if p[:1] and p[0] in kinds}
    # One that does not fit is told by who takes the whole.
    targets = {p: into[p] for p, each in places.items() if p in into and fits(into[p], each)}
    others = {p: each for p, each in places.items() if p not in targets}
    targets |= whole_tensors(place, others, shards["files"])
    reader = reader_of(place)
    try:
        with warnings.catch_warnings():
            # Each process reads what it needs.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            read({"/".join(p): t for p, t in targets.items()}, storage_reader=reader, no_dist=True)
    # The latter is no Exception.
    except (Exception, CheckpointException) as error:
        kind = Unreadable if isinstance(cause(error), OSError) else UserError
        raise kind(f"{place}: damaged ({reason(error)})") from None
    for p, target in targets.items():
        put(state, p, target)


def check_files(place: Path, files: Mapping[str, str]) -> None:
    """Check each file against what was written.

    Raises:
        UserError: one is missing, or another.
    """
    for name, expected in files.items():
        path = place / name
        if "/" in name or path.is_symlink() or not is_file(path):
            raise UserError(f"{path}: missing")
        if digest(path) != expected:
            raise UserError(f"{path}: damaged (its checksum differs)")


def fits(target: Tensor, saved: Mapping[str, Any]) -> bool:
    return (list(target.shape), str(target.dtype)) == (saved["shape"], saved["dtype"])


def whole_tensors(
    place: Path, places: Mapping[Place, dict[str, Any]], files: Mapping[str, str]
) -> dict[Place, Tensor]:
    """Tensors to be read into, for the whole of each.

    Raises:
        UserError: they would take more memory than the files have bytes.
    """
    held = sum((place / name).stat().st_size for name in files)
    bytes_needed = 0
    for each in places.values():
        if each["dtype"] not in DTYPES or any(n < 0 for n in each["shape"]):
            raise UserError(f"{place}: refused, a tensor of {each['dtype']} {each['shape']}")
        bytes_needed += math.prod(each["shape"]) * DTYPES[each["dtype"]].itemsize
    if bytes_needed > held:
        raise UserError(f"{place}: damaged (it has {held} bytes for tensors of {bytes_needed})")
    return {
        p: torch.zeros(each["shape"], dtype=DTYPES[each["dtype"]]) for p, each in places.items()
    }


def reader_of(place: Path) -> Any:
    """What reads a folder's tensors, by a description that is read without trusting it.

    Raises:
        UserError: the description is not plain.
    """
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    try:
        with (place / ".metadata").open("rb") as file:
            found = Known(file).load()
        paths = [info.relative_path for info in found.storage_data.values()]
        plain = not any("/" in path for path in paths)
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UserError(f"{place}: damaged ({reason(error)})") from None
    if not plain or any(info.transform_descriptors for info in found.storage_data.values()):
        raise UserError(f"{place}: refused, no plain checkpoint (its files)")

    class Reader(FileSystemReader):
        def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
            return found

    return Reader(place)


class Known(pickle.Unpickler):
    """Unpickles nothing but the classes of torch.distributed.checkpoint's own description."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in CLASSES.get(module, ()):
            raise UserError(f"checkpoint: refused, no plain checkpoint ({module}.{name})")
        return super().find_class(module, name)


def delete_shards(folder: Path, name: str, but: str = "") -> None:
    """Delete the folders of a checkpoint, all but the one that it names."""
    for place in folder.glob(f"{name_of(name)}*"):
        if place.name != but:
            shutil.rmtree(place, ignore_errors=True)


def delete_unfinished(folder: Path) -> None:
    """Delete folders whose checkpoint was never written to its end."""
    for place in folder.glob("shards_*"):
        stem = place.name.removeprefix("shards_").rpartition("_")[0]
        if not (folder / f"{stem}.pt").exists():
            shutil.rmtree(place, ignore_errors=True)


def without(state: Mapping[str, Any], places: set[Place], above: Place = ()) -> dict[str, Any]:
    """A state without the tensors at some places."""
    return {
        key: without(value, places, (*above, key)) if isinstance(value, dict) else value
        for key, value in state.items()
        if (*above, key) not in places
    }


def put(state: dict[str, Any], place: Place, value: Tensor) -> None:
    """Put a tensor at its place.

    Raises:
        UserError: there is no such place.
    """
    *above, last = place
    inner: Any = state
    for key in above:
        inner = inner.get(key) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        raise UserError(f"checkpoint: refused, no place for '{'.'.join(place)}'")
    inner[last] = value


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: BaseException) -> str:
    """The first thing that went wrong, in a few words."""
    first = cause(error)
    return f"{type(first).__name__}: {str(first).strip().partition(chr(10))[0]}"


def cause(error: BaseException) -> BaseException:
    """The first thing that went wrong."""
    inner: Iterator[Any] = iter(getattr(error, "failures", {}).values())
    first: Any = next(inner, error)
    found: BaseException = first[0] if isinstance(first, tuple) else first
    return found
