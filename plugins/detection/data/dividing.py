"""The three splits of a folder's images: its own, else chosen by keys, near copies together."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import combinations

from framework.randomness import key
from plugins.detection.data.near_copies import MAX_LOOKED_AT, Looks, groups_by_name, groups_of
from plugins.detection.data.readers.entry import Entry, Report

# Fractions of a data set without splits.
VALIDATION, TEST = 0.1, 0.2
Three = tuple[list[Entry], list[Entry], list[Entry]]


def assign_splits(parts: Mapping[str | None, list[Entry]], report: Report) -> tuple[Three, str]:
    """Train, validation and test entries by the folder's splits, else by the files' names; and a remark on that."""
    train = [*parts.get("train", []), *parts.get(None, [])]
    validation, test = list(parts.get("validation", [])), list(parts.get("test", []))
    stated = [split for split in parts if split is not None and parts[split]]
    division = ""
    if not train:
        train, validation, test = (validation, [], test) if validation else (test, [], [])
    if not validation and not test:
        test, train = keyed_split(train, TEST, report)
        validation, train = keyed_split(train, VALIDATION / (1 - TEST), report)
        division = " (divided by the files' names: the folder has no splits)"
    elif not validation:
        validation, train = keyed_split(train, VALIDATION, report)
        division = " (validation images taken from the training images)"
    elif not test:
        test, division = validation, " (there are no test images: the validation images again)"
    if len(stated) > 1:
        report_leaks({split: parts[split] for split in stated}, report)
    return (train, validation, test), division


def keyed_split(
    entries: list[Entry], share: float, report: Report
) -> tuple[list[Entry], list[Entry]]:
    """A fraction of the entries, at least one, and the rest, near copies on one side.

    The choice depends on the files' names only, a group's on that of its first file by name.
    """
    order = sorted(range(len(entries)), key=lambda i: entries[i].path.name)
    groups, remark = groups_of([entries[i].path for i in order])
    if remark:
        report.remark(remark)
    members: dict[int, list[int]] = {}
    for place, first in enumerate(groups):
        members.setdefault(first, []).append(order[place])

    def draw(group: list[int]) -> int:
        return key(0, "detection/split", 0, zlib.crc32(entries[group[0]].path.name.encode()))

    count = min(len(entries) - 1, max(1, round(share * len(entries))))
    chosen: set[int] = set()
    for group in sorted(members.values(), key=draw):
        if len(chosen) + len(group) <= count:
            chosen.update(group)
    return (
        [entry for i, entry in enumerate(entries) if i in chosen],
        [entry for i, entry in enumerate(entries) if i not in chosen],
    )


def report_leaks(parts: Mapping[str, Sequence[Entry]], report: Report) -> None:
    """Report images that two stated splits share, and near copies across them."""
    for first, second in combinations(parts, 2):
        paths = {entry.path for entry in parts[first]}
        both = [entry.path for entry in parts[second] if entry.path in paths]
        if both:
            why = f"images are both in {first} and in {second}"
            report.drop(f"{why}: its numbers are of images that were learned", both[0], len(both))
    entries = [(split, entry.path) for split, part in parts.items() for entry in part]
    splits, paths_of_all = [split for split, _ in entries], [path for _, path in entries]
    pairs = groups_by_name(paths_of_all)
    if len(entries) <= MAX_LOOKED_AT:
        pairs += Looks(paths_of_all).pairs()
    leaked: dict[int, int] = {}
    for i, j in pairs:
        if splits[i] != splits[j] and paths_of_all[i] != paths_of_all[j]:
            leaked.setdefault(j, i)
    if leaked:
        j, i = next(iter(leaked.items()))
        why = f"images are near copies of some of another split ({splits[i]}/{paths_of_all[i].name}, ...)"
        report.drop(why, f"{splits[j]}/{paths_of_all[j].name}", len(leaked))
