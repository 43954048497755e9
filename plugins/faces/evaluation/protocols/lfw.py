"""LFW's ten folds: `pairs.txt` in the folder, and beside it or in `lfw/` a folder of pictures for each person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from framework import UserError
from plugins.faces.data.lists import lfw_picture, read_pairs
from plugins.faces.evaluation.protocols.folds import Pair, embedded, pair_metrics

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis

LIST = "pairs.txt"


def measured(faces: FaceAnalysis, folder: Path) -> dict[str, float]:
    """Accuracy over the list's own folds."""
    listing = folder / LIST
    if not listing.is_file():
        raise UserError(f"input = '{folder}': expected {LIST} in it, and a folder for each person")
    people = folder / "lfw" if (folder / "lfw").is_dir() else folder
    pairs = [
        Pair(
            lfw_picture(people, pair.first, pair.first_number),
            lfw_picture(people, pair.second, pair.second_number),
            pair.same,
            pair.fold,
        )
        for pair in read_pairs(listing)
    ]
    return pair_metrics(pairs, embedded(faces, [f for pair in pairs for f in pair[:2]]))
