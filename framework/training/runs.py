"""The runs below a folder: which there are, what became of each, and which one a word or a folder means."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from framework.arguments import as_path
from framework.errors import UserError
from framework.training.folders.manifest import last_session
from framework.training.folders.records import record_of
from framework.training.folders.run_folder import RunFolder

# Where runs go by default, and the word for the newest of them.
OUTPUTS = Path("outputs")
LATEST = "latest"
# How many runs an error names.
NAMED = 3
# Bytes at the end of `metrics.jsonl` in which the last evaluation is looked for.
TAIL = 2**16

State = Literal["running", "finished", "stopped"]


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run as its folder shows it.

    Attributes:
        folder: its run folder.
        state: "running" in a process of this machine, "finished" with its final evaluation, or "stopped" without.
        started: when its last session began, in seconds since 1970; 0: no file says it.
        steps: the last step that was recorded or saved.
        metric: the task's primary metric; empty: no file says it.
        metrics: of the final evaluation, else of the latest one that was recorded.
    """

    folder: Path
    state: State
    started: float
    steps: int
    metric: str
    metrics: dict[str, float]

    @property
    def value(self) -> float | None:
        """The primary metric; None: it was not evaluated yet, or was not finite."""
        return self.metrics.get(self.metric)


def runs(folder: str | Path = OUTPUTS) -> list[FoundRun]:
    """The runs in and below a folder, jobs of sweeps among them; the one begun or resumed last comes first.

    Raises:
        UserError: there is no such folder.
    """
    place = as_path("folder", folder)
    if not place.is_dir():
        raise UserError(f"{place}: there is no such folder")
    return [described(path) for path in newest_first(place)]


def find_run(name: str | Path) -> Path:
    """The folder of the run that is meant: a run's own, "latest" below `outputs`, or the newest inside a folder.

    Raises:
        UserError: there is no run; names those nearest to it, else the newest.
    """
    folder = as_path("run", name)
    if RunFolder(folder).holds_run:
        return folder
    latest = str(name) == LATEST and not folder.exists()
    if found := newest_first(OUTPUTS if latest else folder):
        return found[0]
    if latest:
        raise UserError(f"{LATEST}: there is no run below {OUTPUTS.absolute()}")
    known = [str(path) for path in newest_first(OUTPUTS)]
    near = get_close_matches(str(folder), known, n=NAMED, cutoff=0.8) or known[:NAMED]
    hint = f"; runs here: {', '.join(near)}" if near else ""
    more = " (diffobj runs lists all)" if len(known) > len(near) else ""
    raise UserError(f"{folder} is no run folder: it has no config.yaml{hint}{more}")


def newest_first(place: Path) -> list[Path]:
    """The run folders in and below a folder, by the time at which their last session began."""
    return sorted(run_folders(place), key=lambda path: (*begun(path), str(path)), reverse=True)


def run_folders(place: Path) -> Iterator[Path]:
    """The run folders in and below a folder; links are not followed."""
    for path, names, _ in os.walk(place):
        if RunFolder(Path(path)).holds_run:
            names.clear()
            yield Path(path)


def begun(folder: Path) -> tuple[float, int]:
    """When the last session began: by its record, in seconds, and by its file, which tells more within a second."""
    seconds, changed = 0.0, 0
    with suppress(OSError):
        changed = (folder / "manifest.jsonl").stat(follow_symlinks=False).st_mtime_ns
    with suppress(UserError, ValueError, TypeError, OverflowError):
        started = last_session(folder / "manifest.jsonl").get("started")
        seconds = datetime.strptime(str(started), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    return seconds or changed / 1e9, changed


def described(folder: Path) -> FoundRun:
    """What the files of a run say about it."""
    session: dict[str, Any] = {}
    with suppress(UserError):
        session = last_session(folder / "manifest.jsonl")
    records = last_records(folder / "metrics.jsonl")
    # A resumed run drops its final evaluation.
    final = [r for r in records[-1:] if any(tag.startswith("final/") for tag in r)]
    state: State = "running" if is_held(folder) else "finished" if final else "stopped"
    return FoundRun(
        folder=folder,
        state=state,
        started=begun(folder)[0],
        steps=max(records[-1]["step"] if records else 0, last_checkpoint(folder)),
        metric=str(session.get("primary_metric", "")),
        metrics=numbers(final, "final/") if final else numbers(records, "evaluation/"),
    )


def last_checkpoint(folder: Path) -> int:
    """The step of the newest checkpoint, by its name, from which a stopped run goes on; 0: there is none."""
    names = [path.stem.removeprefix("step_") for path in folder.glob("checkpoints/step_*.json")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def numbers(records: list[dict[str, Any]], prefix: str) -> dict[str, float]:
    """The finite numbers of the last record that has some under a prefix, by the rest of their names."""
    for record in reversed(records):
        if any(tag.startswith(prefix) for tag in record):
            return {
                tag.removeprefix(prefix): float(value)
                for tag, value in record.items()
                if tag.startswith(prefix) and is_number(value)
            }
    return {}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def last_records(path: Path) -> list[dict[str, Any]]:
    """The whole records at the end of `metrics.jsonl`; none where there is no such file."""
    data = b""
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.pread(file, TAIL, max(0, os.fstat(file).st_size - TAIL))
        finally:
            os.close(file)
    found = [record_of(line) for line in data.splitlines(keepends=True)]
    return [record for record in found if record is not None]


def is_held(folder: Path) -> bool:
    """Whether a process of this machine trains in it now."""
    with suppress(OSError):
        lock = os.open(folder / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Shared: two that ask at once do not take each other for a training.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
    return False


def as_json(found: FoundRun) -> str:
    """A run as one line of JSON."""
    return json.dumps({**vars(found), "folder": str(found.folder), "value": found.value})
