"""Runs that are to be compared: what differs between their settings, and which differ by nothing but the seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.training.checkpoints.resume import flat, load_config
from framework.training.folders.records import read_records
from framework.training.folders.run_folder import RunFolder
from framework.training.runs import FoundRun, is_number, runs

# What explains other differences comes first: the samples of an estimator differ because the estimator does.
FIRST = ("experiment", "task.name", "estimator.name", "optimizer.name", "scheduler.name")
# What has no influence on a result.
ASIDE = ("monitor.", "trainer.checkpoint_every", "trainer.keep_checkpoints", "trainer.quality.")
SEED = "seed"
ABSENT = "-"


@dataclass(frozen=True, kw_only=True)
class CollectedRun:
    """A run among others.

    Attributes:
        found: its folder, state, steps, metric and final metrics.
        settings: its configuration by dotted key.
        seconds: of training; None: it has not ended.
        curve: (step, primary metric) of its evaluations while training, on the validation split.
        training: (step, objective) as it was logged.
    """

    found: FoundRun
    settings: Mapping[str, Any]
    seconds: float | None
    curve: Sequence[tuple[int, float]]
    training: Sequence[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ by nothing but the seed.

    Attributes:
        setting: what tells them from the others, by key.
        runs: in the order of their seeds.
    """

    setting: Mapping[str, Any]
    runs: Sequence[CollectedRun]

    @property
    def name(self) -> str:
        """Its setting as overrides have it."""
        return " ".join(f"{short(key)}={told(value)}" for key, value in self.setting.items())

    @property
    def task(self) -> str:
        """The name of their task."""
        return str(self.runs[0].settings.get("task.name", ""))

    def values(self, metric: str) -> list[float]:
        """A metric of each run that has it: of the finished ones, or of all where none has finished."""
        finished = [run for run in self.runs if run.found.state == "finished"]
        given = [run.found.metrics for run in finished or self.runs]
        return [metrics[metric] for metrics in given if metric in metrics]


def collect(
    folders: Iterable[str | Path], log: Callable[[str], None], metric: str | None = None
) -> list[CollectedRun]:
    """The runs in and below some folders, each once.

    Args:
        log: gets a line for what is passed over.
        metric: whose curve is read; None: each run's primary metric.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    found: dict[Path, CollectedRun] = {}
    for folder in folders:
        listed = runs(folder)
        if not listed:
            raise UserError(f"no run in {folder}")
        for each in listed:
            place = each.folder.resolve()
            if place not in found:
                try:
                    found[place] = collected(each, log, metric or each.metric)
                except UserError as error:
                    log(f"{error}; it is passed over")
    return list(found.values())


def collected(found: FoundRun, log: Callable[[str], None], metric: str) -> CollectedRun:
    """What a run's folder says.

    Raises:
        UserError: its configuration cannot be read.
    """
    records = read_records(found.folder / "metrics.jsonl", log)

    def curve(tag: str) -> list[tuple[int, float]]:
        return [(r["step"], float(r[tag])) for r in records if is_number(r.get(tag))]

    seconds = RunFolder(found.folder).result().get("seconds")
    return CollectedRun(
        found=found,
        settings=flat(load_config(found.folder, log)),
        seconds=float(seconds or 0.0) if is_number(seconds) else None,
        curve=curve(f"evaluation/{metric}"),
        training=curve("train/objective"),
    )


def grouped(found: Sequence[CollectedRun]) -> list[Group]:
    """The runs in groups that differ by nothing but the seed, in the order of what differs."""
    keys = differing(found)
    groups: dict[tuple[Hashable, ...], list[CollectedRun]] = {}
    for run in found:
        groups.setdefault(values_at(run, keys), []).append(run)
    return [
        Group(
            setting={key: group[0].settings.get(key, ABSENT) for key in keys},
            runs=sorted(group, key=lambda run: str(run.settings.get(SEED, "")).zfill(12)),
        )
        for _, group in sorted(groups.items(), key=lambda pair: [order(v) for v in pair[0]])
    ]


def differing(found: Sequence[CollectedRun]) -> list[str]:
    """The keys that tell the runs apart, seed apart: those whose value does not follow from those before them."""
    known = dict.fromkeys(FIRST)
    known |= dict.fromkeys(sorted({key for run in found for key in run.settings}))
    chosen: list[str] = []
    for key in known:
        if key == SEED or key.startswith(ASIDE):
            continue
        beside: dict[tuple[Hashable, ...], set[Hashable]] = {}
        for run in found:
            beside.setdefault(values_at(run, chosen), set()).update(values_at(run, [key]))
        if any(len(values) > 1 for values in beside.values()):
            chosen.append(key)
    return chosen


def values_at(run: CollectedRun, keys: Sequence[str]) -> tuple[Hashable, ...]:
    """A run's values of some keys, written so that 1 and 1.0 are the same and 1 and "1" are not."""
    return tuple(
        json.dumps(number(run.settings.get(key, ABSENT)), sort_keys=True, default=str)
        for key in keys
    )


def number(value: Any) -> Any:
    return float(value) if is_number(value) else value


def order(text: Hashable) -> tuple[int, float, str]:
    """Numbers in their own order, before all else."""
    value = json.loads(str(text))
    return (0, float(value), "") if is_number(value) else (1, 0.0, str(value))


def short(key: str) -> str:
    """A key as an override has it: a component is chosen by its group."""
    return key.removesuffix(".name")


def told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)
