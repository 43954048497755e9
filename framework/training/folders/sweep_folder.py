"""The folder of a sweep: what was swept, what became of each job, and the table of both.

sweep.json  jobs.jsonl  and a run folder for each job
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from framework.atomic import LineFile, write_atomically
from framework.errors import UserError
from framework.training.folders.run_folder import RunFolder
from framework.training.folders.untrusted import LINES, RECORD, read_bytes

State = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What became of one job.

    Attributes:
        folder: its run folder's name within the sweep's.
        overrides: what was chosen for it, as "key=value".
        state: "stopped" by a signal, "failed" by an error.
        metric, mode: the task's primary metric, and whether less or more of it is better.
        value: that metric in the final evaluation; None: there was none.
        error: why it failed.
    """

    folder: str
    overrides: list[str]
    state: State
    metric: str = ""
    mode: str = "min"
    value: float | None = None
    error: str = ""

    @property
    def setting(self) -> str:
        """What was chosen for it besides the seed."""
        return " ".join(o for o in self.overrides if not o.startswith("seed="))


class SweepFolder:
    """The folder of one sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def new(cls, experiment: str) -> SweepFolder:
        """A folder that no other sweep has: `outputs/<experiment>/sweep_<time>`.

        Raises:
            UserError: it cannot be made.
        """
        parent = Path("outputs", experiment)
        while True:
            path = (
                parent
                / f"sweep_{time.strftime('%Y-%m-%d_%H-%M-%S')}-{time.time_ns() // 1000 % 10**6:06d}"
            )
            try:
                parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(f"sweep folder {path}: {error.strerror}") from None
            return cls(path)

    def begin(self, overrides: Sequence[str], swept: Mapping[str, Sequence[str]]) -> None:
        """Note what is to be swept, or find that it is what was begun here before; to be called while it is held.

        Args:
            overrides: the whole command's, without those of where and how its jobs run.
            swept: the choices of each key that has several.

        Raises:
            UserError: the folder holds another sweep, or runs of something else.
        """
        place = self.path / "sweep.json"
        if not place.exists():
            if RunFolder(self.path).holds_run or any(self.path.glob("*/config.yaml")):
                raise UserError(
                    f"{self.path} holds runs of something else; take another hydra.sweep.dir"
                )
            record = {"overrides": list(overrides), "swept": {k: list(v) for k, v in swept.items()}}
            write_atomically(place, json.dumps(record, indent=2).encode())
            return
        try:
            before = json.loads(read_bytes(place, RECORD))["overrides"]
        except (UserError, ValueError, TypeError, KeyError, RecursionError):
            raise UserError(f"{place}: it is damaged; take another hydra.sweep.dir") from None
        if before != list(overrides):
            raise UserError(
                f"{self.path} holds another sweep: {' '.join(map(str, before))}; the same command continues it, "
                "another one needs another hydra.sweep.dir"
            )

    def discard_empty(self) -> None:
        """Remove the folder where no job has begun, and those around it that are then empty."""
        if (self.path / "jobs.jsonl").exists():
            return
        # Whatever else is in it stays.
        with suppress(OSError):
            if set(os.listdir(self.path)) <= {"sweep.json", "multirun.yaml", ".lock"}:
                for name in os.listdir(self.path):
                    (self.path / name).unlink()
                self.path.rmdir()
                for parent in self.path.absolute().parents:
                    if Path.cwd() not in parent.parents:
                        break
                    parent.rmdir()

    def add(self, job: Job) -> None:
        """Note what became of a job; jobs in several processes may do so at once.

        Raises:
            UserError: the disk is full or refuses.
        """
        lines = LineFile(self.path / "jobs.jsonl")
        try:
            lines.append(json.dumps(asdict(job)))
        finally:
            lines.close()

    def jobs(self) -> list[Job]:
        """What became of each job when it last ended, by folder."""
        found: dict[str, Job] = {}
        lines: list[bytes] = []
        with suppress(UserError):
            lines = read_bytes(self.path / "jobs.jsonl", LINES).splitlines()
        known = {f.name for f in fields(Job)}
        for line in lines:
            # A line that a kill has cut.
            with suppress(ValueError, TypeError, AttributeError, RecursionError):
                job = Job(**{k: v for k, v in json.loads(line).items() if k in known})
                if isinstance(job.folder, str) and isinstance(job.overrides, list):
                    found[job.folder] = job
        return sorted(
            found.values(),
            key=lambda job: (not job.folder.isdecimal(), len(job.folder), job.folder),
        )


def swept_keys(folder: Path) -> list[str]:
    """The groups and keys that a sweep or a study in this folder has several choices of; none where there is none."""
    for name in ("sweep.json", "study.json"):
        with suppress(UserError, ValueError, TypeError, KeyError, RecursionError):
            return [str(key) for key in json.loads(read_bytes(folder / name, RECORD))["swept"]]
    return []


def finished_value(folder: Path, metric: str) -> float | None:
    """A run's primary metric in its final evaluation; None where it has not come to that."""
    value = RunFolder(folder).result().get("metrics", {})
    if not isinstance(value, dict) or metric not in value:
        return None
    # A metric that is not finite is written as null.
    return float(value[metric]) if isinstance(value[metric], int | float) else math.nan


