"""The folder of a study: what is searched, and which process has which trial.

study.json  study.db  study.md  study.png  configs/experiment/  and a run folder for each trial, by its number
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framework.atomic import write_atomically
from framework.errors import UserError
from framework.training.folders.run_folder import HELD, RunFolder
from framework.training.folders.untrusted import RECORD, read_bytes
from framework.tuning.space import Dimension


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a study is: it stays the same however often its command is given, but for trials and workers.

    Attributes:
        experiment: its name, for the files that are made of it.
        overrides: what holds for every trial, as "key=value".
        space: the keys that are searched.
        metric, mode: what is sought, and whether less ("min") or more of it.
        sampler, pruner: by name; see `framework.tuning.trials`.
        seed: of the sampler.
        config_folders: of options, besides the core's and the plugins'.
    """

    experiment: str
    overrides: tuple[str, ...]
    space: tuple[Dimension, ...]
    metric: str
    mode: str
    sampler: str
    pruner: str
    seed: int
    config_folders: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """With the keys by their written choices under "swept", as a sweep's record has them."""
        space = [each.as_json() for each in self.space]
        return {**asdict(self), "space": space, "swept": {d.key: d.written for d in self.space}}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Plan:
        fields: dict[str, Any] = {key: value for key, value in record.items() if key != "swept"}
        fields["space"] = tuple(Dimension.from_json(each) for each in fields["space"])
        for key in ("overrides", "config_folders"):
            fields[key] = tuple(fields[key])
        return cls(**fields)

    def told(self) -> dict[str, str]:
        """Its parts in words, to be compared with those of another."""
        return {
            "overrides": " ".join(self.overrides),
            "space": " ".join(f"{each.key}={each.written}" for each in self.space),
            **{key: str(getattr(self, key)) for key in ("metric", "mode", "sampler", "pruner")},
            "study_seed": str(self.seed),
            "--config-dir": " ".join(self.config_folders),
        }


class StudyFolder:
    """The folder of one study; several processes may be at work in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def new(cls, experiment: str) -> StudyFolder:
        """A folder that no other study has: `outputs/<experiment>/tune_<time>`.

        Raises:
            UserError: it cannot be made.
        """
        while True:
            now = time.strftime("%Y-%m-%d_%H-%M-%S")
            path = Path("outputs", experiment, f"tune_{now}-{time.time_ns() // 1000 % 10**6:06d}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(f"study folder {path}: {error.strerror}") from None
            return cls(path)

    @property
    def database(self) -> Path:
        return self.path / "study.db"

    def run(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.path / str(number)

    def begin(self, plan: Plan) -> None:
        """Note what is searched, or find that it is what was begun here before.

        Raises:
            UserError: the folder holds another study or something else, or cannot be written.
        """
        with self.locked():
            place = self.path / "study.json"
            if os.path.lexists(place):
                self.refuse_other(self.plan(), plan)
                self.refuse_lost_database()
                return
            runs = RunFolder(self.path).holds_run or any(self.path.glob("*/config.yaml"))
            if runs or (self.path / "sweep.json").exists():
                raise UserError(f"{self.path} holds runs of something else; take another folder")
            write_atomically(place, json.dumps(plan.as_json(), indent=2).encode())

    def plan(self) -> Plan:
        """What was begun here.

        Raises:
            UserError: there is no study, or its record is damaged.
        """
        place = self.path / "study.json"
        try:
            return Plan.from_json(json.loads(read_bytes(place, RECORD)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise UserError(f"{place}: it is damaged; take another folder") from None

    def refuse_other(self, before: Plan, now: Plan) -> None:
        """Refuse to go on with a study as another one.

        Raises:
            UserError: names the first difference.
        """
        was, wanted = before.told(), now.told()
        for key, value in was.items():
            if value != wanted[key]:
                raise UserError(
                    f"{self.path} holds another study: {key} was '{value}', now '{wanted[key]}'; the same command "
                    "continues it (trials and workers may change), another one needs another folder"
                )

    def refuse_lost_database(self) -> None:
        """Refuse to begin anew beside trials that nobody knows of any more.

        Raises:
            UserError: there are trials and no database, or an empty one.
        """
        known = self.database.exists() and self.database.stat().st_size > 0
        if not known and any(self.path.glob("[0-9]*/config.yaml")):
            raise UserError(f"{self.database}: it is lost, and the trials' runs are still there")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the study's other processes waiting inside the block.

        Raises:
            UserError: the folder cannot be written.
        """
        lock = self.lock_file(self.path / ".study.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            self.let_go(lock)

    def claim(self, number: int) -> int | None:
        """Take a trial for this process, for as long as it lives; None: another process has it.

        Returns:
            what to give to `let_go`.
        """
        lock = self.lock_file(self.path / ".claims" / str(number))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.let_go(lock)
            return None
        return lock

    def lock_file(self, place: Path) -> int:
        """A file to be locked; a forked child does not keep it."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(place, flags, 0o666)
        except OSError as error:
            raise UserError(f"study folder {self.path}: {error.strerror}") from None
        HELD.add(lock)
        return lock

    def let_go(self, lock: int) -> None:
        """Let go of a lock or a claim."""
        if lock in HELD:
            HELD.remove(lock)
            os.close(lock)
