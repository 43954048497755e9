"""CFP's splits: frontal pictures with frontal ones (FF) and with profiles (FP), as the data set lists them.

Protocol/Pair_list_F.txt, Pair_list_P.txt      "NUMBER ../Data/Images/001/frontal/01.jpg"
Protocol/Split/FF/01/same.txt, diff.txt, FP/...   "NUMBER,NUMBER"; of FP the second is a profile's
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from framework import UserError
from plugins.detection.data.inside import inside
from plugins.faces.data.lists import read_lines
from plugins.faces.evaluation.protocols.folds import Pair, embedded, pair_metrics

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis

# The lists of each kind's first and second pictures.
KINDS = {"FF": ("F", "F"), "FP": ("F", "P")}


def measured(faces: FaceAnalysis, folder: Path) -> dict[str, float]:
    """Accuracy and EER of both kinds of pairs."""
    lists = {name: pictures(folder, name) for name in ("F", "P")}
    kinds = {
        kind: pairs_of(folder, kind, lists[first], lists[second])
        for kind, (first, second) in KINDS.items()
    }
    files = [file for pairs in kinds.values() for pair in pairs for file in pair[:2]]
    embeddings = embedded(faces, files)
    return {
        f"{kind.lower()}_{name}": value
        for kind, pairs in kinds.items()
        for name, value in pair_metrics(pairs, embeddings).items()
    }


def pictures(folder: Path, name: str) -> dict[int, Path]:
    """The pictures of a list by their number."""
    protocol = folder / "Protocol"
    listing = protocol / f"Pair_list_{name}.txt"
    found: dict[int, Path] = {}
    for number, line in enumerate(read_lines(listing), 1):
        words = line.split(maxsplit=1)
        if len(words) != 2 or not words[0].isdigit() or int(words[0]) in found:
            raise UserError(
                f"{listing}, line {number}: '{line}'; expected 'NUMBER FILE', each number once"
            )
        file = inside(folder, protocol, words[1])
        if file is None:
            raise UserError(f"{listing}, line {number}: '{words[1]}' leads out of {folder}")
        found[int(words[0])] = file
    return found


def pairs_of(
    folder: Path, kind: str, first: Mapping[int, Path], second: Mapping[int, Path]
) -> list[Pair]:
    """The pairs of all splits of a kind."""
    place = folder / "Protocol" / "Split" / kind
    splits = sorted(split for split in place.iterdir() if split.is_dir()) if place.is_dir() else []
    if not splits:
        raise UserError(f"{place}: expected a folder for each split, such as 01")
    pairs = []
    for fold, split in enumerate(splits):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            for number, line in enumerate(read_lines(split / name), 1):
                ends = line.split(",")
                keys = [int(end) for end in ends if end.strip().isdigit()]
                if (
                    len(ends) != 2
                    or len(keys) != 2
                    or keys[0] not in first
                    or keys[1] not in second
                ):
                    raise UserError(
                        f"{split / name}, line {number}: '{line}'; expected 'NUMBER,NUMBER' of the lists of pictures"
                    )
                pairs.append(Pair(first[keys[0]], second[keys[1]], same, fold))
    return pairs
