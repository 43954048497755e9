"""Pairs in folds: the threshold of each fold is chosen on the others, as LFW and CFP are reported.

A picture in which no face was detected is never taken for another's: its pairs have the cosine -1, as a system that
detects and then compares would answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from framework import UserError
from plugins.faces.data.photographs import read_photograph
from plugins.faces.evaluation.verification import pairs_roc

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis


class Pair(NamedTuple):
    """Two pictures, whether they show one person, and the fold they are in."""

    first: Path
    second: Path
    same: bool
    fold: int


def embedded(faces: FaceAnalysis, files: Sequence[Path]) -> dict[Path, Tensor]:
    """The embedding of the best face of each file; files without a face are left out.

    Raises:
        UserError: embeddings that do not distinguish people, a file that cannot be read, or one that was trained on.
    """
    faces.need_embeddings()
    found = {}
    for file in dict.fromkeys(files):
        photograph = read_photograph(file)
        if faces.has_seen(photograph):
            raise UserError(
                f"{file}: was trained on; expected a data set of other people than those of the training"
            )
        detected = faces.find(photograph)
        assert detected.embeddings is not None
        if len(detected):
            found[file] = detected.embeddings[0]
    return found


def cosine(first: Tensor | None, second: Tensor | None) -> float:
    """The cosine of two embeddings; -1 where one is missing."""
    return -1.0 if first is None or second is None else float(first @ second)


def pair_metrics(pairs: Sequence[Pair], embeddings: Mapping[Path, Tensor]) -> dict[str, float]:
    """Accuracy (mean over folds, and its standard error), EER and the pictures without a detected face.

    Raises:
        UserError: fewer than two folds, or a fold without pairs of one person and of two.
    """
    cosines = torch.tensor(
        [cosine(embeddings.get(p.first), embeddings.get(p.second)) for p in pairs],
        dtype=torch.float64,
    )
    same = torch.tensor([p.same for p in pairs], dtype=torch.bool)
    fold = torch.tensor([p.fold for p in pairs])
    accuracies = fold_accuracies(cosines, same, fold)
    count = len(accuracies)
    files = {file for pair in pairs for file in pair[:2]}
    return {
        "accuracy": float(accuracies.mean()),
        "accuracy_standard_error": float(accuracies.std()) / math.sqrt(count),
        "eer": pairs_roc(cosines, same).eer(),
        "pairs": float(len(pairs)),
        "pictures_without_face": float(len(files - embeddings.keys())),
    }


def fold_accuracies(cosines: Tensor, same: Tensor, fold: Tensor) -> Tensor:
    """The accuracy in each fold at the threshold that is best on all other folds, `[folds]`.

    Args:
        cosines: `[P]`; same: `[P]` bool; fold: `[P]`, from 0.
    """
    folds = fold.unique().tolist()
    if len(folds) < 2:
        raise UserError(
            f"{len(folds)} fold of pairs: expected two or more, one to measure a threshold's"
        )
    accuracies = []
    for number in folds:
        own = fold == number
        if same[own].all() or not same[own].any():
            raise UserError(
                f"fold {number + 1} of the pairs: expected pairs of one person and of two people"
            )
        threshold = best_threshold(cosines[~own], same[~own])
        accuracies.append(((cosines[own] >= threshold) == same[own]).double().mean())
    return torch.stack(accuracies)


def best_threshold(cosines: Tensor, same: Tensor) -> float:
    """The threshold with the most right answers, in the middle of those that have as many."""
    values, order = cosines.sort()
    # With the threshold at value k all below are taken for two people, the others for one.
    below = torch.cat([torch.zeros(1), (~same[order]).cumsum(0)])
    above = torch.cat([same[order].flip(0).cumsum(0).flip(0), torch.zeros(1)])
    edges = torch.cat([values[:1] - 1e-6, (values[1:] + values[:-1]) / 2, values[-1:] + 1e-6])
    # Between two equal values there is no edge.
    split = torch.cat([torch.ones(1), (values[1:] > values[:-1]).double(), torch.ones(1)])
    right = (below + above) * split
    best = (right == right.max()).nonzero()[:, 0]
    return float(edges[best[len(best) // 2]])