def table(folder: Path, jobs: Sequence[Job]) -> str:
    """The end of a sweep: each setting's mean and standard deviation over its seeds, the best job, what failed."""
    counts = {s: sum(job.state == s for job in jobs) for s in ("finished", "stopped", "failed")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [f"sweep {folder}: {told or 'no job has ended'}"]
    settings: dict[tuple[str, str, str], list[float]] = {}
    for job in jobs:
        if job.state == "finished" and job.value is not None:
            settings.setdefault((job.metric, job.mode, job.setting), []).append(job.value)
    width = max((len(setting) for _, _, setting in settings), default=0)
    for (metric, _, setting), values in settings.items():
        spread = f" ± {statistics.stdev(values):.4g}" if len(values) > 1 else ""
        runs = f"{len(values)} run{'s' if len(values) > 1 else ''}"
        lines.append(
            f"  {setting:<{width}}  {metric} {statistics.fmean(values):.4g}{spread} ({runs})"
        )
    for metric, mode in dict.fromkeys((m, d) for m, d, _ in settings):
        if (best := best_job(jobs, metric, mode)) is not None:
            which = "lowest" if mode == "min" else "highest"
            lines.append(
                f"best ({which} {metric}): {best.value:.4g} {' '.join(best.overrides)} in {folder / best.folder}"
            )
    lines += [
        f"{job.state}: {' '.join(job.overrides)} in {folder / job.folder}{f': {job.error}' if job.error else ''}"
        for job in jobs
        if job.state != "finished"
    ]
    return "\n".join(lines)


def best_job(jobs: Sequence[Job], metric: str, mode: str) -> Job | None:
    """The finished job with the best value of a metric; None where none has a finite one."""
    rivals = [
        (job.value, job)
        for job in jobs
        if (job.metric, job.mode, job.state) == (metric, mode, "finished")
        and job.value is not None
        and math.isfinite(job.value)
    ]
    sign = 1 if mode == "min" else -1
    return min(rivals, key=lambda rival: sign * rival[0])[1] if rivals else None


def job_of(
    folder: Path,
    overrides: Sequence[str],
    state: State,
    judged: tuple[str, Literal["min", "max"]] | None,
    error: str = "",
) -> Job:
    """The record of a job that has ended.

    Args:
        judged: the primary metric and its mode; None: the job failed before they were known.
    """
    metric, mode = judged or ("", "min")
    return Job(
        folder=folder.name,
        overrides=list(overrides),
        state=state,
        metric=metric,
        mode=mode,
        value=finished_value(folder, metric) if state == "finished" else None,
        error=error,
    )
