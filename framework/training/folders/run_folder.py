"""The run folder: the files of one run, and who may write them.

config.yaml  manifest.jsonl  metrics.jsonl  result.json  log.txt  checkpoints/  media/  TensorBoard events

Each file is whole whatever ends the process: it is replaced at one stroke (`framework.atomic`) or only grows by lines.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from framework.atomic import PARTIAL, delete_partials, write_all, write_atomically
from framework.errors import UserError
from framework.training.folders.untrusted import RECORD, read_bytes, refuse_links

# What a run writes at the top of its folder, and the folders that are its own.
FILES = (
    "config.yaml",
    "manifest.jsonl",
    "metrics.jsonl",
    "metrics.csv",
    "result.json",
    "log.txt",
    "nonfinite_batch.pt",
    "events.out.tfevents.*",
    f"{PARTIAL}*",
)
FOLDERS = ("checkpoints", "media", "wandb", "mlflow")
# How often to try again where another process removes the folder at the same moment.
ATTEMPTS = 100


# The locks that this process holds.
HELD: set[int] = set()


def let_go_in_child() -> None:
    """Close the locks that a forked child has inherited: it would hold them for as long as it lives."""
    for lock in HELD:
        os.close(lock)
    HELD.clear()


os.register_at_fork(after_in_child=let_go_in_child)


class RunFolder:
    """A run folder, written by this process while it holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        # The folders that `open` has made, the innermost first, and what was in this one already.
        self.made: list[Path] = []
        self.before: set[str] = set()

    @property
    def holds_run(self) -> bool:
        # False also where the path is too long.
        if os.path.exists(self.path / "config.yaml"):
            return True
        with suppress(OSError):
            return any(self.checkpoints.glob("step_*.json"))
        return False

    def refuse_second_run(self) -> None:
        """Refuse to train where a run is already.

        Raises:
            UserError: the folder holds a run.
        """
        if self.holds_run:
            raise UserError(f"{self.path} holds a run already; resume={self.path} continues it")

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def media(self) -> Path:
        return self.path / "media"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder inside the block; see `open`."""
        self.open()
        try:
            yield
        finally:
            self.close()

    def open(self) -> None:
        """Make the folder, hold it and delete what killed processes left of files.

        Raises:
            UserError: it cannot be written, something in it is a link, or another process holds it.
        """
        made = [p for p in (self.path, *self.path.parents) if not os.path.exists(p)]
        try:
            self._lock = self._locked()
            self.made = made
            self.before = {name for name in os.listdir(self.path) if name != ".lock"}
            for name in (".", *FOLDERS):
                delete_partials(self.path / name)
        except OSError as error:
            self.close()
            raise UserError(f"run folder {self.path}: {error.strerror}") from None

    def _locked(self) -> int:
        """The descriptor of the folder's lock, held."""
        place = self.path / ".lock"
        for _ in range(ATTEMPTS):
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_links(self.path)
            try:
                lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                # Its last holder has just discarded the folder.
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(lock, 200, 0).decode("utf-8", "replace").strip()
                os.close(lock)
                by = holder or "another process"
                raise UserError(f"run folder {self.path} is in use by {by}") from None
            except OSError:
                os.close(lock)
                raise
            if is_file_at(lock, place):
                if os.fstat(lock).st_nlink == 1:
                    os.ftruncate(lock, 0)
                    write_all(lock, holder_text().encode())
                    HELD.add(lock)
                    return lock
                # Of a copy made of hard links: what is written into it would be in the other, too.
                place.unlink()
            # Its last holder has deleted this file: whoever comes next would make, and hold, another.
            os.close(lock)
        raise UserError(
            f"run folder {self.path}: another process makes and removes it again and again"
        )

    def close(self) -> None:
        """Let go of the folder. The lock's file stays: who deletes it may delete one that another holds."""
        # In a forked child it is closed already, and its number may be another file's.
        if self._lock in HELD:
            HELD.remove(self._lock)
            os.close(self._lock)
        self._lock = None

    def discard(self) -> None:
        """Remove what this process has made in a folder in which nothing was trained, and the folders made for it.

        What was there when the folder was opened stays, and so does what is no run's. To be called while it is held.
        """
        new = set(os.listdir(self.path)) - self.before
        for name in new:
            if any(fnmatch(name, pattern) for pattern in FILES):
                (self.path / name).unlink(missing_ok=True)
        for name in new & set(FOLDERS):
            shutil.rmtree(self.path / name)
        # It may hold something else by now, and another run may have moved in beside it.
        with suppress(OSError):
            if set(os.listdir(self.path)) == {".lock"}:
                (self.path / ".lock").unlink()
            for made in self.made:
                made.rmdir()

    def write_config(self, config: Any) -> None:
        """The configuration as composed: interpolations unresolved, so that no secret is written."""
        text = config_text(config).encode()
        with suppress(UserError):
            if read_bytes(self.config, len(text)) == text:
                return
        write_atomically(self.config, text)

    def write_result(self, result: dict[str, Any]) -> None:
        """The run's outcome, also when it was stopped early; JSON has no NaN, so it becomes null."""
        text = json.dumps(finite(result), indent=2, allow_nan=False)
        write_atomically(self.path / "result.json", text.encode())

    def result(self) -> dict[str, Any]:
        """What `result.json` holds; empty where there is none, or one that cannot be read."""
        with suppress(UserError, ValueError, RecursionError):
            found = json.loads(read_bytes(self.path / "result.json", RECORD))
            return found if isinstance(found, dict) else {}
        return {}


def config_text(config: Any) -> str:
    """A configuration as YAML, interpolations unresolved."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(config, resolve=False)


def is_file_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def holder_text() -> str:
    """Who holds a lock, for those who find it held."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}\n"


def finite(node: Any) -> Any:
    """Nested mappings with None where a number is not finite."""
    if isinstance(node, dict):
        return {name: finite(value) for name, value in node.items()}
    return None if isinstance(node, float) and not math.isfinite(node) else node
